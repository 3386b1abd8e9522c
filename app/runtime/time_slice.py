"""Pauses in longer work on the event loop, so that nobody else waits for the whole of it."""

from __future__ import annotations

import asyncio
from time import monotonic

PIECE_S = 0.01
"""So long at most is worked in one piece, and the piece that is under way then."""


class TimeSlice:
    """Lets others have the event loop as soon as a piece of work took long enough."""

    def __init__(self) -> None:
        self._since = monotonic()

    async def pause(self) -> None:
        """To be awaited between two pieces; costs next to nothing as long as there is no need."""
        if monotonic() - self._since >= PIECE_S:
            await asyncio.sleep(0)
            self._since = monotonic()
