"""The indexer: lets the search index follow the log, in short pieces, and behind everything that waits for the ledger.

Nothing depends on how far it is: what is not indexed yet is searched in the log. So it makes way: after each piece it
rests as long as the piece took, and while requests wait for the ledger several times as long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from app.runtime import metrics
from app.store import SearchIndexDamaged, Store, StoreError, StoreUnavailable
from app.store.index_protocol import IndexProgress

PIECE_S = 0.025
"""Target duration of a piece; the next one has more or fewer events by how long the last one took."""
ROWS_MIN, ROWS_MAX = 20, 2000
IDLE_S = 0.5
"""How often the log is looked at when the index is up to date."""
BUSY_REST = 8
"""While requests wait for the ledger, a rest is so many times as long as the piece before it."""
RETRY_S, RETRY_MAX_S = 5.0, 300.0
"""How long it waits after a fault: twice as long after each in a row."""
FAULTS_MAX = 3
"""An index that refuses its data so often in a row is deleted and made anew."""

log = structlog.get_logger()


class Indexer:
    """Fills the search index for as long as `run` runs."""

    def __init__(self, store: Store, *, is_busy: Callable[[], bool]) -> None:
        self._store, self._is_busy = store, is_busy
        self._rows = ROWS_MIN
        self._faults = 0
        """In a row: a piece of work that succeeds ends it."""
        self.fault = ""
        """Why searches cannot use the index, if they cannot."""
        self.progress: IndexProgress | None = None
        """The last piece of work."""

    async def run(self) -> None:
        """Follow the log until canceled. A fault of the index's file stops nothing else."""
        while True:
            try:
                await self._store.open_search_index()
                await self._follow()
            except StoreError as error:
                self._note(error)
                if self._is_to_discard(error):
                    await self._discard()
                await asyncio.sleep(min(RETRY_S * 2 ** (self._faults - 1), RETRY_MAX_S))

    async def _follow(self) -> None:
        while True:
            progress = await self._store.fill_search_index(self._rows)
            if self.fault:
                log.info("search_index_recovered", faults=self._faults)
            self._faults, self.fault, self.progress = 0, "", progress
            metrics.SEARCH_INDEX_UP.set(1)
            metrics.SEARCH_INDEX_BEHIND.set(progress.behind)
            metrics.SEARCH_INDEX_ERASING.set(progress.erasing)
            metrics.SEARCH_INDEX_EVENTS.inc(progress.events)
            await asyncio.sleep(self._rest_s(progress))

    def _note(self, error: StoreError) -> None:
        """Log a fault; not again while it is the same."""
        self._faults = min(self._faults + 1, 30)
        metrics.SEARCH_INDEX_UP.set(0)
        if str(error) != self.fault:
            self.fault = str(error)
            log.warning("search_index_failed", error=self.fault, meanwhile="searches look in the log")

    def _is_to_discard(self, error: StoreError) -> bool:
        """Whether a new index may help: not where the disk is full, or a file is locked or cannot be opened."""
        is_refused = not isinstance(error, StoreUnavailable) and self._faults % FAULTS_MAX == 0
        return isinstance(error, SearchIndexDamaged) or is_refused

    async def _discard(self) -> None:
        try:
            await self._store.discard_search_index()
        except StoreError as error:
            self._note(error)

    def _rest_s(self, progress: IndexProgress) -> float:
        """How long to rest after a piece."""
        if progress.events >= self._rows and progress.took_s < PIECE_S:
            self._rows = min(ROWS_MAX, self._rows * 2)
        elif progress.events and progress.took_s > 2 * PIECE_S:
            self._rows = max(ROWS_MIN, self._rows // 2)
        if progress.idle or not (progress.behind or progress.erasing):
            return IDLE_S
        return progress.took_s * (BUSY_REST if self._is_busy() else 1)
