"""Stores what a lane has learned of its provider."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import structlog

from app.core.lane.rate_control import RateControl
from app.core.lane.state import LaneState, resume, state_of
from app.store import Store, StoreError

SAVE_EVERY_S = 1.0
"""The first change is written at once, later ones at most this often."""

log = structlog.get_logger()


class LaneMemory:
    """The stored state of one lane."""

    def __init__(self, account: str, store: Store) -> None:
        self._account, self._store = account, store
        self._saved = self._current = LaneState()
        self._saving: asyncio.Task[None] | None = None
        self._loaded = False
        self.latency_s = 0.0
        """How long a cancel takes; stored where other nodes may need it."""

    async def load(self, rate: RateControl) -> None:
        """Let `rate` continue from the stored state, the first time. Raises `StoreError`."""
        if self._loaded:
            return
        state = await self._store.lane(self._account)
        self._loaded = True
        if state is not None:
            self._saved = self._current = state
            self.latency_s = state.latency_s
            resume(rate, state, time.monotonic(), datetime.now(UTC))

    def note(self, rate: RateControl) -> None:
        """The state may have changed: write it if so."""
        if not self._loaded:
            return
        latency_s = 0.0 if self._store.single_writer else self.latency_s
        self._current = state_of(rate, time.monotonic(), datetime.now(UTC), self._current, latency_s)
        if self._current != self._saved and (self._saving is None or self._saving.done()):
            self._saving = asyncio.create_task(self._save())

    def forget(self) -> None:
        """The account was removed: a later account of the same id must not inherit its state."""
        self._loaded = False
        if self._saving is not None:
            self._saving.cancel()

    async def close(self) -> None:
        """Write the latest state."""
        if self._saving is not None:
            self._saving.cancel()
            await asyncio.gather(self._saving, return_exceptions=True)
        await self._write()

    async def _save(self) -> None:
        while self._current != self._saved:
            await self._write()
            await asyncio.sleep(SAVE_EVERY_S)

    async def _write(self) -> None:
        current = self._current
        if current == self._saved:
            return
        try:
            await self._store.save_lane(self._account, current)
        except StoreError as error:
            log.warning("lane_state_not_saved", account=self._account, error=str(error))
        else:
            self._saved = current
