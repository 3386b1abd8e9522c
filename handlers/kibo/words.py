"""Kibo's words, under the names of the documents that define them, and the phases they stand for.

Webhooks are thin: a topic says that something happened to an order, and does not state its status. A topic that ends
the order sets its phase. Any other topic that may have changed it sets the phase to unknown, and the order is probed.
"""

from __future__ import annotations

from app.contract import Phase

TITLE = "Kibo"

EVENT_TOPICS = {
    "order.opened": Phase.UNKNOWN,
    "order.updated": Phase.UNKNOWN,
    "order.saved": Phase.UNKNOWN,
    "order.imported": Phase.UNKNOWN,
    "order.pendingreview": Phase.UNKNOWN,
    "order.errored": Phase.UNKNOWN,
    "order.abandoned": Phase.UNKNOWN,
    "order.cancelled": Phase.CANCELED,
    "order.closed": Phase.COMPLETED,
    "order.fulfilled": Phase.COMPLETED,
    # A part of the order changed. Only the order itself states what that means for the whole.
    "shipment.itemscanceled": Phase.UNKNOWN,
    "shipment.itemsdeclined": Phase.UNKNOWN,
    "shipment.itemsrejected": Phase.UNKNOWN,
    "shipment.statuschanged": Phase.UNKNOWN,
    "shipment.workflowstatechanged": Phase.UNKNOWN,
}
"""“Event Notifications Overview”: topics that may change an order's phase."""

SILENT_TOPICS = frozenset(
    {
        "order.addresschanged",
        "order.subscriptioncreated",
        "payment.refunded",
        "shipment.adjusted",
        "shipment.itemadjusted",
    }
)
"""“Event Notifications Overview”: topics about an order that do not change its phase."""

RETURNS = "return"
"""The family of topics about returns. They do not change the phase, as only fulfilled items are returned."""

FAMILIES = frozenset({"order", "shipment", "payment", RETURNS})
"""The families of topics that are about orders; the part before the full stop."""

EVENT_TYPES = {
    "order.opened": "order.created",
    "order.cancelled": "order.canceled",
}
"""Topic → the type of our event, where it is not the topic itself."""

ORDER_STATUSES = {
    # “Order Statuses”.
    "Pending": Phase.OPEN,
    "Submitted": Phase.OPEN,
    "Validated": Phase.OPEN,
    "Pending Review": Phase.OPEN,
    "Accepted": Phase.OPEN,
    "Processing": Phase.IN_PROGRESS,
    "Completed": Phase.COMPLETED,
    "Cancelled": Phase.CANCELED,
    # What these say of canceling is not documented, so it is not known.
    "Errored": Phase.UNKNOWN,
    "Abandoned": Phase.UNKNOWN,
    # States seen in responses of the translated API (“Get Order”).
    "READY": Phase.OPEN,
    "CANCELED": Phase.CANCELED,
}
"""A status that is not listed is `Phase.UNKNOWN`."""

FULFILLMENT_STATUSES = {
    "NotFulfilled": Phase.OPEN,
    "PartiallyFulfilled": Phase.IN_PROGRESS,
    "Fulfilled": Phase.COMPLETED,
}
"""`fulfillmentStatus` of an order (“Order Statuses”). One that is not listed is `Phase.UNKNOWN`."""

PARTIALLY_FULFILLED = "partiallyfulfilled"
"""The fulfillment status `PartiallyFulfilled`, as `plain` returns it."""

WORDS = {**EVENT_TOPICS, **ORDER_STATUSES, **FULFILLMENT_STATUSES}

_MARKS = str.maketrans("", "", " _-")


def plain(word: str) -> str:
    """The status in lower case without separators: `Pending Review`, `PENDING_REVIEW` and `PendingReview` are equal."""
    return word.translate(_MARKS).lower()


_BY_STATUS = {plain(word): phase for word, phase in ORDER_STATUSES.items()}
_BY_FULFILLMENT = {plain(word): phase for word, phase in FULFILLMENT_STATUSES.items()}


def status_phase(status: str) -> Phase:
    """The phase of an order with this status or state."""
    return _BY_STATUS.get(plain(status), Phase.UNKNOWN)


def fulfillment_phase(status: str) -> Phase:
    """The phase of an order with this fulfillment status."""
    return _BY_FULFILLMENT.get(plain(status), Phase.UNKNOWN)
