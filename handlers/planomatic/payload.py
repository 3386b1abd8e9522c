"""Reading PlanOmatic's order object, which webhooks and the retrieve call have in common.

V3 objects are the body of the create call and what came later; V2 objects are flat. Both are read by
the same code, tolerant of what is missing and strict about what an order is called.
"""

from __future__ import annotations

from functools import partial

from app.contract import Appointment, Facts, MalformedPayload, Phase
from app.kit.appointments import appointment_id, read_appointments
from app.kit.ids import id_or_none, read_id
from app.kit.keys import first_status, first_value, read_status
from app.kit.payload import Payload, pick_attributes
from app.kit.phases import furthest
from app.kit.times import read_time
from handlers.planomatic.config import Config
from handlers.planomatic.words import ORDER_STATUSES, STATUS_VERSION, status_phase

ATTRIBUTES = (
    "request_id",
    "external_property_id",
    "external_order_id",
    "external_id",
    "billing_entity_slug",
    "metadata",
    "property",
    "property_info",
    "services",
    "primary_service",
    "add_on_services",
    "submitted_cancel_onsite",
)
"""What is kept of an order, as the provider spells it; the README says what is left out, and why."""

REQUEST = "request:"
"""Marks a request_id among the names: both ids may be numbers, and one order's may be the other of another."""

_MERCHANT_IDS = ("external_order_id", "external_id")
_OPENED_KEYS = ("request_datetime", "order_datetime")


def other_names(id: str) -> tuple[str, ...]:
    """How an order is known whose request_id somebody gave without the mark."""
    return () if id.startswith(REQUEST) else (REQUEST + id,)


def unwrap(body: Payload) -> Payload:
    """The order in `body`: the body itself, or with it what it wraps in `data` or `order`."""
    for wrapper in ("data", "order"):
        if "order_id" in body or "request_id" in body:
            break
        inner = body.get(wrapper)
        if type(inner) is dict:
            body = {**without_envelope(body), **inner}
    return body


def without_envelope(body: Payload) -> Payload:
    """`body` without a `status` beside the order, which is the message's own unless it is a status of orders."""
    status = body.get("status")
    if status is None or (type(status) is str and status in ORDER_STATUSES):
        return body
    return {key: value for key, value in body.items() if key != "status"}


def id_kind(name: str) -> str | None:
    """See `Handler.id_kind`: an order has its request's id only until it has one of its own."""
    return None if name.startswith(REQUEST) else "order_id"


def identify(body: Payload) -> tuple[str, tuple[str, ...]]:
    """The order's id, and its aliases. Raises `MalformedPayload`."""
    order_id, request_id = read_id(body, "order_id"), read_id(body, "request_id")
    alias = None if request_id is None else REQUEST + request_id
    if order_id is not None:
        return order_id, () if alias is None else (alias,)
    if alias is None:
        raise MalformedPayload("the body names no order: neither order_id nor request_id is there")
    return alias, ()


def status_of(body: Payload, config: Config) -> str | None:
    """The order's status in the provider's word, if it states one."""
    return first_status(body, config.status_keys)


def facts_of(
    body: Payload, event_phase: Phase | None, aliases: tuple[str, ...], config: Config, raw: bytes, version: str
) -> Facts:
    """What the order object states.

    Args:
        body: the order object.
        event_phase: the phase by the event's name.
        aliases: the order's aliases.
        config: the account's.
        raw: what `body` was decoded from.
        version: of the API whose object it is, `V2` or `V3`.
    """
    status, phase = status_of(body, config), event_phase
    attributes = pick_attributes(body, ATTRIBUTES, raw)
    if status is not None:
        attributes[STATUS_VERSION] = version
        phase = status_phase(status) if phase is None else furthest(phase, status_phase(status))
    listed = body.get("appointments")
    read_one = partial(_appointment, config=config, in_doubt=event_phase is Phase.UNKNOWN)
    return Facts(
        phase=phase,
        provider_status=status,
        opened_at=read_time(first_value(body, _OPENED_KEYS), config.zone),
        appointments=read_appointments(listed if type(listed) is list else [body.get("appointment")], read_one),
        # A single one does not say that there is no other.
        appointments_complete=type(listed) is list,
        attributes=attributes,
        aliases=aliases,
        shared_aliases=_merchant_ids(body, config),
    )


def _merchant_ids(body: Payload, config: Config) -> tuple[str, ...]:
    """The merchant's own references, by which an order can be looked up where the account says so."""
    if not config.external_ids_are_aliases:
        return ()
    ids = [id for key in _MERCHANT_IDS if (id := id_or_none(body.get(key))) is not None]
    return tuple(dict.fromkeys(ids))


def _appointment(body: Payload, *, config: Config, in_doubt: bool) -> Appointment:
    start = first_value(body, config.appointment_start_keys)
    starts_at = read_time(start, config.zone)
    ends_at = read_time(first_value(body, config.appointment_end_keys), config.zone)
    status = _appointment_status(body, has_start=start is not None, in_doubt=in_doubt)
    return Appointment(appointment_id(body.get("id"), starts_at), status, starts_at, ends_at)


def _appointment_status(body: Payload, *, has_start: bool, in_doubt: bool) -> str:
    """The appointment's status. One that the event puts in doubt is not confirmed, whatever its time."""
    if body.get("cancellation_reason") or body.get("cancelled") is True or body.get("canceled") is True:
        return "canceled"
    status = read_status(body.get("status"))
    if status is not None:
        return status
    if in_doubt:
        return "in_doubt"
    confirmed = body.get("confirmed")
    if type(confirmed) is bool:
        return "confirmed" if confirmed else "requested"
    return "scheduled" if has_start else "requested"
