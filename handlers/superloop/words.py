"""Superloop's words, under the names of the documents that define them, and what they mean in ours.

Whether an order can be canceled, Superloop says itself (`isCancellable`). Words decide only where an order has ended.
"""

from __future__ import annotations

import re

from app.contract import Phase

ORDER_EVENTS = {
    # “OrderRejected”: nothing will come of the order, although the document shows it with isCancellable true.
    "order.rejected.event": Phase.CANCELED,
    # By analogy; no document that we could read names them.
    "order.cancelled.event": Phase.CANCELED,
    "order.completed.event": Phase.COMPLETED,
}
"""Events after which an order has ended. Any other says what its body says."""

ORDER_STATUSES = {
    # No document lists an order's statuses: these are the likely words for one that has ended.
    "rejected": Phase.CANCELED,
    "cancelled": Phase.CANCELED,
    "canceled": Phase.CANCELED,
    "withdrawn": Phase.CANCELED,
    "complete": Phase.COMPLETED,
    "completed": Phase.COMPLETED,
}
"""Compared without regard to case, spaces, hyphens and underscores."""

ENDED_KEYS = ("rejectedOn", "cancelledOn")
"""Times that an order has only once it has ended (“OrderRejected”; the second by analogy with appointments)."""

ACTIVE_STATUSES = ("Reserved", "Booked", "In Progress")
"""“AppointmentCancelled”, which explains the statuses of an appointment."""
UNDER_WAY_STATUSES = ("In Progress",)
CANCELLED = "cancelled"
ENDED_STATUSES = (CANCELLED, "canceled", "complete", "completed", "incomplete")
"""Only the first is documented."""

EVENT_TYPES = {
    "order.cancelled": "order.canceled",
    "appointment.cancelled": "appointment.canceled",
    "appointment.booked": "appointment.scheduled",
}
"""Superloop's names → ours, where we have one. Any other keeps its own, without `.event`."""

WORDS = {**ORDER_EVENTS, **ORDER_STATUSES}

_NOT_A_LETTER = re.compile(r"[\W_]+")


def plain(word: str) -> str:
    """The word without case, spaces, hyphens and underscores: `In Progress` is `inprogress`."""
    return _NOT_A_LETTER.sub("", word).casefold()
