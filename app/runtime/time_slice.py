"""Time slices for long work on the event loop, so that other tasks do not wait for all of it."""

from __future__ import annotations

import asyncio
from time import monotonic

SLICE_S = 0.004
"""Length of a slice; work yields at its first pause after that. Several pieces of work may take a slice each before
the loop comes to a webhook: the lag is a few slices, and yielding costs about 1 % of one."""


class TimeSlice:
    """Yields to the event loop when a slice is used up."""

    def __init__(self) -> None:
        self._since = monotonic()

    @property
    def is_over(self) -> bool:
        """Whether the slice is used up. Where a piece takes microseconds, ask this before `pause`: it is cheaper."""
        return monotonic() - self._since >= SLICE_S

    async def pause(self) -> None:
        """Yield if the slice is used up; await it between pieces of work. Costs almost nothing otherwise."""
        if self.is_over:
            await asyncio.sleep(0)
            self._since = monotonic()
