"""What holds only for SQLite: its search index stands in files of its own, which what was erased leaves."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from contract.store_cases import ALL, A, at, commit, event, place

from app.contract import Facts
from app.core.event_types import ORDER_ERASED
from app.store import Store
from app.store.filters import EventFilter
from app.store.sqlite import SqliteStore, open_sqlite
from app.store.sqlite.index import index_path
from app.store.sqlite.index.file import read_state
from app.store.text import text_query


@pytest.fixture
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.store.sqlite.index.schema.PART_BITS", 9)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = await open_sqlite(tmp_path / "store.db")
    yield opened
    await opened.close()


async def erase(store: SqliteStore, *positions: int) -> None:
    """Erase the content of events, as retention does."""
    await store.truncate_log()
    for position in positions:
        await store._writer.execute("UPDATE events SET body = '{}' WHERE seq = ?", (position,))
        sql = "INSERT INTO erasures SELECT ?1, 1 + count(*), 'evt_', x'00' FROM erasures WHERE position = ?1"
        await store._writer.execute(sql, (position,))
    n = await store._writer.visit(lambda db: db.execute("SELECT max(seq) FROM events").fetchone()[0])
    await commit(store, events=[(1, event("o-1", n + 1, ORDER_ERASED))])
    await store.truncate_log()


def in_files(folder: Path, *words: bytes) -> set[bytes]:
    """Which words stand in any file of a folder."""
    raw = b"".join(file.read_bytes() for file in folder.iterdir()).lower()
    return {word for word in words if word in raw}


async def until_idle(store: Store, rows: int = 100) -> int:
    """Work until nothing is left to do; returns the events that were indexed."""
    events = 0
    while not (step := await store.fill_search_index(rows)).idle:
        events += step.events
    return events


async def test_words_that_events_lost_go_from_all_files(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "store.db")
    facts = [Facts(attributes={"customer": name}) for name in ("Wilhelmina", "Ernestine")]
    await place(store, 1, "o-1", event("o-1", 1, facts=facts[0]), event("o-1", 2, facts=facts[1]))
    await store.open_search_index()
    await until_idle(store)
    [(position, _)] = await store.events(ALL, EventFilter(text="wilhelmina"))
    await erase(store, position)
    assert await store.events(ALL, EventFilter(text="wilhelmina")) == []
    assert in_files(tmp_path, b"wilhelmina", b"ernestine") == {b"wilhelmina", b"ernestine"}
    assert (await store.fill_search_index(1)).erasing
    await until_idle(store, 1)
    assert in_files(tmp_path, b"wilhelmina", b"ernestine") == {b"ernestine"}
    assert not (await store.fill_search_index(1)).erasing
    assert len(await store.events(ALL, EventFilter(text="ernestine"))) == 1
    assert len(await store.events(ALL, EventFilter(account=A))) == 3
    # Nothing more is done for an erasure that was followed.
    await commit(store, events=[(1, event("o-1", 4, ORDER_ERASED))])
    assert await until_idle(store) == 1
    await store.close()


@pytest.mark.usefixtures("_small_parts")
async def test_erased_words_go_though_the_log_and_erasures_never_rest(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "store.db")
    names = {n: f"wilhelmina{n:04}zz" for n in range(1, 1201, 100)}
    rows = [(1, event("o-1", n, facts=Facts(attributes={"who": names.get(n, "x")}))) for n in range(1, 1300)]
    await commit(store, events=rows)
    await store.open_search_index()
    await until_idle(store)
    first, *others = names
    await erase(store, first)
    for rounds in range(400):
        # An event in each round, so that the index is always behind; and now and then another erasure.
        await commit(store, events=[(1, event("o-1", 5000 + rounds))])
        if rounds % 30 == 0 and others:
            await erase(store, others.pop())
        progress = await store.fill_search_index(100)
    assert progress.behind < 5
    assert not others
    assert in_files(tmp_path, *(name.encode() for name in names.values())) == set()
    await store.close()


async def test_an_erasure_is_noticed_before_the_log_is_indexed_up_to_it(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "store.db")
    rows = [(1, event("o-1", n, facts=Facts(attributes={"who": f"wilhelmina{n}"}))) for n in range(200)]
    await commit(store, events=rows)
    await store.open_search_index()
    assert (await store.fill_search_index(20)).behind == 180
    await erase(store, *range(1, 201))
    step = await store.fill_search_index(1)
    assert step.erasing
    assert step.behind > 170
    await until_idle(store)
    assert in_files(tmp_path, b"wilhelmina") == set()
    await store.close()


async def test_an_index_that_is_not_of_this_log_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    file = index_path(path.resolve())

    async def found(change: Any = None) -> int:
        """How many events the index has by itself, after `change` of its file."""
        if change is not None:
            change()
        store: SqliteStore = await open_sqlite(path)
        await store.open_search_index()
        assert store._index is not None
        was = (await store._index.read(read_state)).filled_to
        while not (await store.fill_search_index(10)).idle:
            pass
        assert len(await store.events(ALL, EventFilter(text="denver"))) == 3
        await store.close()
        return was

    store = await open_sqlite(path)
    facts = Facts(attributes={"city": "Denver"})
    await place(store, 1, "o-1", *(event("o-1", n, facts=facts) for n in range(3)))
    await store.close()
    assert await found() == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert await found() == 3
    assert await found(file.unlink) == 0
    assert await found(lambda: file.write_bytes(b"no database")) == 0
    assert await found(lambda: file.write_bytes(file.read_bytes()[:8192])) == 0
    assert await found() == 3
    store = await open_sqlite(path)
    await store.begin_log_generation(at(0))
    await store.close()
    assert await found() == 0
    assert await found() == 3


async def test_every_word_can_be_asked_of_the_index(store: SqliteStore) -> None:
    """No character makes the index refuse a query."""
    await place(store, 1, "o-1", event("o-1", 1))
    await store.open_search_index()
    await store.fill_search_index(10)
    index = store._index
    assert index is not None

    def ask(db: sqlite3.Connection, first: int) -> None:
        for start in range(first, first + 0x800, 8):
            text = " ".join(chr(code) for code in range(start, start + 8) if not 0xD800 <= code < 0xE000)
            query = text_query(f"a{text.replace(' ', 'a')}a")
            if query is not None:
                db.execute("SELECT rowid FROM words_0 WHERE words_0 MATCH ?", (query.match,)).fetchall()

    for first in range(0, 0x20000, 0x800):
        await index.read(lambda db, first=first: ask(db, first))


async def test_the_index_is_filled_by_few_bytes_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.store.sqlite.index.filling.PIECE_BYTES", 3000)
    store = await open_sqlite(tmp_path / "store.db")
    long = [event("o-1", n, facts=Facts(attributes={"city": "Denver", "x": "x" * 1000})) for n in range(40)]
    await place(store, 1, "o-1", *long)
    await store.open_search_index()
    most = events = 0
    while not (step := await store.fill_search_index(100)).idle:
        most, events = max(most, step.events), events + step.events
    assert events == 40
    assert 1 <= most <= 4
    assert len(list(await store.events(ALL, EventFilter(text="denver")))) == 40
    await store.close()
