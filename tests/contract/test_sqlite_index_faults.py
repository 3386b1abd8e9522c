"""The search index's file may be damaged, removed, locked or killed with its process: no search is wrong for it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest
from contract.store_cases import ALL, commit, event, threads_left
from providers import WAIT_S, until

from app.cli import doctor
from app.contract import Facts
from app.store import SearchIndexDamaged, StoreInterrupted, StoreUnavailable, Window
from app.store.filters import EventFilter
from app.store.sqlite import SqliteStore, open_sqlite
from app.store.sqlite.connection import Writer
from app.store.sqlite.index import index_path

NUMBER = 600
ROOT = Path(__file__).parents[2]


@pytest.fixture
async def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SqliteStore]:
    """A store whose index is filled; every tenth event is about Denver."""
    monkeypatch.setattr("app.store.sqlite.index.schema.PART_BITS", 8)
    opened = await open_sqlite(tmp_path / "store.db")
    cities = ("Denver" if n % 10 == 0 else "Rome" for n in range(NUMBER))
    rows = [(1, event("o-1", n, facts=Facts(attributes={"city": city}))) for n, city in enumerate(cities)]
    await commit(opened, events=rows)
    await opened.open_search_index()
    await fill(opened)
    yield opened
    await opened.close()


async def fill(store: SqliteStore) -> None:
    while not (await store.fill_search_index(200)).idle:
        pass


async def found(store: SqliteStore) -> int:
    return len(await store.events(ALL, EventFilter(text="denver")))


def replaced(file: Path) -> None:
    other = file.with_suffix(".new")
    other.write_bytes(file.read_bytes())
    other.replace(file)


@pytest.mark.parametrize("harm", [Path.unlink, replaced, lambda file: os.truncate(file, 8192)])
async def test_an_index_that_is_lost_while_a_server_has_it_open_is_made_anew(
    store: SqliteStore, harm: Callable[[Path], None]
) -> None:
    assert store._index is not None
    await store._index._writer.execute_fetchall("PRAGMA main.wal_checkpoint(TRUNCATE)")
    await store.fill_search_index(10)
    harm(index_path(store._path))
    with pytest.raises(SearchIndexDamaged):
        await store.fill_search_index(10)
    await store.discard_search_index()
    assert await found(store) == NUMBER / 10
    await store.open_search_index()
    await fill(store)
    assert await found(store) == NUMBER / 10


async def test_a_search_that_meets_a_damaged_index_looks_in_the_log_and_has_it_discarded(store: SqliteStore) -> None:
    await store._close_index()
    file = index_path(store._path)
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        pages = [page for (page,) in db.execute("SELECT pageno FROM dbstat WHERE name LIKE 'words%_data'")]
    raw = bytearray(file.read_bytes())
    for page in pages:
        raw[(page - 1) * 8192 : page * 8192] = b"\xff" * 8192
    file.write_bytes(raw)
    await store.open_search_index()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.store.sqlite.read.event_lists.log.warning", lambda *_, **__: None)
        assert await found(store) == NUMBER / 10
    with pytest.raises(SearchIndexDamaged):
        await store.fill_search_index(10)
    await store.discard_search_index()
    await store.open_search_index()
    await fill(store)
    assert await found(store) == NUMBER / 10


async def test_a_locked_index_is_waited_for_and_searched_meanwhile(store: SqliteStore) -> None:
    await commit(store, events=[(1, event("o-1", NUMBER, facts=Facts(attributes={"city": "Denver"})))])
    with closing(sqlite3.connect(index_path(store._path), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            await store.fill_search_index(10)
        assert await found(store) == NUMBER / 10 + 1
    await fill(store)
    assert await found(store) == NUMBER / 10 + 1


async def test_an_index_that_does_not_say_of_which_log_it_is_is_made_anew(store: SqliteStore) -> None:
    await store._close_index()
    with closing(sqlite3.connect(index_path(store._path))) as db, db:
        db.execute("DELETE FROM state")
    await store.open_search_index()
    await fill(store)
    assert await found(store) == NUMBER / 10


async def test_what_is_no_index_is_never_deleted(store: SqliteStore) -> None:
    await store.discard_search_index()
    file = index_path(store._path)
    with closing(sqlite3.connect(file)) as other:
        other.executescript("CREATE TABLE receipts (id); INSERT INTO receipts VALUES (7)")
    with pytest.raises(StoreUnavailable, match="no search index: move it away"):
        await store.open_search_index()
    with closing(sqlite3.connect(file)) as other:
        assert other.execute("SELECT id FROM receipts").fetchall() == [(7,)]
    assert await found(store) == NUMBER / 10
    file.unlink()
    file.mkdir()
    with pytest.raises(StoreUnavailable):
        await store.open_search_index()
    with pytest.raises(StoreUnavailable):
        await store.discard_search_index()
    file.rmdir()
    await store.open_search_index()


async def test_discarding_waits_for_searches_and_tells_who_waits(store: SqliteStore) -> None:
    assert store._index is not None
    index = store._index
    async with index.borrow() as db, index.borrow():
        waiting = asyncio.create_task(index.read(lambda _: 1))
        discarding = asyncio.create_task(store.discard_search_index())
        await asyncio.sleep(0)
        assert list(await db.execute_fetchall("SELECT 1")) == [(1,)]
        assert not discarding.done()
    await discarding
    [result] = await asyncio.gather(waiting, return_exceptions=True)
    assert result == 1 or isinstance(result, StoreUnavailable)
    with pytest.raises(StoreUnavailable, match="closed"):
        await index.read(lambda _: 1)


_ENDLESS = "WITH RECURSIVE n (v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM n) SELECT max(v) FROM n"


async def test_a_statement_is_interrupted_at_its_limit(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store._index is not None
    with monkeypatch.context() as patch:
        patch.setattr("app.store.sqlite.index.file.STATEMENT_S", 1.0)
        with pytest.raises(StoreInterrupted):
            await store._index.read(lambda db: db.execute(_ENDLESS).fetchone())
    assert await found(store) == NUMBER / 10


_FILL = """
import asyncio, sys
from pathlib import Path
from app.store.sqlite import open_sqlite
from app.store.sqlite.index import schema
from app.store.filters import EventFilter
schema.PART_BITS = 8
async def main():
    store = await open_sqlite(Path(sys.argv[1]))
    await store.open_search_index()
    for _ in sys.stdin:
        await store.fill_search_index(7)
        print("piece", flush=True)
