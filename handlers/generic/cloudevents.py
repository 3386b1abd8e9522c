"""CloudEvents 1.0 over HTTP: batch, structured and binary requests, and the handshake.

All three give the event as in the JSON format, with its `data` in JSON. Sources: “CloudEvents -
Version 1.0.2”, its “JSON Event Format” and “HTTP Protocol Binding”, and “HTTP 1.1 Web Hooks for Event Delivery”.
"""

from __future__ import annotations

import re
from base64 import b64decode
from typing import Any
from urllib.parse import unquote_to_bytes

from app.contract import HandshakeResponse, InboundRequest, MalformedPayload
from app.kit.payload import Payload, decode_any
from handlers.generic.config import Handshake

VERSION = "1.0"
BATCH, STRUCTURED = "application/cloudevents-batch", "application/cloudevents"
PREFIX = "ce-"
IDENTITY = ("ce-id", "ce-source")
"""Headers that tell an event in binary mode from every other."""
SOURCE = "the source"

_JSON = re.compile(r"(application|text)/(json|[a-z0-9.+-]+\+json)", re.IGNORECASE)
# Clients send the second if they are given bytes and no Content-Type: it does not say what the data is.
_UNSAID = ("", "application/octet-stream")
_OF_EVENTS = re.compile(r"\b(data|subject)\b")
_ESCAPED = re.compile(r"\\(.)")


def events_in(request: InboundRequest, order_path: str = "subject") -> list[Payload] | None:
    """The CloudEvents in a request; None if it is no request of CloudEvents. Raises `MalformedPayload`.

    Binary mode has the event's attributes in headers, which hardly any signature holds. So it is read only where the
    order stands in the data, or is the subject: else anyone who has one signed body could name any order and status.
    """
    media, _, _ = request.headers.get("Content-Type", "").partition(";")
    media = media.strip().lower()
    # Tested in this order, as the one name begins with the other.
    if media.startswith(BATCH):
        _require_json(media, BATCH)
        return _batch(decode_any(request.body, SOURCE))
    if media.startswith(STRUCTURED):
        _require_json(media, STRUCTURED)
        return [_checked(decode_any(request.body, SOURCE), "the event")]
    if PREFIX + "specversion" in request.headers and _OF_EVENTS.search(order_path):
        return [_checked(_binary(request, media), "the event")]
    return None


def is_binary(request: InboundRequest) -> bool:
    """Whether the event's attributes stand in headers, if it is a request of CloudEvents."""
    return not request.headers.get("Content-Type", "").strip().lower().startswith(STRUCTURED)


def handshake(request: InboundRequest, allowed: Handshake) -> HandshakeResponse:
    """The response whose headers allow the sender to send; it has none for one that is not allowed to."""
    origin = request.headers.get("WebHook-Request-Origin", "").strip()
    origins = {own.lower() for own in allowed.origins}
    if not origin or not origin.isprintable() or not {"*", origin.lower()} & origins:
        return HandshakeResponse()
    rate = "*" if allowed.per_min is None else str(allowed.per_min)
    return HandshakeResponse(headers={"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": rate})


def identity(event: Payload) -> bytes:
    """What tells an event from every other: its source and its id."""
    return f"{event['source']}\0{event['id']}".encode("utf-8", "surrogatepass")


def _require_json(media: str, family: str) -> None:
    if media not in (family, f"{family}+json"):
        raise MalformedPayload(f"it is {media}: of CloudEvents' formats only JSON can be read; have it sent as that")


def _batch(body: Any) -> list[Payload]:
    if type(body) is not list:
        raise MalformedPayload("a batch of CloudEvents must be a JSON array")
    return [_checked(event, f"event {number} of the batch") for number, event in enumerate(body, 1)]


def _binary(request: InboundRequest, media: str) -> Payload:
    event: Payload = {
        name.lower().removeprefix(PREFIX): _decoded(name, value)
        for name, value in request.headers.items()
        if name.lower().startswith(PREFIX)
    }
    if request.body:
        if media not in _UNSAID and not _JSON.fullmatch(media):
            raise MalformedPayload(f"its data is {media}, and only JSON can be read")
        event["data"] = decode_any(request.body, SOURCE)
    return event


def _decoded(name: str, value: str) -> str:
    """A header's value: perhaps quoted, and percent-encoded once."""
    value = value.strip()
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = _ESCAPED.sub(r"\1", value[1:-1])
    try:
        return unquote_to_bytes(value.encode("utf-8", "surrogateescape")).decode()
    except ValueError as error:
        raise MalformedPayload(f"the header {name} is no percent-encoded UTF-8") from error


def _checked(event: Any, what: str) -> Payload:
    if type(event) is not dict:
        raise MalformedPayload(f"{what} is no JSON object")
    version = event.get("specversion")
    if version != VERSION:
        raise MalformedPayload(f"{what} is of CloudEvents {str(version)[:20]!r}, and only {VERSION} can be read")
    for name in ("id", "source", "type"):
        if type(event.get(name)) is not str or not event[name]:
            raise MalformedPayload(f"{what} has no {name}, which CloudEvents requires")
    encoded = event.get("data_base64")
    if encoded is not None:
        try:
            raw = b64decode(encoded, validate=True)
        except (ValueError, TypeError) as error:
            raise MalformedPayload(f"the data_base64 of {what} is no base64") from error
        return {**event, "data": decode_any(raw, SOURCE)}
    checked: Payload = event
    return checked
