"""Superloop Connect's webhooks: who sent them, and what they say.

The headers name the event, and the body shows the order or the appointment as it is now.
"""

from __future__ import annotations

import re
from datetime import datetime

from app.contract import Facts, Ignored, InboundRequest, Parsed, ParsedEvent, Unrecognized, VerifyOptions
from app.kit.excerpts import shown
from app.kit.payload import decode, pick_attributes
from app.kit.signing import verify_token
from app.kit.times import first_time
from handlers.superloop.config import Config
from handlers.superloop.payload import APPOINTMENT_ATTRIBUTES, identify, order_facts, read_appointment
from handlers.superloop.words import EVENT_TYPES, ORDER_EVENTS

EVENT_HEADER = "z-event-type"
NOTIFICATION_HEADER = "z-notification-type"
MODEL_HEADER = "z-notification-model"

_NAME = re.compile(r"(?P<name>(?P<model>[a-z]{1,40})\.(?P<verb>[a-z0-9][a-z0-9._-]{0,80}))")
_CANCELED = ("appointment.cancelled", "appointment.canceled")


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
    type = EVENT_TYPES.get(name, name)
    match name.partition(".")[0]:
        case "order":
            order, facts = identify(body, "id"), order_facts(body, ORDER_EVENTS.get(f"{name}.event"), config, raw)
        case "appointment":
            order = identify(body, "orderId")
            appointment = read_appointment(body, config, canceled=name in _CANCELED)
            facts = Facts(appointments=(appointment,), attributes=pick_attributes(body, APPOINTMENT_ATTRIBUTES, raw))
        case "service":
            return Ignored(f"{type} is about a service that is there already, and not about an order")
        case model:
            return Unrecognized(f"Superloop documents webhooks about orders, appointments and services, not {model!r}")
    # rejectedOn and cancelledOn are not used: only some events have one, and an event with a time of the provider's
    # would take its place before earlier ones, which count from their receipt.
    occurred_at = first_time(body, config.time_keys, config.zone)
    return (ParsedEvent(order, type, f"{name}\0".encode() + raw, facts, occurred_at),)


def _name_of(request: InboundRequest) -> str | Unrecognized:
    """The event's name, `order.rejected`, by its header, or else by that of the notification."""
    given = request.headers.get(EVENT_HEADER) or request.headers.get(NOTIFICATION_HEADER)
    if not given:
        return Unrecognized(f"no header names the event ({EVENT_HEADER} is missing: does a proxy drop it?)")
    match = _NAME.fullmatch(given.strip().lower().removesuffix(".event").removesuffix(".notification"))
    if match is None:
        return Unrecognized(f"{EVENT_HEADER} is {shown(given)}, and not <model>.<verb>.event")
    model = request.headers.get(MODEL_HEADER, match["model"]).strip().lower()
    if model != match["model"]:
        return Unrecognized(f"{EVENT_HEADER} speaks of {match['model']!r}, and {MODEL_HEADER} of {shown(model)}")
    return match["name"]
