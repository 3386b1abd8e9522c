"""Ids that sort by time: 63-bit integers, unique over processes without asking the database.

42 bits of milliseconds since 2020, 9 bits drawn at start for the process, 12 bits of a counter.
Rows made together are stored together, the newest at the end.
"""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime, timedelta

_EPOCH_MS = 1_577_836_800_000
_NODE_BITS, _COUNT_BITS = 9, 12
_COUNTS = 1 << _COUNT_BITS
_MAX = (1 << 63) - 1
_DIGITS = 16
_HEX = frozenset("0123456789abcdef")
FOLLOWED_MAX = timedelta(hours=1)

RECEIPT = "rcp_"
ATTEMPT = "att_"
CANCELLATION = "can_"
KEY = "key_"
BACKTEST = "bkt_"
BATCH = "bat_"
MESSAGE = "msg_"
SUBSCRIPTION = "sub_"


class Ids:
    """Draws ids. Not thread-safe; one per process."""

    def __init__(self) -> None:
        self._node = secrets.randbelow(1 << _NODE_BITS) << _COUNT_BITS
        self._last = 0

    def take(self, number: int) -> None:
        """Draw ids of this number (0 to 511), which no other process has now."""
        self._node = number << _COUNT_BITS

    @property
    def last(self) -> int:
        """The last id that was drawn, or about the current time if none was."""
        last = max(self._last, (time.time_ns() // 1_000_000 - _EPOCH_MS) * _COUNTS)
        return ((last - last % _COUNTS) << _NODE_BITS) | self._node | last % _COUNTS

    def follow(self, id: int) -> None:
        """Draw only ids that are greater than `id`, which a former process drew, even if the clock was set back since.

        If it was set back by more than `FOLLOWED_MAX`, that clock was wrong, and its times are not gone on with.
        """
        if drawn_at(id) - datetime.now(UTC) < FOLLOWED_MAX:
            self._last = max(self._last, ((id >> _NODE_BITS + _COUNT_BITS) + 1) * _COUNTS - 1)

    def next(self) -> int:
        """The next id, greater than all before, even if the clock is set back."""
        now = (time.time_ns() // 1_000_000 - _EPOCH_MS) * _COUNTS
        self._last = max(now, self._last + 1)
        count = self._last % _COUNTS
        return ((self._last - count) << _NODE_BITS) | self._node | count


def at(unix_ms: int) -> int:
    """The smallest id that is drawn at this time or later; the largest id for a time after all ids."""
    return min(_MAX, max(0, unix_ms - _EPOCH_MS) * _COUNTS << _NODE_BITS)


def drawn_at(id: int) -> datetime:
    """When an id was drawn, to the millisecond."""
    return datetime.fromtimestamp((_EPOCH_MS + (id >> _NODE_BITS + _COUNT_BITS)) / 1000, UTC)


def show(prefix: str, id: int) -> str:
    """The public form of an id: prefix and 16 hex digits."""
    return f"{prefix}{id:016x}"


def read(prefix: str, text: str) -> int:
    """The number in a public id. Raises ValueError if `text` is not an id with that prefix."""
    digits = text.removeprefix(prefix)
    if digits is text or len(digits) != _DIGITS or not _HEX.issuperset(digits):
        raise ValueError(f"{text!r} is not an id of this kind ({prefix} and {_DIGITS} hex digits)")
    number = int(digits, 16)
    if number >= 1 << 63:
        raise ValueError(f"{text!r} is out of range")
    return number
