"""An order inside the simulated PlanOmatic, and the objects by which PlanOmatic speaks of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from app.kit.simulator import BaseOrder

CREATE_KEYS = (
    "external_property_id",
    "billing_entity_slug",
    "external_order_id",
    "metadata",
    "property",
    "services",
    "property_access",
    "notes",
)
"""What “Create Order” takes besides the key."""

V2_STATUSES = {
    "ordered": "ordered",
    "scheduling": "pending_appointment",
    "scheduled": "scheduled",
    "post_processing": "assembly",
    "delivered": "completed",
    "hold": "hold",
    "canceled": "cancelled",
}
"""In V2 not every status sends a webhook; these do ("Events")."""


@dataclass(slots=True, kw_only=True)
class SimulatedOrder(BaseOrder):
    """One order, as PlanOmatic's own database would hold it."""

    order_id: int | str
    request_id: int | str
    api_key: str
    status: str
    created_at: datetime
    details: dict[str, Any] = field(default_factory=dict)
    """The body of the create call."""
    appointments: list[dict[str, Any]] = field(default_factory=list)
    canceled_at: datetime | None = None

    @property
    def has_confirmed_appointment(self) -> bool:
        """An appointment stands."""
        return any(each["cancellation_reason"] is None for each in self.appointments)

    def schedule(self, starts_at: datetime, minutes: float) -> None:
        """Confirm an appointment in the place of any other."""
        appointment = {
            "start_datetime": timestamp(starts_at),
            "end_datetime": timestamp(starts_at + timedelta(minutes=minutes)),
            "duration": minutes / 60,
            "cancellation_reason": None,
            "cancellation_reason_detail": None,
        }
        self.call_off("rescheduled")
        self.appointments.append(appointment)

    def call_off(self, reason: str) -> None:
        """No appointment stands any more."""
        for each in self.appointments:
            each["cancellation_reason"] = each["cancellation_reason"] or reason

    def as_v3(self) -> dict[str, Any]:
        """The V3 order object."""
        return {
            "order_id": self.order_id,
            "request_id": self.request_id,
            "status": self.status,
            **self.details,
            "appointments": self.appointments,
        }

    def as_v2(self) -> dict[str, Any] | None:
        """The V2 webhook's body; None in a status of which V2 does not tell."""
        status = V2_STATUSES.get(self.status)
        if status is None:
            return None
        services = self.details["services"]
        return {
            "request_id": self.request_id,
            "request_datetime": timestamp(self.created_at),
            "order_id": self.order_id,
            "order_datetime": timestamp(self.created_at),
            "order_status": status,
            "submitted_cancel_onsite": False,
            "job_due_date": None,
            "external_id": self.details["external_order_id"],
            "order_notes": self.details["notes"],
            "client": {
                "first_name": "Robin",
                "last_name": "Example",
                "email": "robin@example.com",
                "phone": "555-0100",
            },
            "property_info": {"price": "220000", "sqft": "1750", "address": self.details["property"]["location"]},
            "appointments": self.appointments,
            "links": {},
            "primary_service": services[0] if services else None,
            "add_on_services": services[1:],
        }

    def summary(self) -> dict[str, Any]:
        """What a test wants to know of the order."""
        return {
            "order_id": self.order_id,
            "request_id": self.request_id,
            "status": self.status,
            "appointments": [dict(each) for each in self.appointments],
            "canceled_at": timestamp(self.canceled_at) if self.canceled_at else None,
            **self.counts(),
        }


def default_details(number: int) -> dict[str, Any]:
    """The body of a create call, as in the document's example."""
    return {
        "external_property_id": f"property-{number}",
        "billing_entity_slug": "investment_entity_1",
        "external_order_id": f"external-{number}",
        "metadata": {"metadata_key1": "abc123"},
        "property": {
            "location": {
                "street": "123 Fake St",
                "street2": "Unit A",
                "city": "Denver",
                "state": "CO",
                "postal_code": "80204",
                "latitude": "39.7392",
                "longitude": "-104.9903",
            }
        },
        "services": [{"slug": "photoplan", "quantity": 1}],
        "property_access": {"vacant": True, "method_of_access": "lockbox", "access_code": "0000"},
        "notes": "",
    }


def timestamp(when: datetime) -> str:
    """A time as PlanOmatic writes it, but in microseconds, so that what follows in haste keeps its order."""
    return when.isoformat(timespec="microseconds")
