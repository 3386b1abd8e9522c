"""The API's table of routes: the same rows serve requests and make `/openapi.json`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Generic, TypeVar

import msgspec
import structlog
from aiohttp import web
from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.config.keys import Scope
from app.engine.ledger import LedgerClosedError, LedgerFullError
from app.node import Node
from app.runtime.validation_messages import in_plain_words
from app.store import ApiKey, SearchResult, StoreError
from app.web.auth import require
from app.web.bodies import BODIES
from app.web.ingest import busy
from app.web.lookup import find_order, known_name
from app.web.problems import Kind, Problem, of_http_error

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
IDEMPOTENCY_KEY = "Idempotency-Key"
IDEMPOTENCY_KEY_MAX = 255
NODE: web.AppKey[Node] = web.AppKey("node", Node)

log = structlog.get_logger()


class Query(BaseModel):
    """Query parameters; an unknown one is an error, since a filter that is not applied misleads."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Body(BaseModel):
    """A JSON body, whose values are of the types that its description states: no 0 for false."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @classmethod
    def may_be_absent(cls) -> bool:
        """Whether a request without a body says the same as one with an empty object."""
        try:
            cls.model_validate({})
        except ValidationError:
            return False
        return True


class PageQuery(Query):
    """Paging, as all lists take it."""

    limit: int = Field(50, ge=1, le=500, description="How many rows at the most.")
    cursor: int | None = Field(None, ge=-(1 << 63), lt=1 << 63, description="`next_cursor` of the page before.")


class Page(Struct, Generic[T]):
    """A page of a list, newest first."""

    data: list[T]
    has_more: bool
    next_cursor: str | None


class SearchPage(Struct, Generic[T]):
    """A page of a list that is searched, newest first, within a time budget: it may end before the page is full."""

    data: list[T]
    has_more: bool
    next_cursor: str | None
    complete: bool
    """False: the time was over first; `next_cursor` goes on from there."""
    searched_until: datetime | None = None
    """Back to when the log was searched, where that is not complete."""


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated, validated request."""

    node: Node
    request: web.Request
    key: ApiKey
    query: Any
    body: Any
    raw_body: bytes

    def path(self, name: str) -> str:
        """A variable of the path."""
        return self.request.match_info[name]

    @property
    def idempotency_key(self) -> str | None:
        """The header by which a repetition is known, if it was sent. Raises `Problem` if it is empty or too long."""
        given = self.request.headers.get(IDEMPOTENCY_KEY)
        if given is not None and not 0 < len(given) <= IDEMPOTENCY_KEY_MAX:
            detail = f"The Idempotency-Key must have 1 to {IDEMPOTENCY_KEY_MAX} characters."
            raise Problem(Kind.INVALID, detail, field=IDEMPOTENCY_KEY)
        return given


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is not simply 200 with a JSON body."""

    body: Any
    status: int = 200
    headers: dict[str, str] | None = None
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One call of the API."""

    method: str
    path: str
    name: str
    """camelCase, the operationId in OpenAPI."""
    summary: str
    scope: Scope
    handler: Callable[[Call], Awaitable[Any]]
    answer: Any
    status: int = 200
    query: type[Query] = Query
    body: type[Body] | None = None
    problems: Sequence[Kind] = ()
    creates: bool = False
    """Takes an Idempotency-Key."""


def page(rows: Sequence[tuple[int, T]], limit: int) -> Page[T]:
    """A page of the `limit` first of `rows` (position, row), of which one more was asked for."""
    shown = rows[:limit]
    more = len(rows) > limit
    return Page([row for _, row in shown], more, str(shown[-1][0]) if more else None)


def require_known(call: Call, rows: Sequence[Any], **named: str | None) -> None:
    """Raise `Problem` for a list that is empty since a filter (`account`, `endpoint`, `policy`) names nothing.

    What was removed is still found while it has rows.
    """
    if rows:
        return
    for kind, id in named.items():
        plural = {"policy": "policies"}.get(kind, f"{kind}s")
        if id is not None and call.node.directory.shown(plural, id) is None:
            detail = f"There is no {kind} {id!r}; `rescind {plural} list` shows all."
            raise Problem(Kind.NOT_FOUND, detail, field=kind)


def search_page(rows: Sequence[tuple[int, T]], limit: int, found: SearchResult[Any]) -> SearchPage[T]:
    """A page of the `limit` first of `rows`, which were made of what was `found`."""
    shown = page(rows, limit)
    if shown.has_more or found.resume_before is None:
        return SearchPage(shown.data, shown.has_more, shown.next_cursor, complete=True)
    return SearchPage(shown.data, True, str(found.resume_before), complete=False, searched_until=found.searched_until)


