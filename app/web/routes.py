"""The API's route table: each operation is declared on its handler, and the same rows make `/openapi.json`.

A handler takes the call, then by name what its route declares: the variables of the path, `query` and `body`. Its
annotations say how those are validated and what the response looks like; the first line of its docstring is the
operation's summary, the rest its description. Examples are declared with the bodies' classes (`app.web.examples`).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partialmethod
from inspect import getdoc, signature
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, get_args, get_origin, get_type_hints

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from app.config.scope import Scope
from app.config.sessions import OpenSession
from app.node import Node
from app.store import ApiKey
from app.web import examples
from app.web.problems import Kind, Problem

T = TypeVar("T")
Handler = Callable[..., Awaitable[Any]]
_Declared = TypeVar("_Declared", bound=Handler)


class AccountCheck(Enum):
    """What keeps a key that is restricted to accounts from those of others; every route says which."""

    REFUSED = "refused"
    """Such a key cannot use the operation: it concerns all accounts."""
    PATH = "path"
    """The path's `account` must be one of the key's."""
    QUERY = "query"
    """So must the query's `account`, which such a key cannot leave out."""
    HANDLER = "handler"
    """The handler checks what it looks up, by `Call.key.sees`; what the key does not see does not exist."""


class _Decorator(Protocol):
    """What `RouteTable.get` and its like return."""

    def __call__(self, handler: _Declared, /) -> _Declared: ...


class Query(BaseModel):
    """Query parameters. An unknown one is an error: a filter that is silently ignored misleads."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Body(BaseModel):
    """A JSON body, validated strictly: 0 is not accepted for false."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @classmethod
    def may_be_absent(cls) -> bool:
        """Whether an empty body means the same as an empty object."""
        try:
            cls.model_validate({})
        except ValidationError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated call of an operation: a request to the API, or made by a page of the console."""

    node: Node
    request: web.Request
    """What brought it; of a page, the request for the page."""
    key: ApiKey
    route: Route
    path: str
    """The route's path with the values of its variables."""
    raw_body: bytes = b""
    """Empty where the route takes no body."""
    idempotency_key: str | None = None
    session: OpenSession | None = None
    """The session of the console that it is made in, by a page."""


@dataclass(frozen=True, slots=True)
class JsonResponse(Generic[T]):
    """A response that is not simply a body. Bytes are JSON already; no status means the route's."""

    body: T | bytes
    status: int | None = None
    headers: dict[str, str] | None = None
    content_type: str = "application/json"


class EventStream(web.StreamResponse, Generic[T]):
    """A response that a handler has written itself: server-sent events (`text/event-stream`) whose data are `T`."""


class ApiTag(NamedTuple):
    """A group of operations in the documentation."""

    name: str
    description: str


NO_TAG = ApiTag("", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One operation of the API."""

    method: str
    path: str
    name: str
    """The operationId in OpenAPI, in camelCase."""
    summary: str
    description: str
    tag: ApiTag
    scope: Scope
    handler: Handler
    response: Any
    """The type of the body on success; of a stream, of the data of its events."""
    is_stream: bool
    """Whether the response is a stream of server-sent events."""
    status: int
    also: Mapping[int, Any]
    """The types of the body under other statuses of success."""
    query: type[Query]
    body: type[Body] | None
    problems: Sequence[Kind | Problem]
    """A `Problem` is also the example of its kind."""
    account_check: AccountCheck
    idempotency_key: bool
    """Whether the operation takes an Idempotency-Key."""
    variables: Mapping[str, str]
    """Examples of the variables in the path."""
    request_example: Any
    response_example: Any
    """None where the class of the body has none either."""


class RouteTable(list[Route]):
    """The routes of one resource, filled by decorators on their handlers.

    `variables` are examples of the variables in the routes' paths: `RouteTable(tag, id="key_…")`.
    """

    def __init__(self, tag: ApiTag = NO_TAG, **variables: str) -> None:
        super().__init__()
        self.tag = tag
        self._variables = {"account": examples.ACCOUNT, "order": examples.ORDER, **variables}

    def _declare(
        self,
        method: str,
        path: str,
        scope: Scope = Scope.READ,
        *,
        status: int = 200,
        also: Mapping[int, Any] = {},
        problems: Sequence[Kind | Problem] = (),
        account_check: AccountCheck = AccountCheck.REFUSED,
        idempotency_key: bool = False,
        name: str = "",
        summary: str = "",
        description: str = "",
        tag: ApiTag | None = None,
        variables: Mapping[str, str] = {},
        request_example: Body | None = None,
        response_example: Any = None,
    ) -> _Decorator:
        """Return a decorator that adds a route.

        `name`, `summary` and `description` default to the handler's name and docstring, the examples to those of the
        classes of the bodies.

        Raises TypeError where the handler's parameters are not those that the route provides.
        """

        def declare(handler: _Declared) -> _Declared:
            hints = get_type_hints(handler)
            returned = hints.pop("return")
            _require_parameters(handler, f"{method} {path}", hints)
            first, _, rest = (getdoc(handler) or "").partition("\n")
            response, body = _unwrapped(returned), hints.get("body")
            self.append(
                Route(
                    method=method,
                    path=path,
                    name=name or _camel_case(handler.__name__),
                    summary=summary or first,
                    description=description or ("" if summary else rest.strip()),
                    tag=tag or self.tag,
                    scope=scope,
                    handler=handler,
                    response=response,
                    is_stream=get_origin(returned) is EventStream,
                    status=status,
                    also=also,
                    query=hints.get("query", Query),
                    body=body,
                    problems=problems,
                    account_check=account_check,
                    idempotency_key=idempotency_key,
                    variables={**self._variables, **variables},
                    request_example=request_example or examples.example_of(body),
                    response_example=examples.example_of(response) if response_example is None else response_example,
                )
            )
            return handler

        return declare

    get: partialmethod[_Decorator] = partialmethod(_declare, "GET")
    post: partialmethod[_Decorator] = partialmethod(_declare, "POST")
    put: partialmethod[_Decorator] = partialmethod(_declare, "PUT")
    delete: partialmethod[_Decorator] = partialmethod(_declare, "DELETE", status=204)


def _unwrapped(returned: Any) -> Any:
    """The class of the response's body, of what a handler is declared to return."""
    return get_args(returned)[0] if get_origin(returned) in (JsonResponse, EventStream) else returned


def _require_parameters(handler: Handler, operation: str, hints: Mapping[str, Any]) -> None:
    """Raise TypeError unless the handler takes what its route provides."""
    provided = {"call", *re.findall(r"{(\w+)}", operation), *hints.keys() & {"query", "body"}}
    if set(signature(handler).parameters) != provided:
        raise TypeError(f"{handler.__qualname__}: {operation} provides {', '.join(sorted(provided))}")


def _camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(part.capitalize() for part in others)
