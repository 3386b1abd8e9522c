"""The file of the search index: opened, checked, rebuilt where it is not that of this log, and read.

The writing connection has the database attached, and only reads it. So have the readers: what the index finds is shown
as the log has it. Two servers cannot share an index: the lock on the database keeps the second from starting.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TypeVar

import aiosqlite
import structlog

from app.store.protocol import SearchIndexDamaged, StoreError, StoreUnavailable
from app.store.sqlite.connection import Connections, Writer, attach, connect_reader, fault_of, make_way, set_up, visit
from app.store.sqlite.files import PRIVATE, DatabaseFiles, tighten
from app.store.sqlite.index import expunging, filling
from app.store.sqlite.index.schema import SCHEMA, VERSION

T = TypeVar("T")

READERS = 2
"""Connections that searches share."""
STATEMENT_S = 2.0
"""A statement of a search is interrupted after so long; they take a twentieth of a second."""
BUSY_TIMEOUT_MS = 200
"""How long the writing connection waits for a lock: it tries again in its next round."""
_SUFFIXES = ("", "-wal", "-shm", "-journal")
_PRIMARY = 0xFF
_GENERATION = "SELECT id FROM log.log_generations ORDER BY number DESC LIMIT 1"
_FIRST_STATE = f"""INSERT INTO state (generation, filled_to, last_key, noticed_to)
    SELECT ({_GENERATION}), 0, 0, (SELECT coalesce(max(seq), 0) FROM log.events);"""
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

log = structlog.get_logger()


def index_path(database: Path) -> Path:
    """Where the index of a database is: `rescind-index.db` beside `rescind.db`."""
    return database.with_name(f"{database.stem}-index{database.suffix}")


def remove_index(database: Path) -> None:
    """Delete the index of a database: it is rebuilt when a server starts. Raises `StoreUnavailable`."""
    try:
        for suffix in _SUFFIXES:
            Path(f"{index_path(database)}{suffix}").unlink(missing_ok=True)
    except OSError as error:
        raise _of_system(error) from error


@dataclass(frozen=True, slots=True)
class IndexState:
    """How far the index is."""

    filled_to: int
    parts: tuple[tuple[int, str], ...]
    """(number, full-text table) of each part, the newest first."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one piece of work came to."""

    events: int
    took_s: float
    behind: int
    idle: bool
    erasing: bool


class IndexFile:
    """The open index of a database."""

    def __init__(self, path: Path, writer: Writer, readers: Connections) -> None:
        self._writer, self._readers = writer, readers
        self._files = DatabaseFiles(path)
        self._damage = ""
        """What a search met with."""
        self._turn = 0

    @classmethod
    async def open(cls, database: Path) -> IndexFile:
        """Open the index of a database, made anew if there is none of this log. Raises `StoreError`."""
        path = index_path(database)
        try:
            with _faults():
                writer = await _open_writer(path, database)
        except (SearchIndexDamaged, _UnfitError) as error:
            log.info("search_index_rebuilt", file=str(path), because=str(error))
            remove_index(database)
            with _faults():
                writer = await _open_writer(path, database)
        opened: list[aiosqlite.Connection] = []
        try:
            with _faults():
                for _ in range(READERS):
                    reader = await connect_reader(path, behind=True)
                    opened.append(reader)
                    await attach(reader, database, "log")
                return cls(path, writer, Connections(opened))
        except BaseException:
            for connection in (*opened, writer):
                await connection.close()
            raise

    async def close(self) -> None:
        """Close the file when no search uses it any more."""
        await self._readers.close()
        with suppress(sqlite3.Error):
            await self._writer.execute("PRAGMA optimize")
        await self._writer.close()

    async def work(self, rows: int) -> Step:
        """Do the next piece of work: index or expunge at most `rows` events, or tidy. Raises `StoreError`."""
        fault = self._damage or self._files.fault()
        if fault:
            raise SearchIndexDamaged(fault)
        self._turn += 1
        with _faults():
            return await self._writer.visit(lambda db: _work(db, rows, expunging_first=self._turn % 2 == 0))

    @asynccontextmanager
    async def borrow(self) -> AsyncIterator[aiosqlite.Connection]:
        """A connection with the index as `main` and the database as `log`. Raises `StoreError`."""
        try:
            async with self._readers.borrow(limit_s=STATEMENT_S) as db:
                yield db
        except StoreError as error:
            if not isinstance(error.__cause__, sqlite3.Error):
                raise
            fault = index_fault(error.__cause__)
            if isinstance(fault, SearchIndexDamaged):
                self._damage = str(fault)  # the next piece of work tells the indexer
            raise fault from error.__cause__

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on the thread of a reading connection, in one snapshot. Raises `StoreError`."""

        def read(connection: sqlite3.Connection) -> T:
            connection.execute("BEGIN")
            try:
                return work(connection)
            finally:
                connection.execute("ROLLBACK")

        async with self.borrow() as db:
            return await visit(db, read)


def read_state(db: sqlite3.Connection) -> IndexState:
    """How far the index is now."""
    (filled_to,) = db.execute("SELECT filled_to FROM state").fetchone()
    parts = db.execute("SELECT id, words FROM parts ORDER BY id DESC").fetchall()
    return IndexState(filled_to, tuple(parts))


def _work(db: sqlite3.Connection, rows: int, *, expunging_first: bool) -> Step:
    began = perf_counter()
    db.execute("BEGIN IMMEDIATE")
    try:
        expunging.notice(db)
        is_expunging, events = expunging.expunge(db, rows) if expunging_first else (False, 0)
        is_done = is_expunging
        if not is_done:
            events = filling.fill(db, rows)
            is_done = bool(events)
        if not is_done and not expunging_first:
            is_expunging, events = expunging.expunge(db, rows)
            is_done = is_expunging
        unclean = expunging.is_unclean(db)
        if not is_done and not unclean:
            is_done = filling.merge_complete(db)
        (behind,) = db.execute(
            "SELECT max(0, coalesce((SELECT max(seq) FROM log.events), 0) - filled_to) FROM state"
        ).fetchone()
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise
    # Also where events come in all the time: every other piece finds nothing more to expunge.
    if unclean and not is_expunging and (expunging_first or not is_done):
        unclean = not expunging.finish(db)
        is_done = is_done or not unclean
    return Step(events, perf_counter() - began, behind, idle=not is_done, erasing=unclean)


class _UnfitError(Exception):
    """The file is of another version or of another log."""


@contextmanager
def _faults() -> Iterator[None]:
    """Raise the errors of the protocol for those of SQLite and of the system."""
    try:
        yield
    except sqlite3.Error as error:
        raise index_fault(error) from error
    except OSError as error:
        raise _of_system(error) from error


def index_fault(error: sqlite3.Error) -> StoreError:
    """The error of the protocol."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None and code & _PRIMARY in _DAMAGE:
        return SearchIndexDamaged(f"SQLite: {error}")
    return fault_of(error)


