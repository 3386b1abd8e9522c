"""Deletes contexts of traces that nothing continues any more."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import structlog

from app.runtime.ids import CANCELLATION, MESSAGE
from app.store import Store, StoreError

KEPT = timedelta(days=30)
LOOK_S = 3600.0
SLICE = 1000
"""Rows that one transaction deletes."""
PAUSE_S = 0.05

log = structlog.get_logger()


class TraceUpkeep:
    """Deletes old contexts of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def run(self) -> None:
        """Delete until canceled."""
        while True:
            try:
                await self.delete_old(datetime.now(UTC))
            except StoreError as error:
                log.warning("traces_not_deleted", error=str(error))
            await asyncio.sleep(LOOK_S)

    async def delete_old(self, now: datetime) -> None:
        """Delete what is older than `KEPT`, in slices."""
        for prefix in (CANCELLATION, MESSAGE):
            more = True
            while more:
                more = await self._store.delete_trace_contexts(prefix, now - KEPT, SLICE)
                await asyncio.sleep(PAUSE_S if more else 0)
