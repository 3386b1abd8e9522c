"""The indexer outlives every fault of the index, and gives up an index only where a new one may help."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from structlog.testing import capture_logs

from app.store import SearchIndexDamaged, Store, StoreError, StoreUnavailable
from app.store.index_protocol import IndexProgress
from app.workers import indexer
from app.workers.indexer import FAULTS_MAX, Indexer

FULL, DAMAGED, REFUSED = StoreUnavailable("the disk is full"), SearchIndexDamaged("malformed"), StoreError("no table")


class FaultyIndex:
    """The part of the store that the indexer uses; each piece of work succeeds or fails as told, then it ends."""

    def __init__(self, *outcomes: StoreError | None) -> None:
        self._outcomes = iter(outcomes)
        self.discarded = 0

    async def open_search_index(self) -> None:
        pass

    async def fill_search_index(self, _rows: int) -> IndexProgress:
        for outcome in self._outcomes:
            if outcome is not None:
                raise outcome
            return IndexProgress(1, 0.0, 1, idle=False, erasing=False)
        raise asyncio.CancelledError

    async def discard_search_index(self) -> None:
        self.discarded += 1
        if self.discarded > 1:
            raise StoreUnavailable("permission denied")


async def run(monkeypatch: pytest.MonkeyPatch, *outcomes: StoreError | None) -> tuple[int, list[str]]:
    """(how often the index is made anew, what is logged)."""
    monkeypatch.setattr(indexer, "RETRY_S", 0)
    store = FaultyIndex(*outcomes)
    with capture_logs() as logged, pytest.raises(asyncio.CancelledError):
        await Indexer(cast("Store", store), is_busy=lambda: False).run()
    return store.discarded, [line["event"].removeprefix("search_index_") for line in logged]


async def test_an_index_is_made_anew_where_that_may_help(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await run(monkeypatch, DAMAGED, None) == (1, ["failed", "recovered"])
    assert (await run(monkeypatch, *[REFUSED] * FAULTS_MAX))[0] == 1
    assert (await run(monkeypatch, *[None, REFUSED] * FAULTS_MAX * 2))[0] == 0
    # A deletion that fails ends nothing either.
    assert (await run(monkeypatch, *[DAMAGED] * 3, None))[0] == 3


async def test_an_index_that_cannot_work_now_is_tried_again_and_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = ["failed", "recovered", "failed"]
    assert await run(monkeypatch, *[FULL] * FAULTS_MAX * 3, None, None, FULL, FULL) == (0, expected)
