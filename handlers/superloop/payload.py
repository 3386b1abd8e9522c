"""Reading Superloop's orders and appointments, in webhooks and in the order resource.

Whether an order is open follows from the provider's own word `isCancellable`, unless the order has ended: the
phase carries that word, so that a verdict and its evidence rest on one event and no stale field is believed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import tzinfo
from typing import Any

from app.contract import Appointment, Facts, MalformedPayload, Phase, zone_of
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
"""What is kept of the appointment that was last told of."""

APPOINTMENTS_MAX = 100

AUSTRALIAN_ZONES = ("Australia/Sydney", "Australia/Perth")
"""The zones furthest east and west on the mainland: nothing is built elsewhere, but for a few islands."""


def order_named(body: Payload, key: str) -> str:
    """The id of the order at `key`. Raises `MalformedPayload`."""
    name = read_id(body, key)
    if name is None:
        raise MalformedPayload(f"the body names no order: {key} is missing")
    return name


def order_facts(body: Payload, said: Phase | None, config: Config, raw: bytes) -> Facts:
    """What an order object states; `said` is the phase by the event's name, where it says one."""
    status = status_of(body, config)
    return Facts(
        phase=_phase(body, said, status, config),
        provider_status=status,
        attributes=pick_attributes(body, ORDER_ATTRIBUTES, raw),
    )


def status_of(body: Payload, config: Config) -> str | None:
    """The order's status in the provider's word, if it states one."""
    return first_status(body, config.status_keys)


def is_cancellable(body: Payload) -> bool | None:
    """The provider's own word on whether the order, apart from its appointments, can be canceled."""
    value = body.get("isCancellable")
    return value if type(value) is bool else None


def listed_appointments(body: Payload, config: Config) -> tuple[tuple[Appointment, ...], bool]:
    """The appointments in an order object, and whether it speaks of them at all."""
    for key in config.appointment_keys:
        holder, _, last = key.rpartition(".")
        inside = find(body, holder) if holder else body
        if type(inside) is not dict or last not in inside:
            continue
        listed = inside[last]
        found: dict[str, Appointment] = {}
        for each in (listed if type(listed) is list else [listed])[:APPOINTMENTS_MAX]:
            if type(each) is dict:
                appointment = read_appointment(each, config, canceled=False)
                # Two without ids are two all the same.
                id = appointment.id if appointment.id not in found else f"{appointment.id}#{len(found)}"
                found[id] = Appointment(id, appointment.status, appointment.starts_at, appointment.ends_at)
        return tuple(found.values()), True
    return (), False


def read_appointment(body: Payload, config: Config, *, canceled: bool) -> Appointment:
    """One appointment; `canceled` if the event's name says that it is.

    A start that cannot be read is unknown, and does not keep the appointment itself from being known.
    """
    canceled = canceled or body.get("cancelledOn") is not None
    status = CANCELLED if canceled else read_status(body.get("status")) or ""
    zones = _zones(body.get("timezoneOffset"), config)
    starts_at = instant(body.get("startTime"), zones)
    ends_at = instant(body.get("endTime"), zones, latest=True)
    id = id_or_none(body.get("id")) or id_or_none(body.get("nbnAppointmentId")) or "appointment"
    return Appointment(id, status, starts_at, ends_at)


def _zones(given: Any, config: Config) -> tuple[tzinfo, ...]:
    """The zones that an appointment's times without an offset may be in; none where nobody can read its offset."""
    if given is None or given == "":
        return (config.zone,) if config.zone is not None else tuple(map(zone_of, AUSTRALIAN_ZONES))
    offset = offset_of(given)
    return () if offset is None else (offset,)


def _phase(body: Payload, said: Phase | None, status: str | None, config: Config) -> Phase:
    """A word for an order that has ended outranks `isCancellable`, and that outranks any other word."""
    by_account = _in(config.phases, status)
    words = [said, by_account or _in(ORDER_STATUSES, status)]
    # Such a time may be left from before; what the account says of the status is then the way to say so.
    if by_account is None and any(body.get(key) is not None for key in ENDED_KEYS):
        words.append(Phase.CANCELED)
    for ended in (Phase.CANCELED, Phase.COMPLETED):
        if ended in words:
            return ended
    open_to_cancel = is_cancellable(body)
    if open_to_cancel is not None:
        return Phase.OPEN if open_to_cancel else Phase.IN_PROGRESS
    return next((each for each in words if each is not None), Phase.UNKNOWN)


def _in(phases: Mapping[str, Phase], status: str | None) -> Phase | None:
    if status is None:
        return None
    return next((phase for known, phase in phases.items() if plain(known) == plain(status)), None)
