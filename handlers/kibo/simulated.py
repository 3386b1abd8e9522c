"""An order inside the simulated Kibo, and the objects by which Kibo speaks of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Any


@dataclass(slots=True)
class SimulatedOrder:
    """One order, as Kibo's own database would hold it."""

    order_id: int
    entity_id: str
    status: str
    created_at: datetime
    details: dict[str, Any] = field(default_factory=dict)
    """What the creator said of it."""
    is_test: bool = False
    fulfillment: str = "NotFulfilled"
    is_restricted: bool = False
    is_cancel_due: bool = False
    """A cancel was taken, and has yet to take effect."""
    canceled_at: datetime | None = None
    cancel_reason: str = ""
    cancel_calls: int = 0
    """Cancel calls that named this order, whatever came of them."""
    cancel_effects: int = 0
    """How often one of them canceled it."""

    @property
    def is_canceled(self) -> bool:
        """Nothing more becomes of it."""
        return self.canceled_at is not None

    def cancel(self, reason: str, at: datetime) -> None:
        """It is canceled."""
        self.status, self.canceled_at, self.cancel_reason, self.is_cancel_due = "Cancelled", at, reason, False

    def as_resource(self) -> dict[str, Any]:
        """The answer of “Get Order”."""
        return {
            "orderID": self.order_id,
            "entityId": self.entity_id,
            **self.details,
            "isTestOrder": self.is_test,
            "orderState": "CANCELED" if self.is_canceled else "READY",
            "orderStatus": self.status,
            "fulfillmentStatus": self.fulfillment,
            "restrictCancellation": self.is_restricted,
            "submittedDate": timestamp(self.created_at),
            "customer": {"name": "Robin Example", "email": "robin@example.com", "phone": "555-0100"},
        }

    def summary(self) -> dict[str, Any]:
        """What a test wants to know of the order."""
        return {
            "order_id": self.order_id,
            "entity_id": self.entity_id,
            "status": self.status,
            "fulfillment_status": self.fulfillment,
            "restricted": self.is_restricted,
            "canceled_at": timestamp(self.canceled_at) if self.canceled_at else None,
            "cancel_reason": self.cancel_reason,
            "cancel_calls": self.cancel_calls,
            "cancel_effects": self.cancel_effects,
        }


def default_details(number: int) -> dict[str, Any]:
    """What is said of an order that its creator said nothing of."""
    return {
        "externalOrderID": f"external-{number}",
        "orderType": "DIRECT",
        "currency": "USD",
        "total": 49.9,
    }


def hexadecimal(kind: str, number: int, digits: int) -> str:
    """An id that looks like Kibo's, the same in every run."""
    return blake2b(f"{kind} {number}".encode(), digest_size=digits // 2).hexdigest()


def timestamp(when: datetime) -> str:
    """A time as Kibo writes it: in UTC, with seven digits after the point."""
    return when.strftime("%Y-%m-%dT%H:%M:%S.%f") + "0Z"
