"""Reading PlanOmatic's order object, which webhooks and the retrieve call have in common.

V3 objects are the body of the create call and what came later; V2 objects are flat. Both are read by
the same code, tolerant of what is missing and strict about what an order is called.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from app.contract import Appointment, Facts, MalformedPayload, Phase
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

APPOINTMENTS_MAX = 100

_MERCHANT_IDS = ("external_order_id", "external_id")
_OPENED_KEYS = ("request_datetime", "order_datetime")

_NOT_CONFIRMED = "requested"
_CONFIRMED = "confirmed"
_SCHEDULED = "scheduled"
_IN_DOUBT = "in_doubt"
_CANCELED = "canceled"


REQUEST = "request:"
"""Marks a request_id among the names: both ids may be numbers, and one order's may be the other of another."""


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
    """What the order is called: its id, and its other names. Raises `MalformedPayload`."""
    order_id = read_id(body, "order_id")
    request_id = read_id(body, "request_id")
    by_request = None if request_id is None else REQUEST + request_id
    order = order_id or by_request
    if order is None:
        raise MalformedPayload("the body names no order: neither order_id nor request_id is there")
    return order, (by_request,) if by_request is not None and by_request != order else ()


def _merchants_ids(body: Payload, config: Config) -> tuple[str, ...]:
    """The merchant's own references, by which an order can be looked up where the account says so."""
    if not config.external_ids_are_aliases:
        return ()
    names = (id_or_none(body.get(key)) for key in _MERCHANT_IDS)
    return tuple(dict.fromkeys(name for name in names if name is not None))


def status_of(body: Payload, config: Config) -> str | None:
    """The order's status in the provider's word, if it states one."""
    return first_status(body, config.status_keys)


def facts_of(
    body: Payload, said: Phase | None, aliases: tuple[str, ...], config: Config, raw: bytes, version: str
) -> Facts:
    """What the order object states.

    Args:
        body: the order object.
        said: the phase by the event's name.
        aliases: the order's other names.
        config: the account's.
        raw: what `body` was decoded from.
        version: of the API whose object it is, `V2` or `V3`.
    """
    status = status_of(body, config)
    phase = said
    attributes = pick_attributes(body, ATTRIBUTES, raw)
    if status is not None:
        attributes[STATUS_VERSION] = version
        by_status = status_phase(status)
        phase = by_status if said is None else furthest(said, by_status)
    appointments, complete = _appointments(body, config, in_doubt=said is Phase.UNKNOWN)
    return Facts(
        phase=phase,
        provider_status=status,
        opened_at=_opened_at(body, config),
        appointments=appointments,
        appointments_complete=complete,
        attributes=attributes,
        aliases=aliases,
        shared_aliases=_merchants_ids(body, config),
    )


def _opened_at(body: Payload, config: Config) -> datetime | None:
    for key in _OPENED_KEYS:
        value = body.get(key)
        if value is not None:
            return read_time(value, config.zone)
    return None


def _appointments(body: Payload, config: Config, *, in_doubt: bool) -> tuple[tuple[Appointment, ...], bool]:
    listed = body.get("appointments")
    if type(listed) is list:
        return _read_appointments(listed, config, in_doubt=in_doubt), True
    single = body.get("appointment")
    if type(single) is dict:
        return _read_appointments([single], config, in_doubt=in_doubt), False
    return (), False


def _read_appointments(listed: list[Any], config: Config, *, in_doubt: bool) -> tuple[Appointment, ...]:
    found: dict[str, Appointment] = {}
    for each in listed[:APPOINTMENTS_MAX]:
        if type(each) is not dict:
            continue
        start = first_value(each, config.appointment_start_keys)
        starts_at = read_time(start, config.zone)
        id = id_or_none(each.get("id")) or (starts_at.isoformat() if starts_at else "appointment")
        if id in found:
            # Two without ids may start at the same time, one of them canceled: both count.
            id = f"{id}#{len(found)}"
        status = _appointment_status(each, has_start=start is not None, in_doubt=in_doubt)
        found[id] = Appointment(
            id, status, starts_at, read_time(first_value(each, config.appointment_end_keys), config.zone)
        )
    return tuple(found.values())


def _appointment_status(each: Payload, *, has_start: bool, in_doubt: bool) -> str:
    """The appointment's status. One that the event puts in doubt is not confirmed, whatever its time."""
    if each.get("cancellation_reason") or each.get("cancelled") is True or each.get("canceled") is True:
        return _CANCELED
    status = read_status(each.get("status"))
    if status is not None:
        return status
    if in_doubt:
        return _IN_DOUBT
    confirmed = each.get("confirmed")
    if type(confirmed) is bool:
        return _CONFIRMED if confirmed else _NOT_CONFIRMED
    return _SCHEDULED if has_start else _NOT_CONFIRMED
