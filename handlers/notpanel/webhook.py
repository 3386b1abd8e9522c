"""NotPanel's webhooks: who sent them, and what they say.

“Register webhook” documents HMAC-SHA256 with a secret for each endpoint and a window against replays. How the
parts are put together it does not say; the defaults here may be overridden by the endpoint's `verify`.
"""

from __future__ import annotations

from datetime import datetime

from app.contract import (
    Ignored,
    InboundRequest,
    MalformedPayload,
    Parsed,
    ParsedEvent,
    Phase,
    Unrecognized,
    VerifyOptions,
)
from app.kit.ids import id_or_none, is_id
from app.kit.keys import find
from app.kit.payload import Payload, decode
from app.kit.signing import HmacScheme
from app.kit.times import first_time
from handlers.notpanel.config import Config
from handlers.notpanel.payload import facts_of, identify, status_in, unwrap
from handlers.notpanel.words import ACCOUNT_EVENTS, WEBHOOK_EVENTS, event_type

SIGNATURE_HEADER = "X-NotPanel-Signature"
TIMESTAMP_HEADER = "X-NotPanel-Timestamp"
SIGNED = "{timestamp}.{body}"
TOLERANCE_S = 300.0
"""Neither these names nor this figure are documented."""

ORDER_UPDATED = "order.updated"
"""The type of an event that names only the order's status."""

_ORDER_EVENTS = "order."
_SHOWN_CHARS = 80


def verify(request: InboundRequest, options: VerifyOptions, now: datetime) -> None:
    """HMAC-SHA256 over the time and the body; each part as the endpoint's `verify` has it, if it does."""
    signed = options.signed or SIGNED
    timestamp_header = options.timestamp_header
    if timestamp_header is None and "{timestamp}" in signed:
        timestamp_header = TIMESTAMP_HEADER
    scheme = HmacScheme(
        SIGNATURE_HEADER,
        encoding=options.encoding,
        prefix=options.prefix,
        timestamp_header=timestamp_header,
        signed=signed,
        tolerance_s=TOLERANCE_S,
    )
    scheme.verify(request, options, now)


def parse(request: InboundRequest, config: Config) -> Parsed:
    """The one event that a webhook carries. Raises `MalformedPayload`."""
    raw = request.body
    body = decode(raw, "NotPanel")
    event = _event_of(body, config)
    said = None if event is None else _phase_said(event, config)
    if event in ACCOUNT_EVENTS and said is None:
        return Ignored(f"{event} is about the account, and about no order")
    subject = unwrap(body)
    status = status_in(subject, config)
    if event is not None and said is None and not (status is not None and _is_of_order(event)):
        return Unrecognized(
            f"no event {event[:_SHOWN_CHARS]!r} of NotPanel's is known, and it states no order's status; "
            "if it matters, set event_phases"
        )
    if event is None and status is None:
        return Unrecognized(
            f"the body names neither an event (looked for {', '.join(config.event_keys)}) nor a status "
            f"(looked for {', '.join(config.status_keys)}); if it does so elsewhere, set event_keys or status_keys"
        )
    order = identify(subject, config)
    facts = facts_of(subject, status, said, config, raw)
    type = ORDER_UPDATED if event is None else event_type(event)
    occurred_at = first_time(body, config.time_keys, config.zone)
    return (ParsedEvent(order, type, _key_of(body, order, config, raw), facts, occurred_at),)


def _phase_said(event: str, config: Config) -> Phase | None:
    """What the event's name alone says of the order; None for a name that is not known."""
    own = config.event_phases.get(event)
    return WEBHOOK_EVENTS.get(event_type(event)) if own is None else own


def _event_of(body: Payload, config: Config) -> str | None:
    """The event's name: the first that is known, or else the first that is there at all."""
    unknown = None
    for key in config.event_keys:
        name = find(body, key)
        if type(name) is str and name:
            if name in ACCOUNT_EVENTS or _phase_said(name, config) is not None:
                return name
            unknown = unknown or name
        elif type(name) is dict:
            raise MalformedPayload(f"{key} is an object: set event_keys to where in it the name stands ({key}.name)")
    return unknown


def _is_of_order(event: str) -> bool:
    return event.startswith(_ORDER_EVENTS) and is_id(event)


def _key_of(body: Payload, order: str, config: Config, raw: bytes) -> bytes:
    """The event's own id, or the whole body. An id that is the order's is the same in all of its events."""
    for key in config.id_keys:
        id = id_or_none(find(body, key))
        if id is not None and id != order:
            return id.encode("utf-8", "surrogatepass")
    return raw
