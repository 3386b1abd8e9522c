"""The indexer: lets the search index follow the log, in short pieces, and behind whoever waits for the ledger.

Nothing depends on how far it is: what is not indexed yet is searched in the log. So it makes way: after each piece it
rests as long as the piece took, and while requests wait for the ledger several times as long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from app.runtime import metrics
from app.store import Store, StoreError
from app.store.index_protocol import IndexProgress

PIECE_S = 0.025
"""Target duration of a piece; the next one has more or fewer events by how long the last one took."""
ROWS_MIN, ROWS_MAX = 20, 2000
IDLE_S = 0.5
"""How often the log is looked at when the index is up to date."""
BUSY_REST = 8
"""While requests wait for the ledger, a rest is so many times as long as the piece before it."""
RETRY_S = 10.0
FAULTS_MAX = 3
"""An index that fails so often in a row is deleted and made anew."""

log = structlog.get_logger()


class Indexer:
    """Fills the search index for as long as `run` runs."""

    def __init__(self, store: Store, *, is_busy: Callable[[], bool]) -> None:
        self._store, self._is_busy = store, is_busy
        self._rows = ROWS_MIN
        self._faults = 0
        """In a row: a piece of work that succeeds ends it."""

    async def run(self) -> None:
        """Follow the log until canceled. A fault of the index's file stops nothing else."""
        while True:
            try:
                await self._store.open_search_index()
                await self._follow()
            except StoreError as error:
                self._faults += 1
                log.warning("search_index_failed", error=str(error), faults=self._faults)
                if self._faults % FAULTS_MAX == 0:
                    await self._store.discard_search_index()
                await asyncio.sleep(RETRY_S)

    async def _follow(self) -> None:
        while True:
            progress = await self._store.fill_search_index(self._rows)
            self._faults = 0
            metrics.SEARCH_INDEX_BEHIND.set(progress.behind)
            await asyncio.sleep(self._rest_s(progress))

    def _rest_s(self, progress: IndexProgress) -> float:
        """How long to rest after a piece."""
        metrics.SEARCH_INDEX_EVENTS.inc(progress.done)
        if not progress.done:
            return IDLE_S
        if progress.done >= self._rows and progress.took_s < PIECE_S:
            self._rows = min(ROWS_MAX, self._rows * 2)
        elif progress.took_s > 2 * PIECE_S:
            self._rows = max(ROWS_MIN, self._rows // 2)
        if not progress.behind:
            return IDLE_S
        return progress.took_s * (BUSY_REST if self._is_busy() else 1)