asyncio.run(main())
"""


async def test_an_index_whose_process_was_killed_goes_on_where_it_was(store: SqliteStore) -> None:
    path = store._path
    await store.discard_search_index()
    await store.close()
    for pieces in (1, 20, 45):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _FILL, str(path)),
            **dict.fromkeys(("stdin", "stdout"), asyncio.subprocess.PIPE),
            cwd=ROOT,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        # It is killed within the next piece, or after it: however late, the index is not complete.
        process.stdin.write(b"\n" * (pieces + 1))
        for _ in range(pieces):
            assert await process.stdout.readline() == b"piece\n"
        process.kill()
        await process.communicate()
    again = await open_sqlite(path)
    try:
        await again.open_search_index()
        first = await again.fill_search_index(7)
        assert 0 < first.behind < NUMBER - 7 * 60
        await fill(again)
        assert await found(again) == NUMBER / 10
        facets = await again.event_facets()
        assert facets.total == NUMBER
        assert [seq for seq, _ in await again.events(Window(NUMBER), EventFilter(types=["*"]))] == list(
            range(NUMBER, 0, -1)
        )
    finally:
        await again.close()


async def test_doctor_names_the_index(store: SqliteStore) -> None:
    path, file = store._path, index_path(store._path)
    assert doctor._search_index(path).state == doctor.OK
    await commit(store, events=[(1, event("o-1", NUMBER + n)) for n in range(3)])
    finding = await asyncio.to_thread(doctor._search_index, path)
    assert (finding.state, "3 events behind" in finding.detail) == (doctor.OK, True)
    await store.discard_search_index()
    assert doctor._search_index(path).state == doctor.NOTICE
    file.write_bytes(b"no database")
    finding = doctor._search_index(path)
    assert (finding.state, "not a database" in finding.detail) == (doctor.NOTICE, True)


async def test_a_store_that_closes_while_its_index_opens_leaves_no_connection_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection whose thread outlives the event loop fails when it reports to it."""
    before, connecting, gate = set(threading.enumerate()), threading.Event(), threading.Event()

    def slow(connect: Callable[[], sqlite3.Connection], size: int) -> Writer:
        def passage() -> sqlite3.Connection:
            connecting.set()
            gate.wait(WAIT_S)
            return connect()

        return Writer(passage, size)

    monkeypatch.setattr("app.store.sqlite.index.file.Writer", slow)
    store = await open_sqlite(tmp_path / "store.db")
    opening = asyncio.create_task(store.open_search_index())
    await until(lambda: asyncio.sleep(0, connecting.is_set()), "the index to be opened")
    opening.cancel()
    closing = asyncio.create_task(store.close())
    await asyncio.wait({closing}, timeout=0.2)
    assert not closing.done(), "the connection is still being made"
    gate.set()
    await asyncio.gather(opening, return_exceptions=True)
    await closing
    assert not threads_left(before)
