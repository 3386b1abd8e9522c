"""Compresses the rows that earlier releases wrote, in small transactions, whenever nothing else is to be done.

Nothing depends on how far it is: such a row is read as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

import structlog

from app.runtime import metrics
from app.store import Store, StoreError

REST_S, REST = 0.02, 4
"""After each step it rests, at least so long, and so many times as long as the step took."""
BUSY_S = 0.5
"""While requests wait for the ledger it does nothing, and looks again after so long."""
AGAIN_S = 600.0

log = structlog.get_logger()


class RowCompression:
    """Compresses old rows for as long as `run` runs."""

    def __init__(self, store: Store, *, is_busy: Callable[[], bool]) -> None:
        self._store, self._is_busy = store, is_busy

    async def run(self) -> None:
        """Compress until canceled; usually there is nothing to do. A fault stops nothing else."""
        while True:
            try:
                await self._compress()
            except StoreError as error:
                log.warning("rows_not_compressed", error=str(error), next_try_s=AGAIN_S)
            await asyncio.sleep(AGAIN_S)

    async def _compress(self) -> None:
        rows: int | None = 0
        while rows is not None:
            if self._is_busy():
                await asyncio.sleep(BUSY_S)
                continue
            began = monotonic()
            rows = await self._store.compress_rows()
            for table, part in (await self._store.compressed_rows()).items():
                metrics.ROWS_COMPRESSED.labels(table).set(part)
            await asyncio.sleep(max(REST_S, REST * (monotonic() - began)))
