"""NotPanel's webhooks: who sent them, and what they say.

“Register webhook” documents HMAC-SHA256 with a secret for each endpoint and a window against replays. How the
parts are put together it does not say; the defaults here may be overridden by the endpoint's `verify`.
"""

from __future__ import annotations

from datetime import datetime

from app.contract import HttpRequest, Ignored, InboundRequest, Parsed, ParsedEvent, Phase, Unrecognized, VerifyOptions
from app.kit.excerpts import shown
from app.kit.ids import is_id
from app.kit.keys import event_name, first_status, no_event_or_status
from app.kit.payload import decode
from app.kit.sign import sign_hmac
from app.kit.signing import HmacScheme
from app.kit.times import first_time
from handlers.notpanel.config import Config
from handlers.notpanel.payload import facts_of, identify, ids_in, unwrap
from handlers.notpanel.words import ACCOUNT_EVENTS, WEBHOOK_EVENTS, event_type

SIGNATURE_HEADER = "X-NotPanel-Signature"
TIMESTAMP_HEADER = "X-NotPanel-Timestamp"
SIGNED = "{timestamp}.{body}"
TOLERANCE_S = 300.0
"""Neither these names nor this figure are documented."""

ORDER_UPDATED = "order.updated"
"""The type of an event that names only the order's status."""


def verify(request: InboundRequest, options: VerifyOptions, now: datetime) -> None:
    """HMAC-SHA256 over the time and the body; each part as the endpoint's `verify` has it, if it does."""
    _scheme(options).verify(request, options, now)


def sign(webhook: HttpRequest, options: VerifyOptions, now: datetime) -> HttpRequest:
    """The webhook with that signature."""
    return sign_hmac(_scheme(options), webhook, options, now)


def _scheme(options: VerifyOptions) -> HmacScheme:
    signed = options.signed or SIGNED
    timestamp_header = options.timestamp_header or (TIMESTAMP_HEADER if "{timestamp}" in signed else None)
    return HmacScheme(SIGNATURE_HEADER, options.encoding, options.prefix, timestamp_header, signed, TOLERANCE_S)


def parse(request: InboundRequest, config: Config) -> Parsed:
    """The one event that a webhook carries. Raises `MalformedPayload`."""
    raw = request.body
    body = decode(raw, "NotPanel")
    event = event_name(
        body, config.event_keys, lambda name: name in ACCOUNT_EVENTS or _phase_of(name, config) is not None
    )
    event_phase = None if event is None else _phase_of(event, config)
    if event in ACCOUNT_EVENTS and event_phase is None:
        return Ignored(f"{event} is about the account, and about no order")
    subject = unwrap(body)
    status = first_status(subject, config.status_keys)
    if event is not None and event_phase is None and (status is None or not _is_of_order(event)):
        return Unrecognized(
            f"no event {shown(event)} of NotPanel's is known, and it states no order's status; "
            "if it matters, set event_phases"
        )
    if event is None and status is None:
        return no_event_or_status(config.event_keys, config.status_keys)
    order = identify(subject, config)
    # Without an id of the event's own the whole body is its key. An id that is the order's is in all of its events.
    own_id = next((id for id in ids_in(body, config.id_keys) if id != order), None)
    key = raw if own_id is None else own_id.encode("utf-8", "surrogatepass")
    type = ORDER_UPDATED if event is None else event_type(event)
    facts = facts_of(subject, event_phase, config, raw)
    return (ParsedEvent(order, type, key, facts, first_time(body, config.time_keys, config.zone)),)


def _phase_of(event: str, config: Config) -> Phase | None:
    """What the event's name alone says of the order; None for a name that is not known."""
    return config.event_phases.get(event) or WEBHOOK_EVENTS.get(event_type(event))


def _is_of_order(event: str) -> bool:
    return event.startswith("order.") and is_id(event)
