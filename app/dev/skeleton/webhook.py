"""The webhooks: who sent them, and what they say."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any

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
from app.kit import ids, keys, payload, times
from app.kit.sign import sign_hmac
from app.kit.signing import HmacScheme
from app.dev.skeleton.config import Config
from app.dev.skeleton.words import ATTRIBUTES, EVENTS, IGNORED_EVENTS, STATUSES, TITLE

# Replace: how webhooks are signed (app.kit.signing has more); where they are not, call verify_token(request, options).
SIGNATURE = HmacScheme("X-Signature", timestamp_header="X-Timestamp", signed="{timestamp}.{body}")


sign = partial(sign_hmac, SIGNATURE)
"""Signs samples as the provider does, for `rescind endpoints test`."""


def verify(request: InboundRequest, options: VerifyOptions, now: datetime) -> None:
    """Raise `VerificationError` unless one of the endpoint's secrets signed the time and the body."""
    SIGNATURE.verify(request, options, now)


def parse(request: InboundRequest, config: Config) -> Parsed:
    """The one event that a webhook carries. Raises `MalformedPayload`."""
    # Replace: where a webhook has its event, its time, its own id and the order.
    body = payload.decode(request.body, TITLE)
    event, occurred_at = keys.read_status(body.get("event")), times.first_time(body, ("time",), config.zone)
    if event in IGNORED_EVENTS:
        return Ignored(f"{event} says nothing about an order")
    if event not in EVENTS:
        return Unrecognized(f"{TITLE} documents no event {event!r}; if it does by now, add it to EVENTS in words.py")
    id, facts = read_order(body.get("order"), config, request.body)
    # The key is the same in every redelivery, and different in every other event.
    key = ids.id_or_none(body.get("id"))
    return (ParsedEvent(id, EVENTS[event], key.encode() if key else request.body, facts, occurred_at),)


def read_order(order: Any, config: Config, raw: bytes) -> tuple[str, Facts]:
    """An order's id, and what the order object states; `raw` is what it was decoded from. Raises `MalformedPayload`."""
    # Replace: where an order has its id, its status and the like.
    id, status = (
        (ids.read_id(order, "id"), keys.read_status(order.get("status"))) if type(order) is dict else (None, None)
    )
    if id is None or status is None:
        raise MalformedPayload(f"there is no order with an id and a status: one of {', '.join(STATUSES)} or the like")
    return id, Facts(
        phase=STATUSES.get(status, Phase.UNKNOWN),
        provider_status=status,
        opened_at=times.read_time(order.get("created_at"), config.zone),
        attributes=payload.pick_attributes(order, ATTRIBUTES, raw),
    )
