"""Between which ids rows of a time are: receipts, attempts and messages have ids that begin with the time."""

from __future__ import annotations

from datetime import datetime, timedelta

from app.runtime import ids
from app.store import codec

END = (1 << 63) - 1
"""Above every key."""
_RECEIVED_AHEAD_MAX = ids.FOLLOWED_MAX + timedelta(minutes=1)
"""An id is drawn at most so long after or before the time of receipt, also where the clock was set back."""


def first_id(moment: datetime | None) -> int:
    """The smallest id that was drawn at this time or later; None: of all."""
    return 0 if moment is None else _at(moment, timedelta())


def end_of_ids(until: datetime | None) -> int:
    """An id above those that were drawn before this time; None: above all."""
    return END if until is None else first_id(until)


def receipt_bounds(since: datetime | None, until: datetime | None) -> tuple[int, int]:
    """Between which ids the receipts are that were received between these times, and maybe others."""
    first = 0 if since is None else _at(since, -_RECEIVED_AHEAD_MAX)
    return first, END if until is None else _at(until, _RECEIVED_AHEAD_MAX)


def _at(moment: datetime, ahead: timedelta) -> int:
    # Not as a sum of times: there is none before the year 1.
    return ids.at((codec.micros(moment) + ahead // timedelta(microseconds=1)) // 1000)
