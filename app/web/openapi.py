"""OpenAPI 3.1, made from the table of routes that serves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from pydantic import BaseModel

from app import __version__
from app.web.problems import CONTENT_TYPE, Kind
from app.web.routes import IDEMPOTENCY_KEY_MAX, Query, Route

_IDEMPOTENCY_KEY = {"type": "string", "minLength": 1, "maxLength": IDEMPOTENCY_KEY_MAX}
_REF = "#/components/schemas/{name}"
_ALWAYS = (Kind.UNAUTHORIZED, Kind.FORBIDDEN, Kind.BUSY)


def document(routes: Sequence[Route], public_url: str) -> dict[str, Any]:
    """The description of the API."""
    answers = [route.answer for route in routes]
    shapes, components = msgspec.json.schema_components(answers, ref_template=_REF)
    _simplify(components)
    paths: dict[str, dict[str, Any]] = {}
    for route, shape in zip(routes, shapes, strict=True):
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, shape, components)
    paths["/webhooks/{endpoint}"] = {"post": _webhook(), "options": _handshake()}
    components["Problem"] = _problem()
    return {
        "openapi": "3.1.0",
        "info": {"title": "Rescind", "version": __version__, "summary": "Cancelability of orders, and cancellation."},
        "servers": [{"url": public_url}] if public_url else [],
        "security": [{"apiKey": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"apiKey": {"type": "http", "scheme": "bearer", "description": "An API key, rk_…"}},
        },
    }


def _simplify(schema: Any) -> None:
    """State pairs of one kind as arrays of two: the same as `prefixItems` says, which tools misread as invalid."""
    for each in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        _simplify(each)
    if isinstance(schema, dict) and "prefixItems" in schema:
        first, *others = schema["prefixItems"]
        if schema.get("maxItems") == schema.get("minItems") == 1 + len(others) and others == [first] * len(others):
            del schema["prefixItems"]
            schema["items"] = first


def _operation(route: Route, answer: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    good: dict[str, Any] = {"description": "Done."}
    if route.status != 204:  # noqa: PLR2004
        good["content"] = {"application/json": {"schema": answer}}
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "description": f"Needs a key of scope `{route.scope.name.lower()}`.",
        "parameters": [*_path_parameters(route.path), *_query_parameters(route.query)],
        "responses": {str(route.status): good},
    }
    if route.creates:
        text = "Same key and body: the first answer again."
        operation["parameters"].append(
            {"name": "Idempotency-Key", "in": "header", "schema": _IDEMPOTENCY_KEY, "description": text}
        )
    if route.body is not None:
        schema = _model(route.body, components)
        operation["requestBody"] = {
            "required": not route.body.may_be_absent(),
            "content": {"application/json": {"schema": schema}},
        }
    invalid = (Kind.INVALID,) if route.body or route.query is not Query else ()
    if route.body is not None:
        invalid = (Kind.BAD_REQUEST, Kind.TOO_LARGE, *invalid)
    for kind in dict.fromkeys((*_ALWAYS, *invalid, *route.problems)):
        known = operation["responses"].setdefault(str(kind.status), _problem_response())
        known["description"] = f"{known['description']} {kind.title} (`{kind.slug}`).".strip()
    return operation


def _path_parameters(path: str) -> list[dict[str, Any]]:
    names = re.findall(r"{(\w+)}", path)
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _query_parameters(query: type[Query]) -> list[dict[str, Any]]:
    schema = query.model_json_schema(ref_template=_REF.replace("{name}", "{model}"))
    definitions = schema.get("$defs", {})
    found = []
    for name, given in schema.get("properties", {}).items():
        inlined = [definitions.get(part.get("$ref", "").rpartition("/")[2], part) for part in given.get("anyOf", ())]
        field = {"anyOf": inlined, **{k: v for k, v in given.items() if k != "anyOf"}} if inlined else given
        found.append({"name": name, "in": "query", "required": False, "schema": field})
    return found


def _model(model: type[BaseModel], components: dict[str, Any]) -> dict[str, Any]:
    schema = model.model_json_schema(ref_template=_REF.replace("{name}", "{model}"))
    components.update(schema.pop("$defs", {}))
    components[model.__name__] = schema
    return {"$ref": _REF.format(name=model.__name__)}


def _problem_response() -> dict[str, Any]:
    return {"description": "", "content": {CONTENT_TYPE: {"schema": {"$ref": _REF.format(name="Problem")}}}}


def _problem() -> dict[str, Any]:
    types = [f"urn:rescind:problem:{kind.slug}" for kind in Kind]
    return {
        "type": "object",
        "description": "RFC 9457. Some types carry further members (`verdict`, `cancellation`, `orders`, `errors`).",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string", "enum": types},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
        },
    }


def _handshake() -> dict[str, Any]:
    described = {"200": {"description": "It may; the headers say so in the way of CloudEvents' web hooks."}}
    for kind in (Kind.NOT_FOUND, Kind.METHOD_NOT_ALLOWED):
        described[str(kind.status)] = {**_problem_response(), "description": f"{kind.title} (`{kind.slug}`)."}
    return {
        "operationId": "greetWebhook",
        "summary": "Ask whether a sender may send to the endpoint, where its provider does so.",
        "security": [],
        "parameters": _path_parameters("{endpoint}"),
        "responses": described,
    }


QUARANTINED = "quarantined: kept, not understood. (200 where the endpoint's quarantine_status is so.)"


def _webhook() -> dict[str, Any]:
    receipt = {"type": "object", "properties": {"receipt": {"type": "string"}, "status": {"type": "string"}}}
    responses: dict[str, Any] = {}
    for status, text in (("200", "accepted, duplicate or ignored."), ("202", QUARANTINED)):
        responses[status] = {"description": text, "content": {"application/json": {"schema": receipt}}}
    for kind in (Kind.BAD_REQUEST, Kind.UNAUTHENTIC, Kind.NOT_FOUND, Kind.TOO_LARGE, Kind.BUSY):
        responses[str(kind.status)] = {**_problem_response(), "description": f"{kind.title} (`{kind.slug}`)."}
    return {
        "operationId": "receiveWebhook",
        "summary": "Take in a provider's webhook; a 2xx means on disk and applied.",
        "security": [],
        "parameters": _path_parameters("{endpoint}"),
        "requestBody": {"content": {"*/*": {}}},
        "responses": responses,
    }
