"""Appointments in an order object."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from app.contract import Appointment
from app.kit.appointments import APPOINTMENTS_MAX, appointment_id, read_appointments

AT = datetime(2026, 3, 2, 16, tzinfo=UTC)


def read_one(body: dict[str, Any]) -> Appointment:
    return Appointment(appointment_id(body.get("id"), body.get("at")), "scheduled", body.get("at"))


def test_two_with_one_id_are_two() -> None:
    listed = [{"id": 7, "at": AT}, {"id": "7"}, None, "x", {"at": AT}, {}, {}]
    appointments = read_appointments(listed, read_one)
    assert [one.id for one in appointments] == ["7", "7#1", AT.isoformat(), "appointment", "appointment#4"]
    assert appointments[0] == Appointment("7", "scheduled", AT)


def test_there_is_an_end_to_them() -> None:
    assert len(read_appointments([{"id": id} for id in range(2 * APPOINTMENTS_MAX)], read_one)) == APPOINTMENTS_MAX
