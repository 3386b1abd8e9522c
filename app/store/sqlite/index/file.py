"""The file of the search index: opened, checked, rebuilt where it is not that of this log, and read.

The writing connection has the database attached, and only reads it. So have the readers: what the index finds is shown
as the log has it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiosqlite
import structlog

from app.store.sqlite.connection import Connections, Writer, attach, connect_reader, fault_of, set_up
from app.store.sqlite.files import PRIVATE, tighten
from app.store.sqlite.index import filling
from app.store.sqlite.index.schema import SCHEMA, VERSION

READERS = 2
"""Connections that searches share."""
_SUFFIXES = ("", "-wal", "-shm", "-journal")

log = structlog.get_logger()


def index_path(database: Path) -> Path:
    """Where the index of a database is: `rescind-index.db` beside `rescind.db`."""
    return database.with_name(f"{database.stem}-index{database.suffix}")


def remove_index(database: Path) -> None:
    """Delete the index of a database: it is rebuilt when a server starts."""
    for suffix in _SUFFIXES:
        Path(f"{index_path(database)}{suffix}").unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class IndexState:
    """How far the index is."""

    filled_to: int
    parts: tuple[tuple[int, str], ...]
    """(number, full-text table) of each part, the newest first."""


class IndexFile:
    """The open index of a database."""

    def __init__(self, writer: Writer, readers: Connections) -> None:
        self._writer, self._readers = writer, readers

    @classmethod
    async def open(cls, database: Path) -> IndexFile:
        """Open the index of a database, made anew if there is none of this log. Raises `StoreError`."""
        path = index_path(database)
        try:
            writer = await _open_writer(path, database)
        except (sqlite3.Error, _UnfitError) as error:
            log.info("search_index_rebuilt", file=str(path), because=str(error))
            remove_index(database)
            try:
                writer = await _open_writer(path, database)
            except sqlite3.Error as fault:
                raise fault_of(fault) from fault
        opened: list[aiosqlite.Connection] = []
        try:
            for _ in range(READERS):
                reader = await connect_reader(path)
                opened.append(reader)
                await attach(reader, database, "log")
        except BaseException as error:
            for connection in (*opened, writer):
                await connection.close()
            if isinstance(error, sqlite3.Error):
                raise fault_of(error) from error
            raise
        return cls(writer, Connections(opened))

    async def close(self) -> None:
        """Close the file."""
        await self._readers.close()
        with suppress(sqlite3.Error):
            await self._writer.execute("PRAGMA optimize")
        await self._writer.close()

    async def fill(self, rows: int) -> filling.Filled:
        """Index the next events of the log, at most `rows`. Raises `StoreError`."""
        try:
            return await self._writer.visit(lambda db: filling.fill(db, rows))
        except sqlite3.Error as error:
            raise fault_of(error) from error

    async def refill(self, rows: int) -> filling.Filled:
        """Fill parts anew whose words must go, by at most `rows` events."""
        try:
            return await self._writer.visit(lambda db: filling.refill(db, rows))
        except sqlite3.Error as error:
            raise fault_of(error) from error

    @asynccontextmanager
    async def borrow(self) -> AsyncIterator[aiosqlite.Connection]:
        """A connection with the index as `main` and the database as `log`. Raises `StoreError`."""
        async with self._readers.borrow() as db:
            yield db

    async def state(self) -> IndexState:
        """How far the index is now."""
        async with self.borrow() as db:
            return await read_state(db)


async def read_state(db: aiosqlite.Connection) -> IndexState:
    """How far the index is now."""
    [(filled_to,)] = await db.execute_fetchall("SELECT filled_to FROM state")
    parts = await db.execute_fetchall("SELECT id, words FROM parts ORDER BY id DESC")
    return IndexState(filled_to, tuple((id, words) for id, words in parts))


class _UnfitError(Exception):
    """The file is of another version or of another log."""


async def _open_writer(path: Path, database: Path) -> Writer:
    """Raises `sqlite3.Error` if the file is damaged, `_UnfitError` if it is of another version or log."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE))
    for suffix in _SUFFIXES:
        tighten(Path(f"{path}{suffix}"))
    writer = Writer(lambda: sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, isolation_level=None), 64)
    # What is lost with the power is indexed again; a page that was written by half is not kept.
    await set_up(
        writer, ("page_size = 8192", "journal_mode = WAL", "synchronous = NORMAL", "wal_autocheckpoint = 1000")
    )
    try:
        await writer.execute("PRAGMA secure_delete = ON")
        await attach(writer, database, "log")
        await writer.visit(_require_fit)
        await writer.visit(filling.prepare)
    except BaseException:
        await writer.close()
        raise
    return writer


def _require_fit(db: sqlite3.Connection) -> None:
    """Make the tables in an empty file. Raises `_UnfitError`."""
    (generation,) = db.execute("SELECT id FROM log.log_generations ORDER BY number DESC LIMIT 1").fetchone()
    (version,) = db.execute("PRAGMA main.user_version").fetchone()
    if not version and not db.execute("SELECT count(*) FROM main.sqlite_schema").fetchone()[0]:
        db.executescript(f"BEGIN;{SCHEMA}COMMIT;")
        db.execute("INSERT INTO state (generation, filled_to, last_key) VALUES (?, 0, 0)", (generation,))
        return
    if version != VERSION:
        raise _UnfitError(f"it is of version {version}, and this release makes version {VERSION}")
    of, filled_to, last_key = db.execute("SELECT generation, filled_to, last_key FROM state").fetchone()
    if of != generation:
        raise _UnfitError("it is of another generation of the log")
    row = db.execute("SELECT key FROM log.events WHERE seq = ?", (filled_to,)).fetchone()
    if filled_to and (row is None or row[0] != last_key):
        raise _UnfitError("it is of another log")
