"""Seals the log: a worker that follows it, and cuts what is new into signed blocks of the hash chain.

It is beside the path of webhooks: an event is committed first, and sealed at most some seconds later. What was there
before this release, and what came while the worker was away, is sealed from where the chain ends, with pauses.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import structlog

from app.core.checkpoint import CheckpointKey
from app.core.log_chain import BLOCK_MAX, Block, seal
from app.runtime import metrics
from app.runtime.log import LogLimiter
from app.store import Store, StoreError

SEAL_S = 2.0
"""How long new events wait at most, to be sealed together."""
BACKLOG_PAUSE_S = 0.02
"""Between two blocks of a backlog: webhooks are recorded meanwhile."""
SAVED_MAX = 8
"""Blocks in one transaction."""
FAILURE_LOG_S = 60.0

log = structlog.get_logger()


def _now() -> int:
    return time.time_ns() // 1000


class LogSealer:
    """Seals the log of one store."""

    def __init__(self, store: Store, key: CheckpointKey, clock: Callable[[], int] = _now) -> None:
        self._store, self._key, self._clock = store, key, clock
        self.public_key = key.public
        """It verifies the signatures of blocks."""
        self._failures = LogLimiter(FAILURE_LOG_S)
        self._sealing = asyncio.Lock()

    async def run(self) -> None:
        """Seal until canceled; what came last is sealed at the end."""
        try:
            while True:
                await self.seal()
                await asyncio.sleep(SEAL_S)
        finally:
            await asyncio.shield(self.seal(SAVED_MAX))

    async def seal(self, blocks_max: int | None = None) -> None:
        """Seal all that is in the log now, or so many blocks of it.

        Never raises: what could not be sealed waits for the next time.
        """
        try:
            async with self._sealing:
                await self._seal(blocks_max)
        except StoreError as error:
            if self._failures.admit() is not None:
                log.warning("log_not_sealed", error=str(error))
        except Exception:
            log.exception("log_sealing_failed")

    async def _seal(self, blocks_max: int | None) -> None:
        previous = await self._store.last_block()
        position = 0 if previous is None else previous.last
        until, _ = await self._store.log_bounds()
        if until < position:
            if self._failures.admit("behind") is not None:
                log.error("log_shorter_than_its_chain", sealed=position, last=until, hint="run `rescind log verify`")
            return
        blocks: list[Block] = []
        while position < until and (blocks_max is None or blocks_max > 0):
            previous = await self._next(previous, position)
            position = previous.last
            blocks.append(previous)
            if len(blocks) == SAVED_MAX:
                await self._store.save_blocks(blocks)
                blocks = []
            if position < until:
                await asyncio.sleep(BACKLOG_PAUSE_S)
            blocks_max = None if blocks_max is None else blocks_max - 1
        if blocks:
            await self._store.save_blocks(blocks)
        if position >= until:
            metrics.LOG_SEALED.set_to_current_time()

    async def _next(self, previous: Block | None, position: int) -> Block:
        """The block after `previous`; there are events after `position`."""
        events = await self._store.unsealed(position, BLOCK_MAX)
        block = seal(previous, events.first, events.leaves, events.received, self._clock())
        return replace(block, signature=self._key.sign(block))
