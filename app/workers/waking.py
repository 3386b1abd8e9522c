"""Waking other nodes, and being woken: it saves time, and nothing depends on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable

import structlog

from app.store import Store, StoreError

INTERVAL_S = 0.05
"""A node says something at most 20 times a second."""

log = structlog.get_logger()


class Waking:
    """Says which subjects have something to do, several at once, and hears what others say."""

    def __init__(self, store: Store, heard: Callable[[Collection[str]], None]) -> None:
        self._store, self._heard = store, heard
        self._subjects: set[str] = set()
        self._filled = asyncio.Event()

    def note(self, subjects: Iterable[str]) -> None:
        """Other nodes may have something to do for these."""
        if not self._store.single_writer:
            self._subjects.update(subjects)
            self._filled.set()

    async def speak(self) -> None:
        """Tell other nodes, until canceled."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            subjects, self._subjects = self._subjects, set()
            try:
                await self._store.wake(subjects)
            except StoreError as error:
                log.debug("not_woken", error=str(error))
            await asyncio.sleep(INTERVAL_S)

    async def listen(self) -> None:
        """Hear what others say, until canceled."""
        async for subjects in self._store.listen():
            self._heard(subjects)
