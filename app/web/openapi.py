"""The OpenAPI 3.1 document, made from the route table that serves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, get_args, get_origin

import msgspec
from msgspec import inspect
from pydantic import BaseModel

from app import __version__
from app.web import examples, idempotency, openapi_webhooks
from app.web.problems import CONTENT_TYPE, RETRY_AFTER_S, Kind, Problem
from app.web.routes import ApiTag, Query, Route
from app.web.schemas import Event, EventDetails

_WEBHOOKS = ApiTag("Webhooks", "Webhooks from providers.")
_VARIABLES = {
    "account": "Id of the account.",
    "endpoint": "Id of the endpoint.",
    "order": "The provider's id of the order, or an alias that leads to it.",
    "id": "Id of the resource.",
    "backtest": "Id of the backtest.",
    "message": "Id of the message.",
}
_IDEMPOTENCY_KEY = {
    "name": idempotency.HEADER,
    "in": "header",
    "schema": {"type": "string", "minLength": 1, "maxLength": idempotency.KEY_MAX},
    "description": "A repeated request with the same key and body gets the first response.",
    "example": "5f1b8a52-6c1e-4d7b-9a3e-0d2f7c4b1e90",
}
_CURSOR = "5f1b8a526c1e4d7b.1042"
_LAST_EVENT_ID = {
    "name": "Last-Event-ID",
    "in": "header",
    "schema": {"type": "string"},
    "description": "The `id` of the last event that was received; the stream goes on after it.",
    "example": _CURSOR,
}
_REF = "#/components/schemas/{name}"
_ALWAYS = (Kind.UNAUTHORIZED, Kind.FORBIDDEN, Kind.TOO_MANY, Kind.BUSY)
_RETRIED = (429, 503)
_RETRY_AFTER_HEADER = {
    "description": "Seconds to wait before the request is repeated.",
    "schema": {"type": "integer", "minimum": 0},
    "example": RETRY_AFTER_S,
}
_CLIENT = {"lang": "Python", "description": "The package `rescind_client`.", "source": "pip install 'rescind[client]'"}
_DESCRIPTION = """\
Rescind knows, for every order at every provider, whether it can still be canceled, until when and why; and cancels it,
or refuses early, for you.

