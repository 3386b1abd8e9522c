"""The threads of those who look make way for those that serve webhooks and cancels."""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
from pathlib import Path

from app.store.sqlite import open_sqlite
from app.store.sqlite.connection import BEHIND, BEHIND_BY, Writer
from app.store.use import Use

LOWEST = 19


async def test_only_threads_of_those_who_look_and_of_the_search_index_have_a_lower_priority(tmp_path: Path):
    def niceness(_: sqlite3.Connection | None = None) -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    async def of(connection: Writer) -> int:
        return await Writer.visit(connection, niceness)

    own = niceness()
    lower = min(own + BEHIND_BY, LOWEST) if sys.platform == "linux" else own
    store = await open_sqlite(tmp_path / "rescind.db")
    try:
        await store.open_search_index()
        for use in Use:
            async with store._db.borrow(use) as connection:
                assert await of(connection) == (lower if use in BEHIND else own), use
        assert await of(store._writer) == own
        assert await of(store._index._writer) == lower
        async with store._index.borrow() as connection:
            assert await of(connection) == lower
    finally:
        await store.close()
    assert niceness() == own
