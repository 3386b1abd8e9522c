"""Appointments in a provider's order object."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from app.contract import Appointment
from app.kit.ids import id_or_none

APPOINTMENTS_MAX = 100


def read_appointments(listed: list[Any], read_one: Callable[[dict[str, Any]], Appointment]) -> tuple[Appointment, ...]:
    """The appointments in a list, at most `APPOINTMENTS_MAX`, as `distinct` has them; what is no object is none."""
    bodies = [body for body in listed[:APPOINTMENTS_MAX] if type(body) is dict]
    return distinct(map(read_one, bodies)) if bodies else ()


def distinct(appointments: Iterable[Appointment]) -> tuple[Appointment, ...]:
    """The appointments, each with an id of its own: if two have the same id, the later one's gets a number."""
    by_id: dict[str, Appointment] = {}
    for one in appointments:
        id = one.id if one.id not in by_id else f"{one.id}#{len(by_id)}"
        by_id[id] = Appointment(id, one.status, one.starts_at, one.ends_at)
    return tuple(by_id.values())


def appointment_id(value: Any, starts_at: datetime | None) -> str:
    """The appointment's own id, or else its start."""
    return id_or_none(value) or (starts_at.isoformat() if starts_at else "appointment")
