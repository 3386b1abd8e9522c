"""An order inside the simulated Shoplazza, and the object by which Shoplazza speaks of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

CREATE_KEYS = ("number", "total_price", "currency", "tags", "payment_method", "note")
"""What `create_order` may set of an order."""

ENDED = ("finished", "cancelled", "canceled")
SHIPPED = frozenset({"shipped", "partially_finished", "finished", "returning", "partially_returned", "returned"})
"""Fulfillment statuses in which this fake refuses a cancel; Shoplazza documents no condition."""


@dataclass(slots=True)
class SimulatedOrder:
    """One order, as Shoplazza's own database would hold it."""

    id: str
    created_at: datetime
    updated_at: datetime
    status: str = "opened"
    financial_status: str = "waiting"
    fulfillment_status: str = "initialled"
    details: dict[str, Any] = field(default_factory=dict)
    cancel_reason: str | None = None
    placed_at: datetime | None = None
    canceled_at: datetime | None = None
    deleted_at: datetime | None = None
    cancel_calls: int = 0
    """Cancel calls that named this order, whatever came of them."""
    cancel_effects: int = 0
    """How often one of them canceled it."""

    @property
    def is_paid(self) -> bool:
        """Was it placed, that is paid?"""
        return self.placed_at is not None

    def pay(self, at: datetime) -> None:
        """The buyer paid: the order is placed, and waits to be shipped."""
        self.status, self.financial_status, self.fulfillment_status = "placed", "paid", "waiting"
        self.placed_at = self.updated_at = at

    def cancel(self, reason: str | None, at: datetime, spelling: str) -> None:
        """Call it off. What was paid is refunded afterwards."""
        self.cancel_reason, self.canceled_at, self.updated_at = reason, at, at
        self.status = spelling
        if not self.is_paid:
            self.financial_status = "cancelled"

    def refund(self, at: datetime) -> None:
        """Give back what was paid."""
        self.financial_status, self.updated_at = "refunded", at

    def finish(self, at: datetime) -> None:
        """An order that was paid ends as finished, canceled or not."""
        self.status, self.updated_at = "finished", at

    def shown(self) -> dict[str, Any]:
        """The order object, with a few of its many fields."""
        return {
            "id": self.id,
            "number": self.details["number"],
            "note": self.details["note"],
            "status": self.status,
            "financial_status": self.financial_status,
            "fulfillment_status": self.fulfillment_status,
            "cancel_reason": self.cancel_reason,
            "payment_method": self.details["payment_method"],
            "customer_note": "Please ring twice",
            "currency": self.details["currency"],
            "total_price": self.details["total_price"],
            "total_paid": self.details["total_price"] if self.is_paid else "0.00",
            "total_refund_price": self.details["total_price"] if self.financial_status == "refunded" else "0.00",
            "tags": self.details["tags"],
            "created_at": timestamp(self.created_at),
            "updated_at": timestamp(self.updated_at),
            "placed_at": _timestamp_or_none(self.placed_at),
            "canceled_at": _timestamp_or_none(self.canceled_at),
            "deleted_at": _timestamp_or_none(self.deleted_at),
            "customer": {"id": "c-1", "first_name": "Robin", "last_name": "Example", "email": "robin@example.com"},
            "shipping_address": {"address": "123 Fake St", "city": "Denver", "phone": "555-0100"},
            "line_items": [{"product_title": "A lamp", "quantity": 1, "price": self.details["total_price"]}],
            "fulfillments": [],
        }

    def summary(self) -> dict[str, Any]:
        """What a test wants to know of the order."""
        return {
            "order_id": self.id,
            "number": self.details["number"],
            "status": self.status,
            "financial_status": self.financial_status,
            "fulfillment_status": self.fulfillment_status,
            "cancel_reason": self.cancel_reason,
            "canceled_at": _timestamp_or_none(self.canceled_at),
            "deleted_at": _timestamp_or_none(self.deleted_at),
            "cancel_calls": self.cancel_calls,
            "cancel_effects": self.cancel_effects,
        }


def default_details(number: int) -> dict[str, Any]:
    """What `create_order` sets where it is not told."""
    return {
        "number": f"EX{1001 + number}",
        "note": "",
        "total_price": "113.66",
        "currency": "USD",
        "tags": "",
        "payment_method": "credit_card",
    }


def timestamp(when: datetime) -> str:
    """A time as Shoplazza writes it, but in microseconds, so that what follows in haste keeps its order."""
    return when.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _timestamp_or_none(when: datetime | None) -> str | None:
    return timestamp(when) if when else None
