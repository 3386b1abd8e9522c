"""Rows of an earlier release are compressed by and by, and read the same before, meanwhile and after."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from contract.store_cases import A, at, commit, event, order, place, write
from integration.test_rebuild import gather
from integration.test_release_0_1 import DATABASES, restore

from app.engine.rebuild import check
from app.store import Window, codec
from app.store.sqlite import SqliteStore, open_sqlite, row_compression
from app.store.sqlite.functions import add_functions

PLAIN = {
    "events": f"SELECT seq, order_pk, policy, {codec.EVENT_COLUMNS} FROM events ORDER BY seq",  # noqa: S608 - ours
    "orders": f"SELECT pk, account, id, {codec.ORDER_STATE} FROM orders ORDER BY pk",  # noqa: S608 - ours
}


def content(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All rows, read as the server reads them."""
    with closing(sqlite3.connect(path)) as db:
        add_functions(db)
        return {table: db.execute(sql).fetchall() for table, sql in PLAIN.items()}


def left(path: Path) -> int:
    """Rows that are text, and so long that a dictionary makes them smaller."""
    with closing(sqlite3.connect(path)) as db:
        sql = """SELECT (SELECT count(*) FROM events WHERE typeof(body) = 'text' AND length(body) > 64)
                 + (SELECT count(*) FROM orders WHERE typeof(state) = 'text')"""
        return int(db.execute(sql).fetchone()[0])


@pytest.mark.parametrize("name", DATABASES)
async def test_a_database_of_release_0_1_reads_the_same_before_meanwhile_and_after(name: str, tmp_path: Path) -> None:
    path = restore(name, tmp_path / "old.db")
    store = await open_sqlite(path)
    try:
        before, rows = content(path), left(path)
        assert rows > len(before["orders"])
        assert await store.compress_rows() is not None
        assert 0 < left(path) < rows
        assert content(path) == before
        part = await store.compressed_rows()
        assert set(part) == {"events", "orders"}
        assert 0 < part["events"] <= 1
    finally:
        await store.close()
    store = await open_sqlite(path)  # it goes on where it ended
    try:
        while await store.compress_rows() is not None:
            assert content(path) == before
        assert left(path) == 0
        assert await store.compressed_rows() == {"events": 1.0, "orders": 1.0}
        assert (await gather(check(store)))[0] == []
    finally:
        await store.close()


async def _with_old_rows(path: Path, bodies: list[str | bytes]) -> SqliteStore:
    """A store whose events have these bodies, as an earlier release would have written them."""
    store = await open_sqlite(path)
    await place(store, 7, "o-1", *(event("o-1", n) for n in range(len(bodies))))

    def age(db: sqlite3.Connection) -> None:
        sql = "UPDATE events SET body = CAST(? AS TEXT), dictionary = NULL WHERE seq = ?"
        db.executemany(sql, [(body, seq) for seq, body in enumerate(bodies, 1)])
        db.execute("INSERT INTO row_compression VALUES ('events', 0, ?)", (len(bodies),))

    await store._write(age)
    return store


def texts(path: Path) -> list[bytes]:
    with closing(sqlite3.connect(path)) as db:
        add_functions(db)
        sql = f"SELECT CAST({codec.EVENT_BODY} AS BLOB) FROM events ORDER BY seq"  # noqa: S608 - ours
        return [body for (body,) in db.execute(sql)]


async def test_what_is_no_json_of_ours_is_read_exactly_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_compression, "STEP_ROWS", 3)
    odd: list[str | bytes] = ["", "{}", '{"facts":', "\0" * 90, '{"a":"\u00fc\U0001f600\\ud800"}' * 9, b"\xff\xfe" * 90]
    odd += ['{"data":{"text":"' + "x" * 1_200_000 + '"}}', '{"facts":{"attributes":{"a":1}}}' * 4]
    path = tmp_path / "store.db"
    store = await _with_old_rows(path, odd)
    try:
        before, steps = texts(path), 0
        while await store.compress_rows() is not None:
            steps += 1
        assert texts(path) == before == [body if isinstance(body, bytes) else body.encode() for body in odd]
        assert steps > 1  # the large one ends a step
        assert left(path) == 1  # what is no text stays
    finally:
        await store.close()


async def test_a_row_that_is_written_meanwhile_stays_as_written(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = await _with_old_rows(path, ['{"facts":{"attributes":{"street":"Elm"}}}' * 5] * 3)
    erased = '{"facts":{"attributes":{"street":"[erased 7.1]"}}}' * 5

    async def late(work: Callable[[sqlite3.Connection], None]) -> None:
        """Somebody erases an event between reading and writing."""
        await store._write(lambda db: db.execute("UPDATE events SET body = ? WHERE seq = 2", (erased,)).rowcount)
        await store._write(work)

    try:
        assert await store._old_rows.step(store._db, late) == 3
        assert texts(path)[1] == erased.encode()
        assert b"Elm" in texts(path)[0]
    finally:
        await store.close()


async def test_a_new_database_has_nothing_to_compress(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "store.db")
    try:
        await commit(store, orders=[write(1, order("o-1"))], names=[(A, "o-1", 1)], events=[(1, event("o-1", 1))])
        assert await store.compress_rows() is None
        assert await store.compressed_rows() == {"events": 1.0, "orders": 1.0}
        assert [found.occurred_at for _, found in await store.events(Window(9))] == [at(1)]
    finally:
        await store.close()
