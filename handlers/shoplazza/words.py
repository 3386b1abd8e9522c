"""Shoplazza's words, under the names of the documents that define them, and what they mean in ours."""

from __future__ import annotations

from typing import NamedTuple

from app.contract import Phase
from app.kit.phases import PHASE_RANK


class Topic(NamedTuple):
    """A topic of webhooks about orders."""

    type: str
    """Of the event it becomes."""
    phase: Phase | None = None
    """What the topic alone says; None: only the order in the body tells."""


TOPICS = {
    "orders/create": Topic("order.created", Phase.OPEN),
    "orders/update": Topic("order.updated"),
    # Cash on delivery is paid when all is over: payment alone says nothing of the phase.
    "orders/paid": Topic("order.paid"),
    "orders/partially_fulfilled": Topic("order.partially_fulfilled", Phase.IN_PROGRESS),
    "orders/fulfilled": Topic("order.fulfilled", Phase.IN_PROGRESS),
    "orders/finished": Topic("order.completed", Phase.COMPLETED),
    "orders/partially_refunded": Topic("order.partially_refunded"),
    "orders/refunded": Topic("order.refunded"),
    "orders/cancelled": Topic("order.canceled", Phase.CANCELED),
    # Not canceled, but gone: nothing can come of it any more.
    "orders/delete": Topic("order.deleted", Phase.COMPLETED),
}
"""“Supported Webhook Events”, as far as they are about orders."""

UNINSTALLED = "app/uninstalled"
OTHER_RESOURCES = frozenset({"app", "carts", "collections", "customers", "products", "shop", "themes"})
"""What stands before the slash in topics that say nothing of an order."""

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
"""`financial_status`. None of them says by itself where the order is."""

WORDS = {
    **{name: topic.phase for name, topic in TOPICS.items() if topic.phase is not None},
    **FULFILLMENT_STATUSES,
    # `finished` and `cancelled` are words of both: here they are the order's.
    **ORDER_STATUSES,
}

_STATUSES, _FULFILLMENTS = tuple(ORDER_STATUSES), tuple(FULFILLMENT_STATUSES)


def advance(phase: Phase, status: str | None, fulfillment: str | None) -> int:
    """How far an order has come, as a number below 1000: it orders what happened within one second."""
    by_fulfillment = _FULFILLMENTS.index(fulfillment) if fulfillment in FULFILLMENT_STATUSES else 0
    by_status = _STATUSES.index(status) if status in ORDER_STATUSES else 0
    return (PHASE_RANK[phase] - PHASE_RANK[Phase.OPEN]) * 100 + by_fulfillment * len(_STATUSES) + by_status
