"""Reading Superloop's orders and appointments, in webhooks and in the order resource.

Whether an order is open follows from the provider's own word `isCancellable`, unless the order has ended: the
phase carries that word, so that a verdict and its evidence rest on one event and no stale field is believed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import tzinfo
from functools import partial
from typing import Any

from app.contract import Appointment, Facts, MalformedPayload, Phase, zone_of
from app.kit import appointments
from app.kit.ids import id_or_none, read_id
from app.kit.keys import find, first_status, read_status
from app.kit.payload import Payload, pick_attributes
from handlers.superloop.config import Config
from handlers.superloop.times import instant, offset_of
from handlers.superloop.words import CANCELLED, ENDED_KEYS, ORDER_STATUSES, plain

ORDER_ATTRIBUTES = (
    "type",
    "customerRef",
    "locId",
    "serviceId",
    "isCancellable",
    "rejectedReason",
    "rejectedOn",
    "cancelledOn",
)
"""What is kept of an order, as the provider spells it; the README says what is left out, and why."""

APPOINTMENT_ATTRIBUTES = ("customerRef", "serviceId", "nbnAppointmentId", "slotType", "timezoneOffset")
"""What is kept of the appointment in the latest webhook about one."""

AUSTRALIAN_ZONES = ("Australia/Sydney", "Australia/Perth")
"""The zones furthest east and west on the mainland: nothing is built elsewhere, but for a few islands."""


def identify(body: Payload, key: str) -> str:
    """The id of the order at `key`. Raises `MalformedPayload`."""
    id = read_id(body, key)
    if id is None:
        raise MalformedPayload(f"the body names no order: {key} is missing")
    return id


def order_facts(body: Payload, event_phase: Phase | None, config: Config, raw: bytes) -> Facts:
    """What an order object states; `event_phase` is the phase by the event's name, where that says one."""
    status = first_status(body, config.status_keys)
    return Facts(
        phase=_phase(body, event_phase, status, config),
        provider_status=status,
        attributes=pick_attributes(body, ORDER_ATTRIBUTES, raw),
    )


def is_cancellable(body: Payload) -> bool | None:
    """The provider's own word on whether the order, apart from its appointments, can be canceled."""
    value = body.get("isCancellable")
    return value if type(value) is bool else None


def read_appointments(body: Payload, config: Config) -> tuple[Appointment, ...] | None:
    """The appointments in an order object; None if it does not mention them."""
    for key in config.appointment_keys:
        holder, _, name = key.rpartition(".")
        parent = find(body, holder) if holder else body
        if type(parent) is dict and name in parent:
            listed = parent[name]
            read_one = partial(read_appointment, config=config, canceled=False)
            return appointments.read_appointments(listed if type(listed) is list else [listed], read_one)
    return None


def read_appointment(body: Payload, config: Config, *, canceled: bool) -> Appointment:
    """One appointment; `canceled` if the event's name says that it is.

    A start that cannot be read is unknown, and does not keep the appointment itself from being known.
    """
    is_canceled = canceled or body.get("cancelledOn") is not None
    zones = _zones(body.get("timezoneOffset"), config)
    return Appointment(
        id_or_none(body.get("id")) or id_or_none(body.get("nbnAppointmentId")) or "appointment",
        CANCELLED if is_canceled else read_status(body.get("status")) or "",
        instant(body.get("startTime"), zones),
        instant(body.get("endTime"), zones, latest=True),
    )


def _zones(given: Any, config: Config) -> tuple[tzinfo, ...]:
    """The zones that an appointment's times without an offset may be in; none where its offset cannot be read."""
    if given is None or given == "":
        return (config.zone,) if config.zone is not None else tuple(map(zone_of, AUSTRALIAN_ZONES))
    offset = offset_of(given)
    return () if offset is None else (offset,)


def _phase(body: Payload, event_phase: Phase | None, status: str | None, config: Config) -> Phase:
    """The order's phase: an end that is stated outranks `isCancellable`, which outranks any other word."""
    by_account = _lookup(config.phases, status)
    phases = [event_phase, by_account or _lookup(ORDER_STATUSES, status)]
    # Such a time may be left from before: an account that gives the status a phase overrules it.
    if by_account is None and any(body.get(key) is not None for key in ENDED_KEYS):
        phases.append(Phase.CANCELED)
    for ended in (Phase.CANCELED, Phase.COMPLETED):
        if ended in phases:
            return ended
    is_open = is_cancellable(body)
    if is_open is not None:
        return Phase.OPEN if is_open else Phase.IN_PROGRESS
    return next((phase for phase in phases if phase is not None), Phase.UNKNOWN)


def _lookup(phases: Mapping[str, Phase], status: str | None) -> Phase | None:
    if status is None:
        return None
    return next((phase for word, phase in phases.items() if plain(word) == plain(status)), None)