async def order_number(call: Call, account: str | None, order: str | None) -> int | None:
    """The number to filter by for an order's id or alias: None if none was asked for, -1 if it is not known yet.

    Raises `Problem` if there is no such account, or if it has an order that may be meant under another name.
    """
    if order is None:
        return None
    if account is None:
        raise Problem(Kind.INVALID, "The query parameter order needs account beside it.", field="account")
    found = await find_order(call.node, account, order)
    if found is None:
        require_known(call, (), account=account)
        name = await known_name(call.node, account, order)
        if name is not None:
            hint = f"It has an order {name!r}: ask for it by that name."
            raise Problem(Kind.NOT_FOUND, f"Account {account} has no order {order!r}. {hint}", field="order")
        return -1  # whoever waits for an order asks before it is heard of
    return found[0]


@contextmanager
def alone(node: Node, request: str | None) -> Iterator[None]:
    """While a request with an Idempotency-Key is being worked on, the same one again is told to come back.

    Whether it was answered before is to be looked up inside: outside, the first could end in between.
    """
    if request is None:
        yield
        return
    if request in node.in_flight:
        raise Problem(Kind.IN_FLIGHT, "The first request with this Idempotency-Key is being worked on; ask again.")
    node.in_flight.add(request)
    try:
        yield
    finally:
        node.in_flight.discard(request)


def encode(value: Any) -> bytes:
    """JSON of an answer."""
    return msgspec.json.encode(value)


def serve(route: Route) -> Handler:
    """The request handler of a route."""

    async def handle(request: web.Request) -> web.StreamResponse:
        node = request.app[NODE]
        key = require(node.keys, request, route.scope)
        if route.body is None:
            return await _answered(route, Call(node, request, key, _query(route, request), None, b""))
        bodies = request.app[BODIES]
        raw = await bodies.read(request)
        try:
            return await _answered(route, Call(node, request, key, _query(route, request), _body(route, raw), raw))
        finally:
            bodies.release(len(raw))

    return guarded(handle)


async def _answered(route: Route, call: Call) -> web.Response:
    try:
        answer = await route.handler(call)
    except (LedgerFullError, LedgerClosedError, StoreError) as error:
        raise busy(error) from error
    if not isinstance(answer, Answer):
        answer = Answer(answer, route.status)
    body = answer.body if isinstance(answer.body, bytes) else encode(answer.body)
    return web.Response(
        status=answer.status,
        body=None if answer.status == 204 else body,  # noqa: PLR2004
        content_type=answer.content_type,
        headers=answer.headers,
    )


def guarded(handler: Handler) -> Handler:
    """`handler`, with every error, ours or the framework's, answered as a problem.

    It is wrapped around each handler and is no middleware, which would cost every webhook three more calls.
    """

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except Problem as problem:
            return problem.response()
        except web.HTTPException as error:
            return of_http_error(error).response()
        except Exception:
            log.exception("unexpected", method=request.method, path=request.path)
            return Problem(Kind.INTERNAL, "This is a fault of the server's; its log says more.").response()

    return handle


def _query(route: Route, request: web.Request) -> Query:
    if not request.query_string:
        return _without_query(route.query)
    given: dict[str, Any] = {}
    for name in request.query:
        values = request.query.getall(name)
        if len(values) > 1:
            raise Problem(Kind.INVALID, f"The query parameter {name} stands {len(values)} times.", field=name)
        given[name] = values[0]
    try:
        return route.query.model_validate(given)
    except ValidationError as error:
        raise invalid(error, "query parameter") from error


@cache
def _without_query(query: type[Query]) -> Query:
    return query()


def _body(route: Route, raw: bytes) -> Body | None:
    if route.body is None:
        return None
    try:
        return route.body.model_validate_json(raw or b"{}")
    except ValidationError as error:
        if error.errors()[0]["type"] == "json_invalid":
            raise Problem(Kind.BAD_REQUEST, f"The body is not JSON: {error.errors()[0]['msg']}.") from error
        raise invalid(error, "field") from error


def invalid(error: ValidationError, what: str) -> Problem:
    """The first thing that is wrong, and a list of all."""
    found = [
        {"field": ".".join(str(part) for part in each["loc"]), "message": in_plain_words(each)}
        for each in error.errors(include_input=False, include_url=False, include_context=False)
    ]
    first = found[0]
    where = f"The {what} {first['field']}" if first["field"] else "The request"
    return Problem(Kind.INVALID, f"{where}: {first['message']}.", field=first["field"], errors=found)
