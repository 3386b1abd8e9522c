"""An order and its appointments inside the simulated Superloop, and the objects by which Superloop speaks of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from app.contract import zone_of
from app.kit.simulator import BaseOrder

ACTIVE = ("Reserved", "Booked", "In Progress")

Style = Literal["utc", "offset", "local"]
"""How times are written: `2026-03-04T01:00:00Z` (documented), `2026-03-04T12:00:00+11:00`, or without an offset."""


@dataclass(slots=True)
class TimeFormat:
    """How times are written, and in which zone."""

    timezone: str
    style: Style

    def local(self, time: datetime) -> datetime:
        """The time in the zone."""
        return time.astimezone(zone_of(self.timezone))

    def write(self, time: datetime | None) -> str | None:
        """A time as Superloop writes it."""
        if time is None:
            return None
        if self.style == "utc":
            return utc_text(time)
        local = self.local(time)
        return (local.replace(tzinfo=None) if self.style == "local" else local).isoformat(timespec="seconds")


def utc_text(time: datetime) -> str:
    """A time as documented, `2026-03-04T01:00:00Z`."""
    return time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@dataclass(slots=True)
class SimulatedAppointment:
    """One appointment."""

    id: int
    starts_at: datetime
    ends_at: datetime
    status: str = "Reserved"
    cancelled_on: datetime | None = None

    @property
    def is_active(self) -> bool:
        """It is neither over nor canceled."""
        return self.status in ACTIVE


@dataclass(slots=True, kw_only=True)
class SimulatedOrder(BaseOrder):
    """One order, as Superloop's own database would hold it."""

    id: int
    customer_ref: str
    is_ours: bool
    """Whether the account is authorized for it."""
    times: TimeFormat
    status: str
    is_cancellable: bool
    rejected_reason: str | None = None
    rejected_on: datetime | None = None
    appointments: list[SimulatedAppointment] = field(default_factory=list)

    @property
    def service_id(self) -> int:
        """The service that the order is for."""
        return self.id + 1000

    @property
    def has_ended(self) -> bool:
        """Nothing more becomes of it."""
        return self.status in ("Rejected", "Cancelled", "Completed")

    def active(self) -> list[SimulatedAppointment]:
        """The active appointments."""
        return [appointment for appointment in self.appointments if appointment.is_active]

    def can_cancel(self, now: datetime, cutoff: timedelta) -> bool:
        """The documented rule."""
        near = (visit.starts_at - cutoff <= now <= visit.ends_at + cutoff for visit in self.active())
        return self.is_cancellable and not self.has_ended and not any(near)

    def end(self, status: str, now: datetime) -> None:
        """Reject, cancel or complete it, and its active appointments with it."""
        self.status = status
        # The document shows a rejected order that is cancellable still.
        self.is_cancellable = status == "Rejected" and self.is_cancellable
        for appointment in self.active():
            appointment.status = "Completed" if status == "Completed" else "cancelled"
            appointment.cancelled_on = None if status == "Completed" else now

    def as_json(self) -> dict[str, Any]:
        """The order object of webhooks (“OrderRejected”)."""
        return {
            "id": self.id,
            "type": "New",
            "customerRef": self.customer_ref,
            "locId": f"LOC{self.id:012d}",
            "rejectedReason": self.rejected_reason,
            "rejectedOn": self.times.write(self.rejected_on),
            "serviceId": self.service_id,
            "isCancellable": self.is_cancellable,
        }

    def as_resource(self) -> dict[str, Any]:
        """The order resource, which no document that we could read shows."""
        return {**self.as_json(), "status": self.status, "appointments": list(map(self.show, self.appointments))}

    def show(self, appointment: SimulatedAppointment) -> dict[str, Any]:
        """The appointment object of webhooks (“AppointmentCancelled”), with times once it is confirmed."""
        is_confirmed, local = appointment.status != "Reserved", self.times.local(appointment.starts_at)
        return {
            "orderId": self.id,
            "id": appointment.id,
            "nbnAppointmentId": f"APT{appointment.id:012d}",
            "status": appointment.status,
            "startTime": self.times.write(appointment.starts_at) if is_confirmed else None,
            "endTime": self.times.write(appointment.ends_at) if is_confirmed else None,
            "slotType": f"{local:%p}",
            "timezoneOffset": local.isoformat()[-6:],
            "priorityAssist": False,
            "eSla": "Standard",
            "demandType": "Standard Install",
            "contact": {"name": "Robin Example", "type": "Primary Contact", "phone": "555-0100", "notes": None},
            "customerRef": self.customer_ref,
            "cancelledOn": self.times.write(appointment.cancelled_on),
            "serviceId": self.service_id,
        }

    def summary(self) -> dict[str, Any]:
        """What a test wants to know of the order."""
        return {
            "order_id": self.id,
            "status": self.status,
            "is_cancellable": self.is_cancellable,
            "appointments": [
                {"id": visit.id, "status": visit.status, "starts_at": utc_text(visit.starts_at)}
                for visit in self.appointments
            ],
            "timezone": self.times.timezone,
            **self.counts(),
        }
