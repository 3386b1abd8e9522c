"""Shoplazza's words, under the names of the documents that define them, and the phases they stand for."""

from __future__ import annotations

from typing import NamedTuple

from app.contract import Phase
from app.kit.phases import PHASE_RANK


class Topic(NamedTuple):
    """A topic of webhooks about orders."""

    type: str
    """The type of the event that it becomes."""
    phase: Phase | None = None
    """The phase by the topic alone; None: only the order in the body states it."""


TOPICS = {
    "orders/create": Topic("order.created", Phase.OPEN),
    "orders/update": Topic("order.updated"),
    # Cash on delivery is paid last, so that payment alone does not tell the phase.
    "orders/paid": Topic("order.paid"),
    "orders/partially_fulfilled": Topic("order.partially_fulfilled", Phase.IN_PROGRESS),
    "orders/fulfilled": Topic("order.fulfilled", Phase.IN_PROGRESS),
    "orders/finished": Topic("order.completed", Phase.COMPLETED),
    "orders/partially_refunded": Topic("order.partially_refunded"),
    "orders/refunded": Topic("order.refunded"),
    "orders/cancelled": Topic("order.canceled", Phase.CANCELED),
    # Not canceled, but nothing more happens to it.
    "orders/delete": Topic("order.deleted", Phase.COMPLETED),
}
"""“Supported Webhook Events”, as far as they are about orders."""

UNINSTALLED = "app/uninstalled"
OTHER_RESOURCES = frozenset({"app", "carts", "collections", "customers", "products", "shop", "themes"})
"""The part before the slash of topics that are not about orders."""

ORDER_STATUSES = {
    "opened": Phase.OPEN,
    "placed": Phase.OPEN,
    "finished": Phase.COMPLETED,
    # “Cancel Order” spells it with two l, “Order List” with one.
    "cancelled": Phase.CANCELED,
    "canceled": Phase.CANCELED,
}
"""`status`. One that is not listed is `Phase.UNKNOWN`."""

FULFILLMENT_STATUSES = {
    "initialled": Phase.OPEN,
    "waiting": Phase.OPEN,
    # The shipment was called off, not the order.
    "cancelled": Phase.OPEN,
    "partially_shipped": Phase.IN_PROGRESS,
    "shipped": Phase.IN_PROGRESS,
    "partially_finished": Phase.IN_PROGRESS,
    "finished": Phase.IN_PROGRESS,
    "returning": Phase.IN_PROGRESS,
    "partially_returned": Phase.IN_PROGRESS,
    "returned": Phase.IN_PROGRESS,
}
"""`fulfillment_status`, in the order in which they follow one another. One that is not listed is `Phase.UNKNOWN`."""

FINANCIAL_STATUSES = (
    "waiting",
    "paying",
    "authorized",
    "partially_paid",
    "paid",
    "cancelled",
    "failed",
    "refunding",
    "refund_failed",
    "refunded",
    "partially_refunded",
)
"""`financial_status`. None of them tells the phase by itself."""

WORDS = {
    **{name: topic.phase for name, topic in TOPICS.items() if topic.phase is not None},
    **FULFILLMENT_STATUSES,
    # `finished` and `cancelled` are statuses of both: here they are the order's.
    **ORDER_STATUSES,
}

_STATUSES, _FULFILLMENTS = tuple(ORDER_STATUSES), tuple(FULFILLMENT_STATUSES)


def advance(phase: Phase, status: str | None, fulfillment: str | None) -> int:
    """The progress of an order as a number below 1000, by which events of the same second are ordered."""
    by_fulfillment = _FULFILLMENTS.index(fulfillment) if fulfillment in FULFILLMENT_STATUSES else 0
    by_status = _STATUSES.index(status) if status in ORDER_STATUSES else 0
    return (PHASE_RANK[phase] - PHASE_RANK[Phase.OPEN]) * 100 + by_fulfillment * len(_STATUSES) + by_status
