"""The pace of work that can wait: how large its next piece may be, and how long it rests before it.

Such work shares the database's one writer, the event loop and the disk with webhooks and cancels. A piece is so short
that others hardly notice, and rests are so long that few come meanwhile.
"""

from __future__ import annotations

import asyncio
from math import ceil

from app.engine.ledger import Ledger

PIECE_S, PIECE_ALONE_S = 0.01, 0.25
"""Target duration of a piece. Less would be mostly the disk's, which takes a millisecond or more for each commit."""
SIZE_MIN, SIZE_MAX = 32, 1000
"""Rows in one piece."""
GROWTH = 1.25
"""How much larger the next piece is than one that took no longer."""
REST_S, REST, BUSY_REST = 0.02, 2.0, 8.0
"""A rest takes so long at least, and so many times as long as the piece; more while others use the ledger."""
LOOK_S, LOOKS_MAX = 0.01, 100
"""While requests wait for the ledger, the next piece does too, but not for longer."""


class Pace:
    """The pace of one worker."""

    def __init__(self, ledger: Ledger, *, alone: bool = False) -> None:
        """`alone`: nobody else uses the ledger, so no time is left for others."""
        self._ledger, self._alone = ledger, alone
        self._is_busy = False
        self.size = SIZE_MIN
        """Rows that the next piece may have."""

    def begin(self) -> None:
        """Other work begins: how long its rows take is not known."""
        self.size = SIZE_MIN

    def adapt(self, took_s: float) -> None:
        """Set the size of the next piece by how long the last one took."""
        is_long = took_s > (PIECE_ALONE_S if self._alone else PIECE_S)
        self.size = max(SIZE_MIN, self.size // 2) if is_long else min(SIZE_MAX, ceil(self.size * GROWTH))

    async def rest(self, took_s: float) -> None:
        """Leave the time to others, after a piece that took so long."""
        if self._alone:
            await asyncio.sleep(0)
            return
        before = self._ledger.recorded
        await asyncio.sleep(max(REST_S, (BUSY_REST if self._is_busy else REST) * took_s))
        for _ in range(LOOKS_MAX):
            if not self._ledger.unfinished:
                break
            await asyncio.sleep(LOOK_S)
        self._is_busy = self._ledger.recorded > before
