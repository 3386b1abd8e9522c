"""When Python's garbage collector runs, and how long everything stands still for it.

Almost everything is freed by reference counting; the collector is for cycles, and looks at what lives to find what does
not. Left to itself it looks at all orders and all configuration once they have grown by a quarter: half a second and
more, at any moment. So it looks at young objects only, a few at a time, and what outlives that is *frozen*: it is still
freed by reference counting, and not looked at any more. Cycles among frozen objects wait for a thorough collection.
That is done while the process rests, or where the frozen objects have doubled, so that memory stays bounded.

Python 3.14.0 to 3.14.4 look at old objects in small steps by themselves: there nothing is frozen after the start.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections import deque
from collections.abc import Mapping

from app.runtime import metrics

YOUNG = 5000
"""Objects more than after the last collection, at which the youngest are looked at: 1 ms, 10 ms if all are garbage.
With 2000, requests under way are looked at more often: pauses are shorter, and take a third more in all."""
MIDDLE = 3
"""After more than so many of those collections, their survivors are looked at once more, and then frozen."""
NEVER = 1_000_000
"""Threshold of the oldest generation, which is frozen instead."""
PERIOD_S = 1.0
REST_SHARE = 0.05
"""A process that takes less of a processor than this rests."""
REST_S = 10
"""It is collected thoroughly when it has rested for so long,"""
RESTING_MIN = 200_000
"""and so many objects were frozen since the last time."""
UNFROZEN_MIN = 1_000_000
"""Objects that may be frozen before a thorough collection, at rest or not, where fewer than that lived at the last."""
NOTED_MAX = 10_000


class Collector:
    """Runs the garbage collector of this process."""

    def __init__(self) -> None:
        self._pauses: deque[tuple[int, float]] = deque(maxlen=NOTED_MAX)
        """(generation, seconds): noted here, as the collector may run while a metric's lock is held."""
        self._began = 0.0
        self._lived = 0
        """Objects after the last thorough collection."""
        self._frozen = 0
        """Objects frozen since then, at most."""
        self._rested = 0
        """Looks in a row that found the process at rest."""

    def start(self) -> None:
        """Take over from the automatic collection. Modules are loaded, and stay."""
        gc.callbacks.append(self._note)
        gc.freeze()
        gc.set_threshold(YOUNG, MIDDLE, NEVER)

    def stop(self) -> None:
        """Note no more pauses."""
        gc.callbacks.remove(self._note)

    def collect_thoroughly(self) -> None:
        """Free all cycles, and freeze what lives."""
        gc.unfreeze()
        self.settle()

    def settle(self) -> None:
        """Free the cycles among what is not frozen yet, and freeze what lives."""
        gc.collect()
        gc.freeze()
        self._lived, self._frozen = gc.get_freeze_count(), 0

    async def run(self) -> None:
        """Freeze and collect until canceled."""
        while True:
            used_s = time.process_time()
            await asyncio.sleep(PERIOD_S)
            rests = time.process_time() - used_s < PERIOD_S * REST_SHARE
            self._rested = self._rested + 1 if rests else 0
            self.work(is_at_rest=self._rested * PERIOD_S >= REST_S)

    def work(self, *, is_at_rest: bool) -> None:
        """Freeze what has outlived the middle generation; collect thoroughly when it is time; publish the pauses."""
        _, _, middle_collections = gc.get_count()
        if middle_collections:
            # Most that outlived two collections, as what a request is made of, is gone by now.
            self._frozen += len(gc.get_objects(generation=2))
            gc.freeze()
        if self._frozen >= max(UNFROZEN_MIN, self._lived) or (is_at_rest and self._frozen >= RESTING_MIN):
            self.collect_thoroughly()
        while self._pauses:
            generation, seconds = self._pauses.popleft()
            metrics.GC_PAUSE.labels(str(generation)).observe(seconds)

    def _note(self, phase: str, info: Mapping[str, int]) -> None:
        if phase == "start":
            self._began = time.perf_counter()
        else:
            self._pauses.append((info["generation"], time.perf_counter() - self._began))
