"""The OpenAPI 3.1 document, made from the route table that serves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import msgspec
from pydantic import BaseModel

from app import __version__
from app.web import idempotency
from app.web.problems import CONTENT_TYPE, Kind
from app.web.routes import Query, Route
from app.web.schemas import Event

_IDEMPOTENCY_KEY = {
    "name": idempotency.HEADER,
    "in": "header",
    "schema": {"type": "string", "minLength": 1, "maxLength": idempotency.KEY_MAX},
    "description": "A repeated request with the same key and body gets the first response.",
}
_REF = "#/components/schemas/{name}"
_ALWAYS = (Kind.UNAUTHORIZED, Kind.FORBIDDEN, Kind.BUSY)


def document(routes: Sequence[Route], public_url: str) -> dict[str, Any]:
    """The document for these routes."""
    responses = [route.response for route in routes]
    schemas, components = msgspec.json.schema_components(responses, ref_template=_REF)
    _simplify(components)
    # Its fields have defaults in the code, and all of them are in every response.
    components[Event.__name__]["required"] = list(Event.__struct_fields__)
    paths: dict[str, dict[str, Any]] = {}
    for route, schema in zip(routes, schemas, strict=True):
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schema, components)
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
    """State pairs of one type as arrays of two, instead of by `prefixItems`, which tools misread as invalid."""
    for inner in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        _simplify(inner)
    if isinstance(schema, dict) and "prefixItems" in schema:
        first, *others = schema["prefixItems"]
        if schema.get("maxItems") == schema.get("minItems") == 1 + len(others) and others == [first] * len(others):
            del schema["prefixItems"]
            schema["items"] = first


def _operation(route: Route, response: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    success: dict[str, Any] = {"description": "Success."}
    if route.status != 204:  # noqa: PLR2004
        success["content"] = {"application/json": {"schema": response}}
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "description": f"Requires an API key of scope `{route.scope}`.",
        "parameters": [*_path_parameters(route.path), *_query_parameters(route.query)],
        "responses": {str(route.status): success},
    }
    if route.idempotency_key:
        operation["parameters"].append(_IDEMPOTENCY_KEY)
    if route.body is not None:
        schema = _model(route.body, components)
        operation["requestBody"] = {
            "required": not route.body.may_be_absent(),
            "content": {"application/json": {"schema": schema}},
        }
    invalid = (Kind.INVALID,) if route.body or route.query is not Query else ()
    if route.body is not None:
        invalid = (Kind.BAD_REQUEST, Kind.TOO_LARGE, *invalid)
    kinds = sorted(dict.fromkeys((*_ALWAYS, *invalid, *route.problems)), key=lambda kind: kind.status)
    for status, same in groupby(kinds, key=lambda kind: kind.status):
        operation["responses"][str(status)] = _problem_response(*same)
    return operation


def _path_parameters(path: str) -> list[dict[str, Any]]:
    names = re.findall(r"{(\w+)}", path)
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


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


def _problem_response(*kinds: Kind) -> dict[str, Any]:
    return {
        "description": " ".join(f"{kind.title} (`{kind.slug}`)." for kind in kinds),
        "content": {CONTENT_TYPE: {"schema": {"$ref": _REF.format(name="Problem")}}},
    }


def _problem() -> dict[str, Any]:
    types = [f"urn:rescind:problem:{kind.slug}" for kind in Kind]
    return {
        "type": "object",
        "description": "RFC 9457. Some types have further members (`verdict`, `cancellation`, `orders`, `errors`).",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string", "enum": types},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
        },
    }


def _handshake() -> dict[str, Any]:
    described = {"200": {"description": "Allowed, with the headers of the CloudEvents webhook handshake."}}
    described |= {str(kind.status): _problem_response(kind) for kind in (Kind.NOT_FOUND, Kind.METHOD_NOT_ALLOWED)}
    return {
        "operationId": "greetWebhook",
        "summary": "The handshake of providers that ask for permission to send webhooks.",
        "security": [],
        "parameters": _path_parameters("{endpoint}"),
        "responses": described,
    }


QUARANTINED = "quarantined: stored, but not parsed. (200 if the endpoint's quarantine_status says so.)"


def _webhook() -> dict[str, Any]:
    receipt = {"type": "object", "properties": {"receipt": {"type": "string"}, "status": {"type": "string"}}}
    responses: dict[str, Any] = {}
    for status, text in (("200", "accepted, duplicate or ignored."), ("202", QUARANTINED)):
        responses[status] = {"description": text, "content": {"application/json": {"schema": receipt}}}
    kinds = (Kind.BAD_REQUEST, Kind.UNAUTHENTIC, Kind.NOT_FOUND, Kind.TOO_LARGE, Kind.BUSY)
    responses |= {str(kind.status): _problem_response(kind) for kind in kinds}
    return {
        "operationId": "receiveWebhook",
        "summary": "Receive a provider's webhook; a 2xx means that it is on disk and applied.",
        "security": [],
        "parameters": _path_parameters("{endpoint}"),
        "requestBody": {"content": {"*/*": {}}},
        "responses": responses,
    }
