"""How a request to the API is served: authenticated, validated, handled, and every error returned as a problem."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec
import structlog
from aiohttp import web
from pydantic import ValidationError
from structlog.contextvars import bind_contextvars, reset_contextvars

from app.engine.request import LedgerClosedError, LedgerFullError
from app.node import Node
from app.runtime import ids, tracing
from app.runtime.validation_messages import sentence, validation_message
from app.store import ApiKey, StoreError
from app.web.auth import require, require_in_force
from app.web.bodies import BODIES
from app.web.encoding import encoded
from app.web.idempotency import HEADER as IDEMPOTENCY_KEY
from app.web.problems import Kind, Problem, busy, of_http_error
from app.web.restriction import refuse_restricted, restrict
from app.web.routes import AccountCheck, Body, Call, JsonResponse, Query, Route

NODE: web.AppKey[Node] = web.AppKey("node", Node)
_Query = TypeVar("_Query", bound=Query)
_Body = TypeVar("_Body", bound=Body)
_Arguments = ParamSpec("_Arguments")
WebHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]

REQUEST, REQUEST_ID = "req_", "X-Request-Id"
"""How the ids of requests begin, and the header that has it: the server's log lines have it as `request`."""

_NUL_ESCAPE = b"\\u0000"
"""The only way in which JSON can hold a NUL character."""

log = structlog.get_logger()


def serve(route: Route) -> WebHandler:
    """The aiohttp handler of a route."""

    async def handle(request: web.Request) -> web.StreamResponse:
        name = ids.show(REQUEST, request.app[NODE].ids.next())
        # A connection's requests are served in one context, which is left as it was.
        bound = bind_contextvars(request=name)
        try:
            response = await answered(request) if not tracing.on else await traced(request, name)
        finally:
            reset_contextvars(**bound)
        if not response.prepared:
            response.headers[REQUEST_ID] = name
        return response

    async def traced(request: web.Request, name: str) -> web.StreamResponse:
        parent, attributes = request.headers.get("traceparent"), tracing.named({"request": name})
        with tracing.span(f"{route.method} {route.path}", parent=parent, kind=tracing.SERVER, attributes=attributes):
            return await answered(request)

    async def answer(request: web.Request) -> web.StreamResponse:
        node = request.app[NODE]
        key = await require(node.keys, request, route.scope)
        if route.account_check is AccountCheck.REFUSED:
            refuse_restricted(key)  # before the body is read
        if route.body is None:
            return await _response(route, await perform(_call(route, request, key), _arguments(route, request)))
        bodies = request.app[BODIES]
        raw = await bodies.read(request)
        try:
            require_in_force(node.keys, key)  # The client may have sent its body slowly.
            call = _call(route, request, key, raw)
            return await _response(route, await perform(call, _arguments(route, request, raw)))
        finally:
            bodies.release(len(raw))

    answered = with_problems(answer)
    return handle


def _arguments(route: Route, request: web.Request, raw_body: bytes = b"") -> dict[str, Any]:
    """What the handler takes besides the call."""
    arguments: dict[str, Any] = dict(request.match_info)
    query = _query(route, request)
    if route.query is not Query:
        arguments["query"] = query
    if route.body is not None:
        arguments["body"] = read_body(route.body, raw_body)
    return arguments


def _call(route: Route, request: web.Request, key: ApiKey, raw_body: bytes = b"") -> Call:
    node = request.app[NODE]
    return Call(node, request, key, route, request.path, raw_body, request.headers.get(IDEMPOTENCY_KEY))


async def perform(call: Call, arguments: dict[str, Any]) -> JsonResponse[Any]:
    """Call the handler of an operation, within the accounts of the key. Raises `Problem`."""
    for name in call.route.variables.keys() & arguments.keys():
        if "\0" in str(arguments[name]):
            kinds = [problem.kind if isinstance(problem, Problem) else problem for problem in call.route.problems]
            kind = Kind.INVALID if Kind.INVALID in kinds else Kind.NOT_FOUND
            raise Problem(kind, f"The {name} in the path holds a NUL character; nothing has such a name.")
    restrict(call.route, call.key, arguments)
    try:
        result = await call.route.handler(call, **arguments)
    except (LedgerFullError, LedgerClosedError, StoreError) as error:
        raise busy(f"{error}.") from error
    return result if isinstance(result, JsonResponse) else JsonResponse(result)


