"""The `webhooks` section of the OpenAPI document: what subscribers are sent, one entry for each type of message."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from app.core.outbound.examples import example
from app.core.outbound.types import OUTBOUND_TYPES, OutboundType, Subject
from app.core.representation import Order
from app.web.routes import ApiTag

TAG = ApiTag("Webhooks out", "What subscribers are sent; `/v1/subscriptions` says to whom.")
_REF = "#/components/schemas/{name}"
_HEADERS = {
    "webhook-id": (
        "The message's id, the same in every attempt: process each id once.",
        {"type": "string", "pattern": "^msg_[0-9a-f]{16}$"},
    ),
    "webhook-timestamp": (
        "When this attempt was made, in seconds since 1970. Refuse what is older than a few minutes.",
        {"type": "string", "pattern": "^[0-9]+$"},
    ),
    "webhook-signature": (
        (
            "Signatures of `{webhook-id}.{webhook-timestamp}.{body}`, separated by spaces: `v1,` and the base64 of an "
            "HMAC-SHA256 with a `whsec_` secret, `v1a,` and that of an ed25519 signature with a `whsk_` key. "
            "One that is valid suffices; during a rotation there are several."
        ),
        {"type": "string"},
    ),
}
_RESPONSES = {
    "2XX": {"description": "Accepted: the message is not sent again. The body is ignored."},
    "410": {"description": "The receiver is gone: the subscription is disabled, and its messages are held."},
    "default": {
        "description": "Not accepted: sent again with growing delays, for about 75 hours. Retry-After is honored. "
        "Redirects are not followed."
    },
}


def webhooks() -> tuple[dict[str, Any], dict[str, Any]]:
    """(the section: type → path item, the component schemas that it refers to)."""
    described: list[type[Struct]] = [Subject, *dict.fromkeys(type.schema for type in OUTBOUND_TYPES.values())]
    models = [*described, Order]
    references, components = msgspec.json.schema_components(models, ref_template=_REF)
    for model in described:
        # Fields that have defaults in the code are in every message too.
        components[model.__name__]["required"] = list(model.__struct_encode_fields__)
    by_model = dict(zip(models, references, strict=True))
    section = {name: {"post": _operation(type, by_model)} for name, type in OUTBOUND_TYPES.items()}
    return section, components


def _operation(type: OutboundType, references: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    full = example(type.name)
    thin = {**full, "data": {name: value for name, value in full["data"].items() if name != "snapshot"}}
    snapshot = {
        "description": "The order as it was at that moment; null where the message is about no order. "
        "Only with `payload: full`.",
        "anyOf": [references[Order], {"type": "null"}],
    }
    data = {
        "allOf": [
            references[Subject],
            references[type.schema],
            {"type": "object", "properties": {"snapshot": snapshot}},
        ]
    }
    schema = {
        "type": "object",
        "required": ["type", "timestamp", "data"],
        "properties": {
            "type": {"const": type.name},
            "timestamp": {"type": "string", "format": "date-time", "description": "When it happened."},
            "data": data,
        },
    }
    examples = {
        "thin": {"summary": "payload: thin", "value": thin},
        "full": {"summary": "payload: full", "value": full},
    }
    return {
        "operationId": type.name,
        "summary": type.description,
        "description": "Sent to the subscriptions whose `events` and `accounts` match, by Standard Webhooks.",
        "tags": [TAG.name],
        "security": [],
        "parameters": [
            {"name": name, "in": "header", "required": True, "description": text, "schema": schema}
            for name, (text, schema) in _HEADERS.items()
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema, "examples": examples}}},
        "responses": _RESPONSES,
    }
