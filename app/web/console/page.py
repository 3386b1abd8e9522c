"""A page of the console: its request, the API key of its session, and calls of the API's operations in its name."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from secrets import token_urlsafe
from typing import Any, NamedTuple, TypeVar

import msgspec
from aiohttp import web

from app.config.scope import Scope
from app.config.sessions import OpenSession
from app.node import Node
from app.store import ApiKey
from app.web.auth import require_scope
from app.web.console import headers
from app.web.console.hosts import is_secure
from app.web.console.rendering import render
from app.web.encoding import decoded
from app.web.problems import Kind, Problem
from app.web.requests import NODE, perform, read_body, read_query
from app.web.restriction import refuse_restricted
from app.web.routes import AccountCheck, Call, Handler, Query, Route

OPERATIONS: web.AppKey[dict[Handler | str, Route]] = web.AppKey("operations", dict)
"""The routes of the API by their handlers, and by their operation ids."""
NOTICE_COOKIE = "rescind_notice"
FORM_TOKEN, REQUEST_ID = "form_token", "request_id"
"""Members that every form has: the proof that it is the console's own, and what tells a form sent twice."""
_WITHOUT_OFFSET = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?")
PageHandler = Callable[["Page"], Awaitable[web.StreamResponse]]
_Query = TypeVar("_Query", bound=Query)
_Declared = TypeVar("_Declared", bound=PageHandler)


@dataclass(slots=True)
class Page:
    """One request for a page, signed in."""

    request: web.Request
    session: OpenSession
    form: Mapping[str, str] = field(default_factory=dict)
    """The members of the form that was sent; a member that is sent several times has its last value."""
    members: Sequence[tuple[str, str]] = ()
    """All members of the form, in order."""
    notice: str = ""
    """What the page before did."""

    @property
    def node(self) -> Node:
        """The running node."""
        return self.request.app[NODE]

    @property
    def key(self) -> ApiKey:
        """The API key of the session."""
        return self.session.key

    @property
    def path(self) -> Mapping[str, str]:
        """The variables of the page's path."""
        return self.request.match_info

    def allows(self, scope: str) -> bool:
        """Whether the key's scope includes `scope` (`read`, `write`, `admin`): else its buttons are not shown."""
        return Scope(self.key.scope).includes(Scope(scope))

    @property
    def is_restricted(self) -> bool:
        """Whether the key is restricted to accounts: links to pages that concern all accounts are not shown."""
        return bool(self.key.accounts)

    async def api(
        self,
        operation: Handler | str,
        *,
        query: Query | None = None,
        body: Mapping[str, Any] | None = None,
        **variables: str,
    ) -> Any:
        """Call an operation of the API: the JSON of its response, decoded; of a stream, the response that it wrote.

        It is named by its handler, or by its operation id where one handler serves several (`getPolicy`). `variables`
        are those of its path. Raises `Problem` as the API does.
        """
        route = self.request.app[OPERATIONS][operation]
        require_scope(self.key, route.scope)
        if route.account_check is AccountCheck.REFUSED:
            refuse_restricted(self.key)
        arguments: dict[str, Any] = dict(variables)
        if route.query is not Query:
            arguments["query"] = route.query() if query is None else query
        raw = b""
        if route.body is not None:
            raw = msgspec.json.encode(body or {})
            arguments["body"] = read_body(route.body, raw)
        path = route.path.format(**variables)
        request_id = self.form.get(REQUEST_ID) if route.idempotency_key else None
        call = Call(self.node, self.request, self.key, route, path, raw, request_id, self.session)
        result = (await perform(call, arguments)).body
        if result is None or isinstance(result, web.StreamResponse):
            return result
        return await decoded(result)

    async def api_or_none(self, operation: Handler | str, **given: Any) -> Any:
        """As `api`; None where the key may not call the operation, or what it is about does not exist."""
        try:
            return await self.api(operation, **given)
        except Problem as problem:
            if problem.kind in (Kind.FORBIDDEN, Kind.NOT_FOUND):
                return None
            raise

    def read_query(self, model: type[_Query], **fixed: Any) -> _Query:
        """The filters of the page's URL as an operation's query: its members that are not empty. Raises `Problem`.

        Other parameters are the page's own. `fixed` wins over the URL. A time without an offset is in UTC:
        fields for times send it so.
        """
        given = {
            name: in_utc(value) for name, value in self.request.query.items() if value and name in model.model_fields
        }
        return read_query(model, {**given, **{name: value for name, value in fixed.items() if value is not None}})

    def render(self, template: str, *, status: int = 200, **context: Any) -> web.Response:
        """The page by a template; `context` are its variables, beside `page`, `url_for` and what `rendering` gives."""
        body = render(
            template,
            page=self,
            form_token=self.node.sessions.form_token(self.session),
            request_id=token_urlsafe(16),
            **context,
        )
        response = web.Response(status=status, text=body, content_type="text/html", headers=headers.PAGE)
        if self.notice:
            response.del_cookie(NOTICE_COOKIE)
        return response

    def redirect(self, location: str, notice: str = "") -> web.Response:
        """Show the page at `location`, a path of the console, and there `notice`: what was done."""
        response = web.Response(status=303, headers={**headers.PAGE, "Location": location})
        if notice:
            sealed = self.node.sessions.seal_notice(self.session, notice)
            response.set_cookie(
                NOTICE_COOKIE, sealed, max_age=60, secure=is_secure(self.request), httponly=True, samesite="Strict"
            )
        return response


def in_utc(text: str) -> str:
    """A time of a form or a URL: in UTC, if it has no offset. Other text stays as it is."""
    return f"{text}Z" if _WITHOUT_OFFSET.fullmatch(text) else text


class PageRoute(NamedTuple):
    """One page, or one form that is sent."""

    method: str
    path: str
    handler: PageHandler


class PageTable(list[PageRoute]):
    """The pages of one subject, filled by decorators on their handlers."""

    def get(self, path: str) -> Callable[[_Declared], _Declared]:
        """Declare a page. Its handler changes nothing."""
        return self._declare("GET", path)

    def post(self, path: str) -> Callable[[_Declared], _Declared]:
        """Declare what a form does; the response is a redirect, or the form again with the problem."""
        return self._declare("POST", path)

    def _declare(self, method: str, path: str) -> Callable[[_Declared], _Declared]:
        def declare(handler: _Declared) -> _Declared:
            self.append(PageRoute(method, path, handler))
            return handler

        return declare
