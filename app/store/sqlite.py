"""The store on SQLite: one connection that writes, several that read, WAL, every commit on disk."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, TypeVar

import aiosqlite

from app.core.cancellation import Cancellation
from app.store import (
    ApiKey,
    Awakening,
    Backtest,
    CaseWrite,
    Resource,
    ResourceChange,
    StoredAnswer,
    StoreError,
    codec,
)
from app.store.migrations import migrate
from app.store.sqlite_reader import SqliteReader
from app.store.sqlite_transaction import (
    SqliteTransaction,
    Writer,
    awakening_statements,
    begin,
    cancellation_statements,
    case_statements,
)

T = TypeVar("T")

READERS = 3


class DatabaseInUseError(Exception):
    """The database file is in use by another Rescind process; stop that one, or use PostgreSQL for several."""


class SqliteStore(SqliteReader):
    """`Store` on a SQLite file."""

    def __init__(self, writer: Writer, readers: list[aiosqlite.Connection], lock: IO[str] | None) -> None:
        super().__init__(readers)
        self._writer = writer
        self._file_lock = lock
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[SqliteTransaction]:
        """See `Store.transaction`."""
        async with self._turn:
            try:
                yield SqliteTransaction(self._writer)
            except sqlite3.Error as error:
                raise StoreError(f"SQLite: {error}") from error
            finally:
                # Shielded: a canceled task must not leave the one writer inside a transaction.
                await asyncio.shield(self._end())

    async def save_resources(
        self,
        put: Sequence[Resource],
        removed: Sequence[tuple[str, str]],
        trail: Sequence[ResourceChange],
        awakenings: Sequence[Awakening] = (),
    ) -> None:
        """See `Store.save_resources`."""

        def work(db: sqlite3.Connection) -> None:
            for each in put:
                row = (each.kind, each.id, each.version, codec.micros(each.updated_at), each.updated_by, each.body)
                db.execute("INSERT OR REPLACE INTO resources VALUES (?, ?, ?, ?, ?, ?)", row)
            db.executemany("DELETE FROM resources WHERE kind = ? AND id = ?", removed)
            for change in trail:
                body, at = codec.to_json(change.body), codec.micros(change.at)
                line = (change.kind, change.id, change.version, at, change.by, change.action, body)
                db.execute("INSERT INTO resource_changes VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", line)
            for sql, values in awakening_statements(awakenings):
                db.execute(sql, values)

        await self._write(work)

    async def save_backtest(self, backtest: Backtest) -> None:
        """See `Store.save_backtest`."""
        row = (backtest.id, backtest.policy, backtest.substance, codec.micros(backtest.at), backtest.by)
        values = (*row, codec.to_json(backtest.report))
        await self._write(lambda db: db.execute("INSERT INTO backtests VALUES (?, ?, ?, ?, ?, ?)", values).rowcount)

    async def save_key(self, key: ApiKey, answer: StoredAnswer | None) -> None:
        """See `Store.save_key`."""

        def work(db: sqlite3.Connection) -> None:
            row = (key.id, key.name, key.scope, key.hash, codec.micros(key.created_at), key.created_by)
            db.execute("INSERT INTO api_keys VALUES (?, ?, ?, ?, ?, ?, NULL)", row)
            if answer is not None:
                _save_answer(db, answer)

        await self._write(work)

    async def save_answer(self, answer: StoredAnswer) -> None:
        """See `Store.save_answer`."""
        await self._write(lambda db: _save_answer(db, answer))

    async def revoke_key(self, id: str, at: datetime) -> bool:
        """See `Store.revoke_key`."""
        sql = "UPDATE api_keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL"
        return await self._write(lambda db: db.execute(sql, (codec.micros(at), id)).rowcount > 0)

    async def replace_cases(
        self, writes: Sequence[CaseWrite], cancellations: Sequence[tuple[int, Cancellation]]
    ) -> None:
        """See `Store.replace_cases`."""

        def work(db: sqlite3.Connection) -> None:
            for sql, values in (*case_statements(writes), *cancellation_statements(cancellations)):
                db.execute(sql, values)

        await self._write(work)

    async def close(self) -> None:
        """See `Store.close`."""
        await super().close()
        await self._writer.close()
        if self._file_lock is not None:
            self._file_lock.close()

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work` in a transaction of its own."""

        def whole(db: sqlite3.Connection) -> T:
            begin(db)
            result = work(db)
            db.execute("COMMIT")
            return result

        async with self.transaction():
            return await self._writer.visit(whole)

    async def _end(self) -> None:
        if self._writer.in_transaction:
            await self._writer.rollback()


def _save_answer(db: sqlite3.Connection, answer: StoredAnswer) -> None:
    given = (answer.key, answer.digest, answer.answer, codec.micros(answer.created_at))
    db.execute("INSERT INTO answers VALUES (?, ?, ?, ?)", given)


async def open_sqlite(path: Path) -> SqliteStore:
    """Open the database at `path`, made and migrated as needed.

    Raises `DatabaseInUseError` if another process has it, `SchemaTooNewError` if a later release made it, `StoreError`
    if it is no database.
    """
    path = _prepared(path)
    lock = _lock(path)
    opened: list[aiosqlite.Connection] = []
    try:
        writer = await _connect_writer(path)
        opened.append(writer)
        await migrate(writer)
        opened += [await _connect_reader(path) for _ in range(READERS)]
    except BaseException as error:
        for connection in opened:
            await connection.close()
        lock.close()
        if isinstance(error, sqlite3.Error):
            raise StoreError(f"{path} cannot be opened: {error}") from error
        raise
    return SqliteStore(writer, opened[1:], lock)


def _prepared(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.resolve()


def _lock(path: Path) -> IO[str]:
    """Hold the lock file beside the database. The system frees it when the process ends, however it ends."""
    lock = Path(f"{path}.lock").open("a+")  # noqa: SIM115 - held for as long as the store is open
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise DatabaseInUseError(
            f"{path} is in use by another rescind process (pid {holder}): stop that one, or use PostgreSQL for several"
        ) from error
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


async def _connect_writer(path: Path) -> Writer:
    if sqlite3.sqlite_version_info < (3, 38):
        raise RuntimeError(f"SQLite {sqlite3.sqlite_version} is too old: Rescind needs 3.38 or later")
    # A receipt is about 1 KB: in larger pages less room is left over, and a commit has fewer pages to write.
    kept = ("journal_mode = WAL", "wal_autocheckpoint = 2000", "synchronous = FULL", "journal_size_limit = 67108864")
    db = Writer(lambda: _open(path, "rwc"), iter_chunk_size=64)
    await _set_up(db, ("page_size = 8192", *_PRAGMAS, *kept))
    return db


async def _connect_reader(path: Path) -> aiosqlite.Connection:
    db = aiosqlite.Connection(lambda: _open(path, "ro"), iter_chunk_size=64)
    await _set_up(db, _PRAGMAS)
    return db


async def _set_up(db: aiosqlite.Connection, pragmas: Sequence[str]) -> None:
    await db
    try:
        for pragma in pragmas:
            await db.execute(f"PRAGMA {pragma}")
    except BaseException:
        await db.close()  # its thread would keep the process from ending
        raise


_PRAGMAS = ("busy_timeout = 10000", "cache_size = -65536", "temp_store = MEMORY", "mmap_size = 268435456")


def _open(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode={mode}", uri=True, isolation_level=None, cached_statements=1024)
