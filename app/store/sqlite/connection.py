"""Connections to SQLite: how they are opened, who uses which, and what their errors mean."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

from app.store.pieces import Lists
from app.store.protocol import StoreConflict, StoreError, StoreInterrupted, StoreUnavailable
from app.store.records import Rows
from app.store.sqlite.functions import add_functions
from app.store.use import Use

T = TypeVar("T")

BUSY_TIMEOUT_MS = 4000
"""How long a statement waits for another program's lock, and so how long a command waits at most to be recorded."""

TRUNCATE_TIMEOUT_MS = 200
"""How long it waits for readers at most, with the writers behind it, that the log is truncated or begun anew."""

LOG_MAX = 64 << 20
"""Bytes that the write-ahead log keeps when it is begun anew."""

FULL = "synchronous = FULL"

READERS = {Use.LOOKUPS: 2, Use.WORK: 2, Use.LISTS: 2, Use.SEARCHES: 1, Use.DELIVERIES: 2, Use.LOG: 1}
"""How many connections a running server has for each use."""


BEHIND = frozenset({Use.LISTS, Use.SEARCHES, Use.LOG})
"""Uses of people who look: the threads of these connections make way."""
BEHIND_BY = 10
"""Niceness: where all want the processor, they get a tenth of what the others get. (Twenty searches at once made
webhooks wait twice as long without it.)"""


Readers = Sequence[aiosqlite.Connection] | Mapping[Use, Sequence[aiosqlite.Connection]]
"""Connections by use; or connections that all uses share, for a tool that runs one query at a time."""


class Connections:
    """Reading connections by use, each lent to one query at a time."""

    def __init__(self, readers: Readers) -> None:
        pools = readers if isinstance(readers, Mapping) else {Use.LISTS: readers}
        idle: dict[Use, asyncio.LifoQueue[aiosqlite.Connection]] = {
            use: asyncio.LifoQueue(len(pool)) for use, pool in pools.items()
        }
        for use, pool in pools.items():
            for reader in pool:
                idle[use].put_nowait(reader)
        self._idle = {use: idle.get(use) or idle[Use.LISTS] for use in Use}
        self._pools = list(idle.values())
        self._closed = False

    async def close(self) -> None:
        """Close the reading connections, each after the query that uses it; who waits for one is told."""
        self._closed = True
        for pool in self._pools:
            readers = [await pool.get() for _ in range(pool.maxsize)]
            for reader in readers:
                await reader.close()
                pool.put_nowait(reader)

    async def fetch(self, sql: str, values: Sequence[Any] | dict[str, Any] = (), use: Use = Use.LISTS) -> Rows:
        """All rows that a query gives."""
        async with self.borrow(use) as db:
            return [tuple(row) for row in await db.execute_fetchall(sql, values)]

    @asynccontextmanager
    async def snapshot(self, use: Use = Use.LISTS) -> AsyncIterator[aiosqlite.Connection]:
        """A connection on which several statements see the same rows."""
        async with self.borrow(use) as connection:
            try:
                await connection.execute("BEGIN")
                yield connection
            finally:
                await connection.rollback()  # also what was begun for a caller that was canceled meanwhile

    @asynccontextmanager
    async def borrow(self, use: Use = Use.LISTS, limit_s: float | None = None) -> AsyncIterator[aiosqlite.Connection]:
        """A connection for several queries in a row. Raises the errors of the protocol for those of SQLite.

        Args:
            use: what it is for.
            limit_s: after so many seconds the statement that runs is interrupted: `StoreInterrupted`.
        """
        idle = self._idle[use]
        db = await idle.get()
        timer = None
        try:
            if self._closed:
                raise StoreUnavailable("the database is closed")
            if limit_s is not None:
                timer = asyncio.get_running_loop().call_later(limit_s, interrupt, db)
            yield db
        except sqlite3.Error as error:
            raise fault_of(error) from error
        except asyncio.CancelledError:
            interrupt(db)  # nobody waits for the result, and others for the connection
            raise
        finally:
            if timer is not None:
                timer.cancel()
            idle.put_nowait(db)


class Queries:
    """Queries on connections that cannot write: the base of each subject's class in `read`."""

    def __init__(self, readers: Readers) -> None:
        self._db = Connections(readers)
        self._lists: Lists = self._db

    async def close(self) -> None:
        """Close the connections."""
        await self._db.close()


