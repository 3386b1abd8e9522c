"""Keeps the database in order: partitions for the months ahead, and no rows that nobody needs any more."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import structlog

from app.store import Store, StoreError

LOOK_S = 600.0
RETRY_S = 5.0
"""After a lock that could not be had."""

log = structlog.get_logger()


class StoreUpkeep:
    """Keeps one store in order; of nodes that share a database, one does so for all."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def run(self) -> None:
        """Look until canceled."""
        while True:
            wait_s = LOOK_S
            try:
                await self._store.keep_up(datetime.now(UTC))
            except StoreError as error:
                log.warning("store_upkeep_failed", error=str(error))
                wait_s = RETRY_S
            await asyncio.sleep(wait_s)
