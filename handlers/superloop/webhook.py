"""Superloop Connect's webhooks: who sent them, and what they say.

The headers name the event, and the body shows the order or the appointment as it is now.
"""

from __future__ import annotations

import re
from datetime import datetime

from msgspec import Struct

from app.contract import Facts, Ignored, InboundRequest, Parsed, ParsedEvent, Unrecognized, VerifyOptions
from app.kit.payload import Payload, decode, pick_attributes
from app.kit.signing import verify_token
from app.kit.times import first_time
from handlers.superloop.config import Config
from handlers.superloop.payload import APPOINTMENT_ATTRIBUTES, order_facts, order_named, read_appointment
from handlers.superloop.words import APPOINTMENT, EVENT_TYPES, ORDER, ORDER_EVENTS, SERVICE

EVENT_HEADER = "z-event-type"
NOTIFICATION_HEADER = "z-notification-type"
MODEL_HEADER = "z-notification-model"

_EVENT, _NOTIFICATION = ".event", ".notification"
_NAME = re.compile(r"([a-z]{1,40})\.([a-z0-9][a-z0-9._-]{0,80})")
_CANCELED = frozenset({"cancelled", "canceled"})
_SHOWN_CHARS = 80


class _Name(Struct, frozen=True):
    """The name of an event, taken apart: `order`, `rejected`."""

    model: str
    verb: str

    @property
    def type(self) -> str:
        own = f"{self.model}.{self.verb}"
        return EVENT_TYPES.get(own, own)


def verify(request: InboundRequest, options: VerifyOptions, now: datetime) -> None:  # noqa: ARG001 - a token has no age
    """Superloop documents no signature: a token in the URL or in a header proves the sender."""
    verify_token(request, options)


def parse(request: InboundRequest, config: Config) -> Parsed:
    """The one event that a webhook carries. Raises `MalformedPayload`.

    Its name and the raw body are the event's key: Superloop documents no id of a notification.
    """
    raw = request.body
    body = decode(raw, "Superloop")
    name = _name_of(request)
    if isinstance(name, Unrecognized):
        return name
    if name.model == SERVICE:
        return Ignored(f"{name.type} is about a service that is there already, and not about an order")
    if name.model == ORDER:
        order = order_named(body, "id")
        facts = order_facts(body, ORDER_EVENTS.get(f"{name.model}.{name.verb}{_EVENT}"), config, raw)
    elif name.model == APPOINTMENT:
        order = order_named(body, "orderId")
        appointment = read_appointment(body, config, canceled=name.verb in _CANCELED)
        facts = Facts(appointments=(appointment,), attributes=pick_attributes(body, APPOINTMENT_ATTRIBUTES, raw))
    else:
        return Unrecognized(f"Superloop documents webhooks about orders, appointments and services, not {name.model!r}")
    key = f"{name.model}.{name.verb}\0".encode() + raw
    return (ParsedEvent(order, name.type, key, facts, _occurred_at(body, config)),)


def _name_of(request: InboundRequest) -> _Name | Unrecognized:
    """What the headers say; `z-event-type` first, and the type of the notification where it is missing."""
    given = request.headers.get(EVENT_HEADER) or request.headers.get(NOTIFICATION_HEADER)
    if not given:
        return Unrecognized(f"no header names the event ({EVENT_HEADER} is missing: does a proxy drop it?)")
    text = given.strip().lower()
    match = _NAME.fullmatch(text.removesuffix(_EVENT).removesuffix(_NOTIFICATION))
    if match is None:
        return Unrecognized(f"{EVENT_HEADER} is {given[:_SHOWN_CHARS]!r}, and not <model>.<verb>{_EVENT}")
    model = request.headers.get(MODEL_HEADER, match[1]).strip().lower()
    if model != match[1]:
        return Unrecognized(f"{EVENT_HEADER} speaks of {match[1]!r}, and {MODEL_HEADER} of {model[:_SHOWN_CHARS]!r}")
    return _Name(match[1], match[2])


def _occurred_at(body: Payload, config: Config) -> datetime | None:
    """When it happened, if the account knows a key for it.

    `rejectedOn` and `cancelledOn` are not used: only some events have one, and an event with a time of the provider's
    would take its place before earlier ones, which count from their receipt.
    """
    return first_time(body, config.time_keys, config.zone)