async def _response(route: Route, response: JsonResponse[Any]) -> web.StreamResponse:
    if isinstance(response.body, web.StreamResponse):
        return response.body  # sent already
    body = response.body if isinstance(response.body, bytes) else await encoded(response.body)
    return web.Response(
        status=response.status or route.status,
        body=None if response.body is None else body,
        content_type=response.content_type,
        headers=response.headers,
    )


def with_problems(
    handler: Callable[Concatenate[web.Request, _Arguments], Awaitable[web.StreamResponse]],
) -> Callable[Concatenate[web.Request, _Arguments], Awaitable[web.StreamResponse]]:
    """`handler`, with every error, ours or the framework's, returned as a problem.

    It wraps each handler instead of being a middleware, which would cost every webhook three more calls.
    """

    async def handle(request: web.Request, /, *args: _Arguments.args, **named: _Arguments.kwargs) -> web.StreamResponse:
        try:
            return await handler(request, *args, **named)
        except Problem as problem:
            return problem.response()
        except web.HTTPException as error:
            return of_http_error(error).response()
        except Exception:
            log.exception("unexpected", method=request.method, path=request.path)
            return Problem(Kind.INTERNAL, "The server failed; its log has the details.").response()

    return handle


def _query(route: Route, request: web.Request) -> Query:
    if not request.query_string:
        return _without_query(route.query)
    given: dict[str, Any] = {}
    for name in request.query:
        values = request.query.getall(name)
        if len(values) > 1:
            raise Problem(Kind.INVALID, f"The query parameter {name} is given {len(values)} times.", field=name)
        given[name] = values[0]
    return read_query(route.query, given)


def read_query(model: type[_Query], given: dict[str, Any]) -> _Query:
    """Validated query parameters. Raises `Problem`."""
    for name, value in given.items():
        if isinstance(value, str):
            _refuse_nul(value, f"query parameter {name}", name)
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise _invalid(error, "query parameter") from error


@cache
def _without_query(query: type[Query]) -> Query:
    return query()


def read_body(model: type[_Body], raw: bytes) -> _Body:
    """A validated body. Raises `Problem`."""
    try:
        body = model.model_validate_json(raw or b"{}")
    except ValidationError as error:
        if error.errors()[0]["type"] == "json_invalid":
            raise Problem(Kind.BAD_REQUEST, f"The body is not JSON: {error.errors()[0]['msg']}.") from error
        raise _invalid(error, "field") from error
    if _NUL_ESCAPE in raw:
        _refuse_nul_in(msgspec.json.decode(raw))
    return body


def _refuse_nul(text: str, what: str, field: str) -> None:
    """Raise `Problem` for a text that PostgreSQL cannot hold; also where the database is another one."""
    if "\0" in text:
        raise Problem(Kind.INVALID, f"The {what}: it holds a NUL character: remove it.", field=field)


def _refuse_nul_in(value: Any, place: str = "") -> None:
    """The same for all texts of a decoded body, whose depth is bounded by its decoder."""
    if isinstance(value, str):
        _refuse_nul(value, f"field {place}", place)
    elif isinstance(value, dict):
        for name, member in value.items():
            _refuse_nul(name, f"name of a field in {place or 'the body'}", place)
            _refuse_nul_in(member, f"{place}.{name}" if place else name)
    elif isinstance(value, list):
        for number, member in enumerate(value):
            _refuse_nul_in(member, f"{place}[{number}]")


def _invalid(error: ValidationError, what: str) -> Problem:
    """The problem whose detail is the first validation error, and whose `errors` are all of them."""
    faults = [
        {"field": ".".join(str(part) for part in fault["loc"]), "message": validation_message(fault)}
        for fault in error.errors(include_input=False, include_url=False, include_context=False)
    ]
    first = faults[0]
    where = f"The {what} {first['field']}" if first["field"] else "The request"
    return Problem(Kind.INVALID, sentence(f"{where}: {first['message']}"), field=first["field"], errors=faults)