def _of_system(error: OSError) -> StoreUnavailable:
    return StoreUnavailable(f"{error.filename}: {error.strerror}" if error.filename else str(error))


async def _open_writer(path: Path, database: Path) -> Writer:
    """Raises `sqlite3.Error` if the file is damaged, `_UnfitError` if it is of another version or log."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE))
    for suffix in _SUFFIXES:
        tighten(Path(f"{path}{suffix}"))

    def connect() -> sqlite3.Connection:
        make_way()
        return sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, isolation_level=None)

    writer = Writer(connect, 64)
    # What is lost with the power is indexed again; a page that was written by half is not kept.
    durable = ("journal_mode = WAL", "synchronous = NORMAL", "wal_autocheckpoint = 1000")
    await set_up(writer, (f"busy_timeout = {BUSY_TIMEOUT_MS}", "page_size = 8192", *durable, "secure_delete = ON"))
    try:
        await attach(writer, database, "log")
        await writer.visit(lambda db: _require_fit(db, path))
        await writer.visit(filling.prepare)
    except BaseException:
        await writer.close()
        raise
    return writer


def _require_fit(db: sqlite3.Connection, path: Path) -> None:
    """Make the tables in an empty file. Raises `_UnfitError`."""
    (generation,) = db.execute(_GENERATION).fetchone()
    (version,) = db.execute("PRAGMA main.user_version").fetchone()
    tables = {name for (name,) in db.execute("SELECT name FROM main.sqlite_schema")}
    if not tables:
        db.executescript(f"BEGIN;{SCHEMA}{_FIRST_STATE}COMMIT;")
        return
    if not {"state", "parts", "order_names"} <= tables:
        # Nobody's data is deleted for an index.
        raise StoreUnavailable(f"{path} is a database, but no search index: move it away, or rename the database")
    if version != VERSION:
        raise _UnfitError(f"it is of version {version}, and this release makes version {VERSION}")
    state = db.execute("SELECT generation, filled_to, last_key FROM state").fetchone()
    if state is None:
        raise _UnfitError("it does not say of which log it is")  # made by a release that was killed meanwhile
    of, filled_to, last_key = state
    if of != generation:
        raise _UnfitError("it is of another generation of the log")
    row = db.execute("SELECT key FROM log.events WHERE seq = ?", (filled_to,)).fetchone()
    if filled_to and (row is None or row[0] != last_key):
        raise _UnfitError("it is of another log")
