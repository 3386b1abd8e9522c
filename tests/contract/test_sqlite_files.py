"""What holds only for SQLite: its files are one process's, private, and as full as their disk."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from secrets import token_bytes

import pytest
from commits import full_disk
from contract.store_cases import OPENERS, A, at, commit, event, order, place, receipt, threads_left, write

from app.contract import Phase
from app.store import Resource, Store, StoreError
from app.store.migrations import SchemaTooNewError, migrations
from app.store.sqlite.files import DatabaseInUseError

opener = OPENERS["sqlite"]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await opener(tmp_path)
    yield opened
    await opened.close()


async def test_a_failed_write_is_said_undone_and_forgotten(store: Store) -> None:
    await place(store, 1, "o-1", event("o-1", 1))
    large = receipt(9, body=token_bytes(500_000))
    async with full_disk(store):
        with pytest.raises(StoreError, match="full"):
            await commit(store, orders=[write(1, order("o-1", phase=Phase.COMPLETED))], receipts=[large])
        # What needs no room still works, and so does everything afterwards.
        assert await store.order(A, "o-1") == (1, order("o-1"))
    assert await store.receipt(9) is None
    await commit(store, receipts=[large])
    assert await store.receipt(9) == large


async def test_a_failed_write_of_resources_leaves_them_as_they_were(store: Store) -> None:
    made = Resource("accounts", "a", 1, at(0), "me", b"x")
    await store.save_resources([made], [], [])
    async with full_disk(store):
        with pytest.raises(StoreError):
            await store.save_resources(
                [Resource("accounts", "b", 1, at(0), "me", b"x" * 500_000)], [("accounts", "a")], []
            )
    assert await store.resources() == [made]


async def test_a_second_opener_is_refused_and_told_who_has_it(store: Store, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(DatabaseInUseError, match=f"pid {os.getpid()}"):
            await opener(tmp_path)
    await place(store, 1, "o-1")
    await store.close()
    again = await opener(tmp_path)
    assert await again.order(A, "o-1") is not None
    await again.close()


async def test_the_database_is_made_where_it_is_not(tmp_path: Path) -> None:
    directory = tmp_path / "not" / "yet there"
    opened = await opener(directory)
    await place(opened, 1, "o-1")
    await opened.close()
    assert directory.is_dir()


@pytest.mark.usefixtures("others_may_read")
async def test_the_files_are_private_from_the_first_moment(store: Store, tmp_path: Path) -> None:
    await place(store, 1, "o-1")
    assert _modes(tmp_path) == dict.fromkeys(["store.db", "store.db-wal", "store.db-shm", "store.db.lock"], 0o600)


@pytest.mark.usefixtures("others_may_read")
async def test_files_that_others_may_read_are_made_private(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await (await opener(tmp_path)).close()
    (tmp_path / "store.db.key").write_text("of an earlier release")
    for name in _modes(tmp_path):
        (tmp_path / name).chmod(0o644)
    opened = await opener(tmp_path)
    assert set(_modes(tmp_path).values()) == {0o600}
    said = capsys.readouterr().out
    for name in ("store.db", "store.db.lock", "store.db.key"):
        assert f"{tmp_path}/{name} " in said
    assert "was=0644" in said
    await opened.close()


@pytest.fixture
def others_may_read() -> Iterator[None]:
    """The system would let others read what a process makes."""
    before = os.umask(0o000)
    yield
    os.umask(before)


def _modes(directory: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mode & 0o777 for file in directory.iterdir()}


async def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    await (await opener(tmp_path)).close()
    file = tmp_path / "store.db"
    with sqlite3.connect(file) as db:
        db.execute("PRAGMA user_version = 999")
    db.close()
    before = set(threading.enumerate())
    with pytest.raises(SchemaTooNewError, match="999"):
        await opener(tmp_path)
    with sqlite3.connect(file) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (999,)
        db.execute(f"PRAGMA user_version = {migrations('sqlite')[-1].version}")
    db.close()
    # Nothing of the failed attempt is in the way, neither a lock nor a thread that would keep the process alive.
    assert not threads_left(before)
    await (await opener(tmp_path)).close()
