"""Checkpoints beside the commits: the log stays short, no commit makes one, and a kill in one loses nothing."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from threading import Timer

import pytest
from providers import WAIT_S
from servers import ROOT
from structlog.testing import capture_logs

from app.store.records import StoredResponse
from app.store.sqlite import SqliteStore, checkpoints, open_sqlite
from app.store.sqlite.checkpoints import Checkpoints
from app.store.sqlite.connection import visit

PAGE = 4096
RESTART_PAGES, CHANGES = 200, 20
WRITERS, EACH, SIZE = 4, 250, 6 * PAGE
KILLS = 4
FILLS_MAX = 20
WRITES = """
import asyncio, os, random, signal, sys, threading
from pathlib import Path
from tests.integration.test_checkpoints import response
from app.store.sqlite import checkpoints, open_sqlite

checkpoints.CHANGES, checkpoints.RESTART_PAGES = 5, 50
left, late_s, first = int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
checkpoint = checkpoints._checkpoint

def dying(db, mode):
    global left
    left -= 1
    if left == 0:
        threading.Timer(late_s, os.kill, (os.getpid(), signal.SIGKILL)).start()
    return checkpoint(db, mode)

checkpoints._checkpoint = dying

async def main():
    store = await open_sqlite(Path(sys.argv[1]))
    number = first
    while True:
        await store.save_response(response(number))
        print(number, flush=True)
        number += 1

