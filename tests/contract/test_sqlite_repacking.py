"""Receipts whose dictionary is retired are packed anew without it, and stay readable whoever else wants the same."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from contract.store_cases import A, commit, receipt

from app.store.compression import deflate, inflate
from app.store.sqlite import SqliteStore, open_sqlite
from app.store.sqlite.connection import Connections
from app.store.sqlite.erasure import Repacking
from app.store.use import Use

FIRST = 1
EACH = 3
"""Receipts that use each of the two dictionaries."""


class _Watched(Connections):
    """Connections that say when somebody reads."""

    def __init__(self, readers: Connections) -> None:
        self._readers, self.was_read = readers, False

    async def fetch(self, *arguments: Any) -> list[tuple[Any, ...]]:
        self.was_read = True
        return await self._readers.fetch(*arguments)


async def _with_two_dictionaries(path: Path) -> SqliteStore:
    """A store with two retired dictionaries of one account; receipts of the first were stored after the others."""
    store = await open_sqlite(path)
    await commit(store, receipts=[receipt(FIRST + n) for n in range(2 * EACH)])
    sql = "SELECT receipts.id, body, content FROM receipts JOIN receipt_dictionaries AS used ON used.id = dictionary"
    rows = await store._db.fetch(f"{sql} ORDER BY 1", (), Use.SEARCHES)

    def retire(db: sqlite3.Connection) -> None:
        last = FIRST + 2 * EACH
        for dictionary, users in ((last + 1, rows[EACH:]), (last + 2, rows[:EACH])):
            content = inflate(*rows[0][1:])
            row = (dictionary, A, "in", "[1]", content, last)
            db.execute("INSERT INTO receipt_dictionaries VALUES (?, ?, ?, ?, ?, 1, ?)", row)
            for id, body, former in users:
                packed = deflate(inflate(body, former), content)
                db.execute("UPDATE receipts SET body = ?, dictionary = ? WHERE id = ?", (packed, dictionary, id))

    await store._write(retire)
    return store


async def test_a_step_that_is_late_does_not_lead_another_past_receipts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.sqlite.erasure.REPACKED", 1)
    store = await _with_two_dictionaries(tmp_path / "store.db")
    repacking, watched = Repacking(), _Watched(store._db)

    async def late(work: Callable[[sqlite3.Connection], None]) -> None:
        """Writes after somebody else came as far as the other dictionary, if they may."""
        other = asyncio.create_task(_steps(EACH + 2))
        await asyncio.sleep(0)
        if watched.was_read:
            await other
        others.append(other)
        await store._write(work)

    async def _steps(number: int) -> None:
        for _ in range(number):
            await repacking.step(watched, store._write)

    others: list[asyncio.Task[None]] = []
    try:
        await repacking.step(store._db, late)
        await asyncio.gather(*others)
        while await repacking.step(store._db, store._write):
            pass
        for n in range(2 * EACH):
            assert await store.receipt(FIRST + n) == receipt(FIRST + n), n
    finally:
        await store.close()


async def test_a_damaged_receipt_keeps_no_dictionary(tmp_path: Path) -> None:
    store = await _with_two_dictionaries(tmp_path / "store.db")
    try:
        await store._write(lambda db: db.execute("UPDATE receipts SET body = x'05ff' WHERE id = ?", (FIRST,)))
        while await store.repack():
            pass
        assert await store._db.fetch("SELECT id FROM receipt_dictionaries WHERE retired") == []
        for n in range(1, 2 * EACH):
            assert await store.receipt(FIRST + n) == receipt(FIRST + n), n
    finally:
        await store.close()
