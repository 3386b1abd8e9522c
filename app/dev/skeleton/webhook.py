"""The webhooks: who sent them, and what they say."""

from __future__ import annotations

from datetime import datetime

from app.contract import (
    Facts,
    Ignored,
    InboundRequest,
    MalformedPayload,
    Parsed,
    ParsedEvent,
    Phase,
    Unrecognized,
    VerifyOptions,
)
from app.dev.skeleton.config import Config
from app.dev.skeleton.words import ATTRIBUTES, EVENTS, IGNORED_EVENTS, STATUSES, TITLE
from app.kit.ids import read_id
from app.kit.keys import read_status
from app.kit.payload import Payload, decode, pick_attributes
from app.kit.signing import HmacScheme
from app.kit.times import read_time

# Replace: how webhooks are signed (app.kit.signing has more); where they are not, call verify_token(request, options).
SIGNATURE = HmacScheme("X-Signature", timestamp_header="X-Timestamp", signed="{timestamp}.{body}")


def verify(request: InboundRequest, options: VerifyOptions, now: datetime) -> None:
    """Raise `VerificationError` unless one of the endpoint's secrets signed the time and the body."""
    SIGNATURE.verify(request, options, now)


def parse(request: InboundRequest, config: Config) -> Parsed:
    """The one event that a webhook carries. Raises `MalformedPayload`."""
    body = decode(request.body, TITLE)
    # Replace: where a webhook has its event, its time, its own id and the order.
    event, occurred_at = read_status(body.get("event")), read_time(body.get("time"), config.zone)
    id, order = body.get("id"), body.get("order")
    if event is None:
        raise MalformedPayload("the body names no event: event must be a string")
    if event in IGNORED_EVENTS:
        return Ignored(f"{event} says nothing about an order")
    if event not in EVENTS:
        return Unrecognized(f"{TITLE} documents no event {event!r}; if it does by now, add it to EVENTS in words.py")
    if occurred_at is None:
        raise MalformedPayload("time is neither an ISO 8601 time nor unix seconds")
    if type(order) is not dict:
        raise MalformedPayload("the body holds no order: order must be an object")
    # The same in every redelivery, and different in every other event.
    key = id.encode() if type(id) is str and id else request.body
    return (ParsedEvent(order_id(order), EVENTS[event], key, facts_of(order, config, request.body), occurred_at),)


def order_id(order: Payload) -> str:
    """What the order is called. Raises `MalformedPayload`."""
    id = read_id(order, "id")
    if id is None:
        raise MalformedPayload("the order has no id")
    return id


def facts_of(order: Payload, config: Config, raw: bytes) -> Facts:
    """What an order object states; `raw` is what it was decoded from. Raises `MalformedPayload`."""
    # Replace: where an order has its status and the like.
    status = read_status(order.get("status"))
    if status is None:
        raise MalformedPayload(f"the order has no status: one of {', '.join(STATUSES)} or the like must be there")
    return Facts(
        phase=STATUSES.get(status, Phase.UNKNOWN),
        provider_status=status,
        opened_at=read_time(order.get("created_at"), config.zone),
        attributes=pick_attributes(order, ATTRIBUTES, raw),
    )
