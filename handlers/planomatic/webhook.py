"""PlanOmatic's order status webhooks, V3 and V2: who sent them, and what they say."""

from __future__ import annotations

from datetime import datetime

from app.contract import InboundRequest, Parsed, ParsedEvent, Unrecognized, VerifyOptions
from app.kit.excerpts import shown
from app.kit.keys import event_name, no_event_or_status
from app.kit.payload import decode
from app.kit.signing import verify_token
from app.kit.times import first_time
from handlers.planomatic.config import Config
from handlers.planomatic.payload import facts_of, identify, status_of, unwrap
from handlers.planomatic.words import EVENT_TRIGGERS, V2, V2_STATUS_KEY, V3

ORDER_UPDATED = "order.updated"
"""The type of an event that names only the order's status, as V2 webhooks do."""


def verify(request: InboundRequest, options: VerifyOptions, now: datetime) -> None:  # noqa: ARG001 - a token has no age
    """PlanOmatic documents no signature: a token in the URL or in a header proves the sender."""
    verify_token(request, options)


def parse(request: InboundRequest, config: Config) -> Parsed:
    """The one event that a webhook carries. Raises `MalformedPayload`.

    The raw body is the event's key: PlanOmatic gives its events no id, and resends the same body.
    """
    raw = request.body
    body = decode(raw, "PlanOmatic")
    event = event_name(body, config.event_keys, EVENT_TRIGGERS.__contains__)
    if event is not None and event not in EVENT_TRIGGERS:
        return Unrecognized(
            f"PlanOmatic documents no event {shown(event)}: set event_keys if the name stands elsewhere, "
            "or add it to the handler"
        )
    subject = unwrap(body)
    order, aliases = identify(subject)
    if event is None and status_of(subject, config) is None:
        return no_event_or_status(config.event_keys, config.status_keys)
    said = EVENT_TRIGGERS[event] if event is not None else None
    # V3 names the event that caused a webhook, and V2 only the status, under a key of its own.
    version = V2 if event is None and V2_STATUS_KEY in subject else V3
    facts = facts_of(subject, said, aliases, config, raw, version)
    return (ParsedEvent(order, event or ORDER_UPDATED, raw, facts, first_time(body, config.time_keys, config.zone)),)