- **Authentication**: `Authorization: Bearer rk_…`.
- **Lists** are `{"data": […], "has_more": …, "next_cursor": …}` and take `limit` and `cursor`.
- **Times** are RFC 3339 in UTC.
- **`Idempotency-Key`** is taken by every POST that creates something: a repeated request gets the first response.
- **Errors** are RFC 9457 problems with a closed list of types, `urn:rescind:problem:…`.
- **Retry** what is answered 503 or 429, after `Retry-After` seconds.
- Unknown fields and query parameters are errors."""


def document(routes: Sequence[Route], public_url: str) -> dict[str, Any]:
    """The document for these routes."""
    responses = [kind for route in routes for kind in (route.response, *route.also.values())]
    schemas, components = msgspec.json.schema_components(responses, ref_template=_REF)
    sent, sent_components = openapi_webhooks.webhooks()
    components |= sent_components
    _simplify(components)
    _mark_times(inspect.multi_type_info(responses), components)
    # Its fields have defaults in the code, and all of them are in every response.
    for kind in (Event, EventDetails):
        components[kind.__name__]["required"] = list(kind.__struct_fields__)
    paths: dict[str, dict[str, Any]] = {}
    of_response = iter(schemas)
    for route in routes:
        successes = {status: next(of_response) for status in (route.status, *route.also)}
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, successes, components)
    paths["/webhooks/{endpoint}"] = {"post": _webhook(), "get": _challenge(), "options": _handshake()}
    components["Problem"] = _problem()
    tags = [*dict.fromkeys(route.tag for route in routes), _WEBHOOKS, openapi_webhooks.TAG]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Rescind",
            "version": __version__,
            "summary": "Cancelability of orders, and cancellation.",
            "description": _DESCRIPTION,
            "x-scalar-sdk-installation": [_CLIENT],
        },
        "servers": [{"url": public_url or "/", "description": "This server."}],
        "externalDocs": {"url": f"{public_url.rstrip('/')}/docs", "description": "This document as a page."},
        "tags": [tag._asdict() for tag in tags],
        "security": [{"apiKey": []}],
        "paths": paths,
        "webhooks": sent,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "apiKey": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "rk_…",
                    "description": "An API key. Its scope is `read`, `write` (includes `read`) or `admin` (includes "
                    "both); `rescind keys create` creates one.",
                }
            },
        },
    }


def _mark_times(types: Sequence[inspect.Type], components: dict[str, Any]) -> None:
    """State the format of times, which msgspec leaves out where a time need not have an offset; ours have one."""
    waiting, done = list(types), set[str]()
    while waiting:
        kind = waiting.pop()
        waiting += getattr(kind, "types", ())
        waiting += [inner for name in ("item_type", "value_type") if (inner := getattr(kind, name, None))]
        fields = getattr(kind, "fields", ())
        name = _component_name(kind)
        if name in done:
            continue
        done.add(name)
        waiting += [field.type for field in fields]
        for field in fields:
            if any(isinstance(part, inspect.DateTimeType) for part in getattr(field.type, "types", (field.type,))):
                schema = components[name]["properties"][field.encode_name]
                [text] = [part for part in schema.get("anyOf", [schema]) if part.get("type") == "string"]
                text["format"] = "date-time"


def _component_name(kind: inspect.Type) -> str:
    """As msgspec names the component of a class: `Page_Order_` for `Page[Order]`."""
    of = getattr(kind, "cls", None)
    arguments = ", ".join(part.__name__ for part in get_args(of))
    name = getattr(get_origin(of) or of, "__name__", "")
    return re.sub(r"\W", "_", f"{name}[{arguments}]" if arguments else name)


def _simplify(schema: Any) -> None:
    """State pairs of one type as arrays of two, instead of by `prefixItems`, which tools misread as invalid."""
    for inner in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        _simplify(inner)
    if isinstance(schema, dict) and "prefixItems" in schema:
        first, *others = schema["prefixItems"]
        if schema.get("maxItems") == schema.get("minItems") == 1 + len(others) and others == [first] * len(others):
            del schema["prefixItems"]
            schema["items"] = first


def _operation(route: Route, successes: dict[int, Any], components: dict[str, Any]) -> dict[str, Any]:
    scope = f"Requires an API key of scope `{route.scope}`."
    operation: dict[str, Any] = {
        "operationId": route.name,
        "tags": [route.tag.name],
        "summary": route.summary,
        "description": f"{route.description}\n\n{scope}".strip(),
        "security": [{"apiKey": [str(route.scope)]}],
        "parameters": [*_path_parameters(route.path, route.variables), *_query_parameters(route.query)],
        "responses": {},
    }
    for status, schema in successes.items():
        kind = route.also.get(status, route.response)
        value = route.response_example if kind == route.response else examples.example_of(kind)
        make = _stream if route.is_stream else _success
        operation["responses"][str(status)] = make(status, schema, value)
    if route.idempotency_key:
        operation["parameters"].append(_IDEMPOTENCY_KEY)
    if route.is_stream:
        operation["parameters"].append(_LAST_EVENT_ID)
    if route.body is not None:
        schema = _model(route.body, components)
        operation["requestBody"] = {
            "required": not route.body.may_be_absent(),
            "content": {"application/json": _media_type(schema, route.request_example)},
        }
    for status, same in groupby(_problems(route), key=lambda problem: problem.kind.status):
        operation["responses"][str(status)] = _problem_response(*same)
    return operation


def _success(status: int, schema: dict[str, Any], value: Any) -> dict[str, Any]:
    described: dict[str, Any] = {"description": "Success."}
    if status != 204:  # noqa: PLR2004
        described["content"] = {"application/json": _media_type(schema, value)}
    return described


def _stream(_status: int, schema: dict[str, Any], value: Any) -> dict[str, Any]:
    """A stream of server-sent events whose data are of this schema."""
    data = msgspec.json.encode(value).decode()
    text = {"type": "string", "description": "Server-sent events; the `data` of each is JSON by `x-item-schema`."}
    content = {"schema": text, "x-item-schema": schema, "example": f"id: {_CURSOR}\ndata: {data}\n\n"}
    return {"description": "Success.", "content": {"text/event-stream": content}}


def _media_type(schema: dict[str, Any], value: Any) -> dict[str, Any]:
    return {"schema": schema} if value is None else {"schema": schema, "example": examples.json_of(value)}


def _problems(route: Route) -> list[Problem]:
    """The problems of a route, each kind once, ordered by status; those that the route gives come first."""
    invalid = (Kind.INVALID,) if route.body or route.query is not Query else ()
    if route.body is not None:
        invalid = (Kind.BAD_REQUEST, Kind.TOO_LARGE, *invalid)
    if route.idempotency_key:
        invalid = (*invalid, Kind.KEY_REUSED, Kind.IN_FLIGHT)
    by_kind: dict[Kind, Problem] = {}
    for given in (*route.problems, *_ALWAYS, *invalid):
        problem = Problem(given, given.example) if isinstance(given, Kind) else given
        by_kind.setdefault(problem.kind, problem)
    return sorted(by_kind.values(), key=lambda problem: problem.kind.status)


def _path_parameters(path: str, variables: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _VARIABLES.get(name, ""),
            "schema": {"type": "string"},
            **({"example": variables[name]} if name in variables else {}),
        }
        for name in re.findall(r"{(\w+)}", path)
    ]


def _query_parameters(query: type[Query]) -> list[dict[str, Any]]:
    schema = query.model_json_schema(ref_template=_REF.replace("{name}", "{model}"))
    definitions = schema.get("$defs", {})
    parameters = []
    for name, given in schema.get("properties", {}).items():
        inlined = [definitions.get(part.get("$ref", "").rpartition("/")[2], part) for part in given.get("anyOf", ())]
        field = {"anyOf": inlined, **{k: v for k, v in given.items() if k != "anyOf"}} if inlined else given
        parameters.append({"name": name, "in": "query", "required": False, "schema": field})
    return parameters


def _model(model: type[BaseModel], components: dict[str, Any]) -> dict[str, Any]:
    schema = model.model_json_schema(ref_template=_REF.replace("{name}", "{model}"))
    components.update(schema.pop("$defs", {}))
    components[model.__name__] = schema
    return {"$ref": _REF.format(name=model.__name__)}


def _problem_response(*problems: Kind | Problem) -> dict[str, Any]:
    """The response of one status; each kind of problem is an example by the name of its slug."""
    given = [Problem(problem, problem.example) if isinstance(problem, Kind) else problem for problem in problems]
    shown = {problem.kind.slug: _problem_example(problem) for problem in given}
    response: dict[str, Any] = {
        "description": " ".join(f"{problem.kind.title} (`{problem.kind.slug}`)." for problem in given),
        "content": {CONTENT_TYPE: {"schema": {"$ref": _REF.format(name="Problem")}, "examples": shown}},
    }
    if any(problem.kind.status in _RETRIED for problem in given):
        response["headers"] = {"Retry-After": _RETRY_AFTER_HEADER}
    return response


def _problem_example(problem: Problem) -> dict[str, Any]:
    return {"summary": problem.kind.title, "value": msgspec.json.decode(problem.json())}


def _problem() -> dict[str, Any]:
    types = [f"urn:rescind:problem:{kind.slug}" for kind in Kind]
    return {
        "type": "object",
        "description": "RFC 9457. Only some types have the members that are not required, and there may be others.",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string", "enum": types},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string", "description": "What is wrong, where, and what to do."},
            "field": {"type": "string", "description": "The field or parameter that is wrong."},
            "errors": {"type": "array", "items": {"type": "object"}, "description": "Every fault, with its place."},
            "verdict": {"$ref": _REF.format(name="Verdict"), "description": "Why the order cannot be canceled."},
            "cancellation": {"$ref": _REF.format(name="Cancellation"), "description": "The one in the way."},
            "orders": {"type": "array", "items": {"type": "string"}, "description": "The orders of that name."},
            "policies": {"type": "array", "items": {"type": "string"}, "description": "Those that need confirmation."},
        },
    }


def _handshake() -> dict[str, Any]:
    described: dict[str, Any] = {
        "200": {"description": "Allowed, with the headers of the CloudEvents webhook handshake."}
    }
    kinds = (Kind.WRONG_ADDRESS, Kind.NOT_FOUND, Kind.METHOD_NOT_ALLOWED, Kind.TOO_MANY)
    described |= {str(kind.status): _problem_response(kind) for kind in kinds}
    return {
        "operationId": "greetWebhook",
        "tags": [_WEBHOOKS.name],
        "summary": "The handshake of providers that ask for permission to send webhooks.",
        "description": "The CloudEvents webhook handshake; only for providers that begin with it. Requires no API key.",
        "security": [],
        "parameters": _path_parameters("{endpoint}", _ENDPOINT),
        "responses": described,
    }


def _challenge() -> dict[str, Any]:
    text = {"schema": {"type": "string"}, "example": "9f2c41"}
    json = {"schema": {}, "example": {"challengeResponse": "9f2c41"}}
    described: dict[str, Any] = {
        "200": {
            "description": "The response to the challenge, as text or JSON. The account's config may give it another "
            "status.",
            "content": {"text/plain": text, "application/json": json},
        }
    }
    kinds = (Kind.BAD_REQUEST, Kind.WRONG_ADDRESS, Kind.NOT_FOUND, Kind.METHOD_NOT_ALLOWED, Kind.TOO_MANY)
    described |= {str(kind.status): _problem_response(kind) for kind in kinds}
    return {
        "operationId": "challengeWebhook",
        "tags": [_WEBHOOKS.name],
        "summary": "The challenge of providers that check the URL before they send webhooks.",
        "description": "Answered by the `challenges` of the account's config, or by its handler; 405 if there is none "
        "for the request. HEAD is answered likewise. Requires no API key.",
        "security": [],
        "parameters": _path_parameters("{endpoint}", _ENDPOINT),
        "responses": described,
    }


_ENDPOINT = {"endpoint": examples.ENDPOINT}
_WEBHOOK_EXAMPLE = {"event": "order.processed", "order_id": examples.ORDER, "occurred_at": "2026-03-02T09:30:00Z"}
QUARANTINED = "quarantined: stored, but not parsed. (200 if the endpoint's quarantine_status says so.)"


def _webhook() -> dict[str, Any]:
    fields = {"receipt": {"type": "string"}, "status": {"type": "string"}}
    receipt = {"type": "object", "required": list(fields), "properties": fields}
    responses: dict[str, Any] = {}
    described = (("200", "accepted", "accepted, duplicate or ignored."), ("202", "quarantined", QUARANTINED))
    for status, word, text in described:
        media_type = _media_type(receipt, {"receipt": examples.RECEIPT, "status": word})
        responses[status] = {"description": text, "content": {"application/json": media_type}}
    kinds = (
        Kind.BAD_REQUEST,
        Kind.UNAUTHENTIC,
        Kind.WRONG_ADDRESS,
        Kind.NOT_FOUND,
        Kind.TOO_LARGE,
        Kind.TOO_MANY,
        Kind.BUSY,
    )
    responses |= {str(kind.status): _problem_response(kind) for kind in kinds}
    return {
        "operationId": "receiveWebhook",
        "tags": [_WEBHOOKS.name],
        "summary": "Receive a provider's webhook; a 2xx means that it is on disk and applied.",
        "description": "The provider proves its origin by the endpoint's scheme; no API key is required. A duplicate "
        "changes nothing and is acknowledged. What cannot be understood is kept in quarantine. A POST that one of the "
        "account's `challenges` is about is answered as that says, and not recorded.",
        "security": [],
        "parameters": _path_parameters("{endpoint}", _ENDPOINT),
        "requestBody": {"content": {"*/*": {"example": _WEBHOOK_EXAMPLE}}},
        "responses": responses,
    }
