"""NotPanel's words, under the names of the documents that define them, and what they mean in ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

from app.contract import Phase

ORDER_STATUSES = {
    # “Order status” shows in_progress; “Cancel” speaks of pending orders, and has three terminal states.
    "pending": Phase.OPEN,
    "in_progress": Phase.IN_PROGRESS,
    "completed": Phase.COMPLETED,
    "canceled": Phase.CANCELED,
    "refunded": Phase.CANCELED,
    # “Request refill” takes a partial order for a delivered one: what was not delivered will not come any more.
    "partial": Phase.COMPLETED,
    # Not in NotPanel's documents, but usual with panels of this API.
    "processing": Phase.IN_PROGRESS,
    # No document says what becomes of a failed order, nor whether it can be canceled: ask again.
    "failed": Phase.UNKNOWN,
}
"""A status that is not listed is `Phase.UNKNOWN`. Compared by `letters`."""

WEBHOOK_EVENTS = {
    "order.completed": Phase.COMPLETED,
    "order.refunded": Phase.CANCELED,
    # Whether it was refunded by now, its status tells.
    "order.failed": Phase.UNKNOWN,
    # Also with two l; no list of all events is public.
    "order.canceled": Phase.CANCELED,
}
"""“Register webhook”, as far as the events are known to us. Compared by `event_type`."""

REGISTERED_EVENTS = ("order.completed", "order.failed", "order.refunded")
"""“Register webhook”: the documented events about orders, which are asked for."""

ACCOUNT_EVENTS = frozenset({"balance.low"})
"""Events that are about no order."""

WORDS = {**ORDER_STATUSES, **WEBHOOK_EVENTS}

_CANCEL = re.compile("cancel+")
FINAL = frozenset({Phase.COMPLETED, Phase.CANCELED})


def letters(status: str) -> str:
    """What of a status counts: its letters and digits, in lower case, and `cancel` with one l.

    Panels of this API write `In progress`, `in_progress` and `InProgress`, `Canceled` and `cancelled`.
    """
    return _CANCEL.sub("cancel", "".join(char for char in status.lower() if char.isalnum()))


def event_type(name: str) -> str:
    """The type of our event for one of NotPanel's: as it spells it, but `canceled` with one l."""
    return _CANCEL.sub("cancel", name)


_BY_LETTERS = {letters(status): phase for status, phase in ORDER_STATUSES.items()}


def status_phase(status: str, more: Mapping[str, Phase]) -> Phase:
    """What a status says of the order; `more` are the account's own words, and outrank ours."""
    key = letters(status)
    own = (phase for word, phase in more.items() if letters(word) == key)
    return next(own, None) or _BY_LETTERS.get(key, Phase.UNKNOWN)
