"""An order and its appointments inside the simulated Superloop, and the objects by which Superloop speaks of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from app.contract import zone_of

ACTIVE = ("Reserved", "Booked", "In Progress")

Style = Literal["utc", "offset", "local"]
"""How times are written: `2026-03-04T01:00:00Z` (documented), `2026-03-04T12:00:00+11:00`, or without an offset."""


@dataclass(frozen=True, slots=True)
class Clockwork:
    """How times are written, and in which zone."""

    timezone: str = "Australia/Sydney"
    style: Style = "utc"

    def write(self, when: datetime | None) -> str | None:
        """A time as Superloop writes it."""
        if when is None:
            return None
        if self.style == "utc":
            return when.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        local = when.astimezone(zone_of(self.timezone))
        return (local.replace(tzinfo=None) if self.style == "local" else local).isoformat(timespec="seconds")

    def offset(self, when: datetime) -> str:
        """The zone's offset at `when`, as `+10:00`."""
        return when.astimezone(zone_of(self.timezone)).isoformat()[-6:]


@dataclass(slots=True)
class SimulatedAppointment:
    """One appointment. Superloop shows its times only once it is confirmed."""

    id: int
    status: str
    starts_at: datetime
    ends_at: datetime
    cancelled_on: datetime | None = None

    @property
    def active(self) -> bool:
        """Does it stand?"""
        return self.status in ACTIVE

    def as_json(self, order: SimulatedOrder, clockwork: Clockwork) -> dict[str, Any]:
        """The appointment object of webhooks (“AppointmentCancelled”)."""
        shown = self.status != "Reserved"
        local = self.starts_at.astimezone(zone_of(clockwork.timezone))
        return {
            "orderId": order.id,
            "id": self.id,
            "nbnAppointmentId": f"APT{self.id:012d}",
            "status": self.status,
            "startTime": clockwork.write(self.starts_at) if shown else None,
            "endTime": clockwork.write(self.ends_at) if shown else None,
            "slotType": "AM" if local.hour < 12 else "PM",  # noqa: PLR2004 - noon
            "timezoneOffset": clockwork.offset(self.starts_at),
            "priorityAssist": False,
            "eSla": "Standard",
            "demandType": "Standard Install",
            "contact": {"name": "Robin Example", "type": "Primary Contact", "phone": "555-0100", "notes": None},
            "customerRef": order.customer_ref,
            "cancelledOn": clockwork.write(self.cancelled_on),
            "serviceId": order.service_id,
        }


@dataclass(slots=True)
class SimulatedOrder:
    """One order, as Superloop's own database would hold it."""

    id: int
    customer_ref: str
    ours: bool
    """Whether the account is authorized for it."""
    status: str = "In Progress"
    is_cancellable: bool = True
    rejected_reason: str | None = None
    rejected_on: datetime | None = None
    appointments: list[SimulatedAppointment] = field(default_factory=list)
    cancel_calls: int = 0
    """Cancel calls that named this order, whatever came of them."""
    cancel_effects: int = 0
    """How often one of them canceled it."""

    @property
    def service_id(self) -> int:
        """The service that the order is for."""
        return self.id + 1000

    @property
    def over(self) -> bool:
        """Nothing more becomes of it."""
        return self.status in ("Rejected", "Cancelled", "Completed")

    def cancelable(self, now: datetime, cutoff: timedelta) -> bool:
        """The documented rule."""
        near = any(
            each.active and each.starts_at - cutoff <= now <= each.ends_at + cutoff for each in self.appointments
        )
        return self.is_cancellable and not self.over and not near

    def as_json(self, clockwork: Clockwork) -> dict[str, Any]:
        """The order object of webhooks (“OrderRejected”)."""
        return {
            "id": self.id,
            "type": "New",
            "customerRef": self.customer_ref,
            "locId": f"LOC{self.id:012d}",
            "rejectedReason": self.rejected_reason,
            "rejectedOn": clockwork.write(self.rejected_on),
            "serviceId": self.service_id,
            "isCancellable": self.is_cancellable,
        }

    def as_resource(self, clockwork: Clockwork) -> dict[str, Any]:
        """The order resource, which no document that we could read shows."""
        appointments = [each.as_json(self, clockwork) for each in self.appointments]
        return {**self.as_json(clockwork), "status": self.status, "appointments": appointments}

    def summary(self, clockwork: Clockwork) -> dict[str, Any]:
        """What a test wants to know of the order."""
        return {
            "order_id": self.id,
            "status": self.status,
            "is_cancellable": self.is_cancellable,
            "appointments": [
                {"id": each.id, "status": each.status, "starts_at": Clockwork("UTC").write(each.starts_at)}
                for each in self.appointments
            ],
            "timezone": clockwork.timezone,
            "cancel_calls": self.cancel_calls,
            "cancel_effects": self.cancel_effects,
        }
