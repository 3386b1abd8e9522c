"""The API's route table: each operation is declared on its handler, and the same rows make `/openapi.json`.

A handler takes the call, then by name what its route declares: the variables of the path, `query` and `body`. Its
annotations say how those are validated and what the response looks like; the first line of its docstring is the
operation's summary.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partialmethod
from inspect import signature
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from app.config.scope import Scope
from app.node import Node
from app.store import ApiKey
from app.web.problems import Kind

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
    """One authenticated request. `raw_body` is empty where the route takes no body."""

    node: Node
    request: web.Request
    key: ApiKey
    raw_body: bytes = b""


@dataclass(frozen=True, slots=True)
class JsonResponse(Generic[T]):
    """A response that is not simply a body. Bytes are JSON already; no status means the route's."""

    body: T | bytes
    status: int | None = None
    headers: dict[str, str] | None = None
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One operation of the API."""

    method: str
    path: str
    name: str
    """The operationId in OpenAPI, in camelCase."""
    summary: str
    scope: Scope
    handler: Handler
    response: Any
    """The type of the body on success."""
    status: int
    query: type[Query]
    body: type[Body] | None
    problems: Sequence[Kind]
    account_check: AccountCheck
    idempotency_key: bool
    """Whether the operation takes an Idempotency-Key."""


class RouteTable(list[Route]):
    """The routes of one resource, filled by decorators on their handlers."""

    def _declare(
        self,
        method: str,
        path: str,
        scope: Scope = Scope.READ,
        *,
        status: int = 200,
        problems: Sequence[Kind] = (),
        account_check: AccountCheck = AccountCheck.REFUSED,
        idempotency_key: bool = False,
        name: str = "",
        summary: str = "",
    ) -> Callable[[_Declared], _Declared]:
        """Return a decorator that adds a route. `name` and `summary` default to the handler's name and docstring.

        Raises TypeError where the handler's parameters are not those that the route provides.
        """

        def declare(handler: _Declared) -> _Declared:
            hints = get_type_hints(handler)
            returned = hints.pop("return")
            provided = {"call", *re.findall(r"{(\w+)}", path), *hints.keys() & {"query", "body"}}
            if set(signature(handler).parameters) != provided:
                raise TypeError(f"{handler.__qualname__}: {method} {path} provides {', '.join(sorted(provided))}")
            self.append(
                Route(
                    method=method,
                    path=path,
                    name=name or _camel_case(handler.__name__),
                    summary=summary or (handler.__doc__ or "").partition("\n")[0],
                    scope=scope,
                    handler=handler,
                    response=get_args(returned)[0] if get_origin(returned) is JsonResponse else returned,
                    status=status,
                    query=hints.get("query", Query),
                    body=hints.get("body"),
                    problems=problems,
                    account_check=account_check,
                    idempotency_key=idempotency_key,
                )
            )
            return handler

        return declare

    get = partialmethod(_declare, "GET")
    post = partialmethod(_declare, "POST")
    put = partialmethod(_declare, "PUT")
    delete = partialmethod(_declare, "DELETE", status=204)


def _camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(part.capitalize() for part in others)
