"""The indexer gives an index up only if it fails again and again, not for faults that it got over."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from app.store import Store, StoreError
from app.store.index_protocol import IndexProgress
from app.workers import indexer
from app.workers.indexer import FAULTS_MAX, Indexer


class FaultyIndex:
    """The part of the store that the indexer uses; each piece of work succeeds or fails as told, then it ends."""

    def __init__(self, *succeeds: bool) -> None:
        self._outcomes = iter(succeeds)
        self.discarded = 0

    async def open_search_index(self) -> None:
        pass

    async def fill_search_index(self, _rows: int) -> IndexProgress:
        outcome = next(self._outcomes, None)
        if outcome is None:
            raise asyncio.CancelledError
        if not outcome:
            raise StoreError("the database is locked")
        return IndexProgress(1, 0.0, 1)

    async def discard_search_index(self) -> None:
        self.discarded += 1


async def discarded(monkeypatch: pytest.MonkeyPatch, *succeeds: bool) -> int:
    """How often the index is made anew."""
    monkeypatch.setattr(indexer, "RETRY_S", 0)
    store = FaultyIndex(*succeeds)
    with pytest.raises(asyncio.CancelledError):
        await Indexer(cast("Store", store), is_busy=lambda: False).run()
    return store.discarded


async def test_an_index_is_made_anew_after_faults_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await discarded(monkeypatch, *[False] * FAULTS_MAX) == 1
    assert await discarded(monkeypatch, *[True, False] * FAULTS_MAX * 2) == 0