asyncio.run(main())
"""


def response(number: int, size: int = SIZE) -> StoredResponse:
    return StoredResponse(f"k-{number}", b"d", bytes([number % 256]) * size, datetime.now(UTC))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "CHANGES", CHANGES)
    monkeypatch.setattr(checkpoints, "RESTART_PAGES", RESTART_PAGES)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = await open_sqlite(tmp_path / "store.db")
    yield store
    await store.close()


async def fill(store: SqliteStore, name: int = 0) -> int:
    """Write without a pause, as several at once; returns the bytes of the log at its longest."""
    wal, longest = f"{store._path}-wal", 0

    async def write(writer: int) -> None:
        nonlocal longest
        for number in range(EACH):
            await store.save_response(response((name * WRITERS + writer) * EACH + number))
            longest = max(longest, os.stat(wal).st_size)  # noqa: PTH116 - as the store itself does

    await asyncio.gather(*(write(writer) for writer in range(WRITERS)))
    return longest


async def test_the_log_stays_short_while_others_write_all_the_time(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await store._writer.execute_fetchall("PRAGMA wal_autocheckpoint") == [(0,)]
    bring_over, number = Checkpoints._bring_over, -1

    async def within_a_commit(self: Checkpoints, mode: str = "PASSIVE") -> tuple[int, int]:
        """Whatever is brought over: a commit that has begun before it ends after it, so that a part is left."""
        nonlocal number
        for _ in range(10):
            await asyncio.sleep(0)  # the transaction that began the checkpoint ends
        if store._writing.locked():
            return await bring_over(self, mode)
        async with store.transaction():
            await store._writer.execute("BEGIN IMMEDIATE")
            sizes = await bring_over(self, mode)
            await store._writer.execute("INSERT INTO answers VALUES (?, '', zeroblob(100), 0)", (f"within{number}",))
            await store._writer.execute("COMMIT")
        number -= 1
        return sizes

    monkeypatch.setattr(Checkpoints, "_bring_over", within_a_commit)
    for count in range(EACH * WRITERS):
        await store.save_response(response(count))
        if store._checkpoints._task is not None:
            await store._checkpoints._task
    assert number < -10
    assert os.stat(f"{store._path}-wal").st_size < 4 * RESTART_PAGES * PAGE  # noqa: PTH116


async def test_the_log_is_begun_anew_when_a_reader_has_ended(store: SqliteStore) -> None:
    with closing(sqlite3.connect(store._path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM answers").fetchone()
        longest = await fill(store)
        assert longest > WRITERS * EACH * SIZE
    for more in range(FILLS_MAX):
        await fill(store, 1 + more)
        if store._checkpoints._pages < longest / PAGE / 2:
            return
    pytest.fail(f"the log has {store._checkpoints._pages} pages")


async def test_readers_that_follow_one_another_without_a_gap_do_not_keep_the_log_for_ever(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "LOG_MAX", 2 * RESTART_PAGES * PAGE)
    await visit(store._checkpoints._db, lambda db: db.execute(f"PRAGMA busy_timeout = {WAIT_S * 1000:.0f}"))
    checkpoint, readers = checkpoints._checkpoint, list[sqlite3.Connection]()

    def read() -> None:
        reader = sqlite3.connect(store._path, isolation_level=None, check_same_thread=False)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM answers").fetchone()
        readers.append(reader)

    def waiting(db: sqlite3.Connection, mode: str) -> tuple[int, int, int]:
        """The last reader ends while it is waited for."""
        if mode == "RESTART":
            Timer(0.001, readers.pop().close).start()
        return checkpoint(db, mode)

    monkeypatch.setattr(checkpoints, "_checkpoint", waiting)
    read()
    for count in range(2 * EACH):
        await store.save_response(response(count))
        if store._checkpoints._task is not None:
            await store._checkpoints._task
        read()
        for former in readers[:-1]:
            former.close()
        del readers[:-1]
    readers[0].close()
    assert os.stat(f"{store._path}-wal").st_size < 5 * RESTART_PAGES * PAGE  # noqa: PTH116


async def test_commits_seldom_wait_for_a_reader_that_reads_on_and_on(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "LOG_MAX", 2 * RESTART_PAGES * PAGE)
    await visit(store._checkpoints._db, lambda db: db.execute("PRAGMA busy_timeout = 1"))
    checkpoint, modes = checkpoints._checkpoint, list[str]()

    def noting(db: sqlite3.Connection, mode: str) -> tuple[int, int, int]:
        modes.append(mode)
        return checkpoint(db, mode)

    monkeypatch.setattr(checkpoints, "_checkpoint", noting)
    with closing(sqlite3.connect(store._path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM answers").fetchone()
        longest = await fill(store)
    assert 1 <= modes.count("RESTART") <= (longest // checkpoints.LOG_MAX).bit_length() + 1
    assert len(modes) > 4 * modes.count("RESTART")


async def test_no_commit_makes_a_checkpoint(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "CHANGES", 1 << 40)
    monkeypatch.setattr(checkpoints, "LOG_MAX", 1 << 40)
    before = store._path.read_bytes()
    assert await fill(store) > WRITERS * EACH * SIZE
    assert store._path.read_bytes() == before

    # Rows do not tell how much was written; the file does.
    monkeypatch.setattr(checkpoints, "LOG_MAX", PAGE)
    await store.save_response(response(-1))
    task = store._checkpoints._task
    assert task is not None
    await task
    assert store._path.stat().st_size > WRITERS * EACH * SIZE


async def test_a_checkpoint_that_fails_harms_no_commit(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = 0

    def fail(_: sqlite3.Connection, _mode: str) -> tuple[int, int, int]:
        nonlocal tried
        tried += 1
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as failing, capture_logs() as logs:
        failing.setattr(checkpoints, "_checkpoint", fail)
        assert await fill(store) > WRITERS * EACH * SIZE
    assert tried > 1
    assert logs == [{"event": "checkpoint_failed", "error": "disk I/O error", "log_level": "warning"}]
    await fill(store, 1)
    assert store._path.stat().st_size > WRITERS * EACH * SIZE, "the next one succeeds"


def test_a_kill_in_the_middle_of_a_checkpoint_loses_nothing(tmp_path: Path) -> None:
    database, first = tmp_path / "store.db", 0
    for kill in range(KILLS):
        arguments = [str(database), str(1 + kill), f"{kill * 0.001}", str(first)]
        command = [sys.executable, "-c", WRITES, *arguments]
        environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PATH": ""}
        done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, cwd=ROOT, check=False)
        assert done.returncode == -9
        written = [int(line) for line in done.stdout.split()]
        with closing(sqlite3.connect(database)) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            stored = dict(db.execute("SELECT key, answer FROM answers"))
        for number in range(first, written[-1] + 1):
            assert stored[f"k-{number}"] == response(number).response
        first = written[-1] + 2  # the one after the last may have been written, too