class Writer(aiosqlite.Connection):
    """The connection that writes, with a way to do several things in one visit to its thread."""

    async def visit(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on the connection's thread."""
        return await visit(self, work)


async def visit(db: aiosqlite.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    """Run `work` on the connection's thread."""
    result: T = await db._execute(work, db._conn)  # type: ignore[no-untyped-call]  # noqa: SLF001
    return result


def interrupt(db: aiosqlite.Connection) -> None:
    """End the statement that runs on the connection's thread, if one does."""
    db._conn.interrupt()  # noqa: SLF001 - its own method is a coroutine, and a timer calls this


async def connect_writer(path: Path) -> Writer:
    """The one connection that writes; it makes the file if there is none."""
    if sqlite3.sqlite_version_info < (3, 38):
        raise RuntimeError(f"SQLite {sqlite3.sqlite_version} is too old: Rescind needs 3.38 or later")
    # Compressed, rows are some hundred bytes: larger pages waste no less space, and a commit that puts names anywhere
    # in their table writes twice as much.
    # What is deleted or replaced is overwritten, as it may be personal data: no measurable cost.
    secure = ("secure_delete = ON",)
    durable = ("journal_mode = WAL", "wal_autocheckpoint = 2000", FULL, f"journal_size_limit = {LOG_MAX}")
    db = Writer(lambda: _open(path, "rwc"), iter_chunk_size=64)
    await set_up(db, ("page_size = 4096", *durable, *secure))
    return db


async def connect_reader(path: Path, *, behind: bool = False) -> aiosqlite.Connection:
    """A connection that cannot write; with `behind`, one whose thread makes way for others."""

    def connect() -> sqlite3.Connection:
        if behind:
            make_way()
        return _open(path, "ro")

    db = aiosqlite.Connection(connect, iter_chunk_size=64)
    await set_up(db, ())
    return db


async def connect_alone(path: Path) -> aiosqlite.Connection:
    """A connection that cannot write, of a program without the store; a server may have the database open as well."""
    uri = await asyncio.to_thread(lambda: path.absolute().as_uri())
    db = await aiosqlite.connect(f"{uri}?mode=ro", uri=True, isolation_level=None)
    await visit(db, add_functions)
    return db


async def connect_checkpointer(path: Path, writer: Writer) -> aiosqlite.Connection:
    """A connection for checkpoints, which the one that writes makes no more."""
    await writer.execute("PRAGMA wal_autocheckpoint = 0")
    db = aiosqlite.Connection(lambda: _open(path, "rw"), iter_chunk_size=1)
    await set_up(db, (FULL, f"busy_timeout = {TRUNCATE_TIMEOUT_MS}"))
    return db


def make_way() -> None:
    """Let threads that serve webhooks and cancels have the processor before this one.

    On Linux, where a thread has a priority of its own.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with suppress(OSError):  # forbidden: it works all the same
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + BEHIND_BY)


def checkpoint(path: Path) -> None:
    """Bring what is in the write-ahead log into the database, as far as nobody needs it, while others write.

    On a connection of its own: the one that writes would do it within a commit, which webhooks wait for.
    """
    with closing(_open(path, "rw")) as db:
        db.execute(f"PRAGMA {FULL}")
        db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def truncate_log(path: Path) -> bool:
    """Bring the write-ahead log into the database and empty it; False if somebody still reads it."""
    checkpoint(path)
    with closing(_open(path, "rw")) as db:
        for pragma in (FULL, f"busy_timeout = {TRUNCATE_TIMEOUT_MS}"):
            db.execute(f"PRAGMA {pragma}")
        try:
            (busy, *_), *_ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.OperationalError:
            return False  # locked
        return not busy


async def attach(db: aiosqlite.Connection, database: Path, name: str) -> None:
    """Let the connection read another database too, under that name."""
    await db.execute(f"ATTACH ? AS {name}", (f"{database.as_uri()}?mode=ro",))
    await db.execute(f"PRAGMA {name}.cache_size = -32768")
    await db.execute(f"PRAGMA {name}.mmap_size = 268435456")


async def set_up(db: aiosqlite.Connection, pragmas: Sequence[str]) -> None:
    """Open a connection; with `pragmas` after those that all have."""
    await db
    try:
        # One visit to the connection's thread: a server opens a dozen connections.
        await db.executescript("".join(f"PRAGMA {pragma};" for pragma in (*_pragmas(), *pragmas)))
        await visit(db, add_functions)
    except BaseException:
        await db.close()  # its thread would keep the process from ending
        raise


def _pragmas() -> tuple[str, ...]:
    memory = ("cache_size = -65536", "temp_store = MEMORY", "mmap_size = 268435456")
    return (f"busy_timeout = {BUSY_TIMEOUT_MS}", *memory)


def _open(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode={mode}", uri=True, isolation_level=None, cached_statements=1024)


_DATA = frozenset(
    {
        sqlite3.SQLITE_ERROR,  # a malformed statement: splitting the commit ends quickly, as nothing waits for a lock
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_TOOBIG,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_RANGE,
    }
)
_PRIMARY = 0xFF
"""The lowest byte of an extended result code is the primary code."""


def fault_of(error: sqlite3.Error) -> StoreError:
    """The error of the protocol: `StoreConflict` if the data caused it, else `StoreUnavailable` (locked, full, I/O)."""
    code = getattr(error, "sqlite_errorcode", None)
    # Errors without a code come from the sqlite3 module: a value that it cannot bind, or a closed connection.
    if code is not None and code & _PRIMARY == sqlite3.SQLITE_INTERRUPT:
        return StoreInterrupted("the query took too long, and was interrupted")
    whole = "closed" in str(error) if code is None else code & _PRIMARY not in _DATA
    return (StoreUnavailable if whole else StoreConflict)(f"SQLite: {error}")
