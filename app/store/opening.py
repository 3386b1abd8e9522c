"""Opening the database that is set up: a SQLite file, or a schema of a PostgreSQL database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

from app.store.migrations import ignore_status
from app.store.postgres.connection import Target
from app.store.postgres.snapshots import hold_snapshot, read_snapshot
from app.store.postgres.store import open_postgres, reading_postgres
from app.store.protocol import Reader, Store
from app.store.sqlite import SqliteReader, open_sqlite
from app.store.sqlite.connection import connect_alone

Database = Path | Target
"""Where the database is."""
TOOL_READERS = 2
"""Connections of a tool: some read on one, and look up on the other what they read."""


async def open_store(
    database: Database, tell: Callable[[str], None] = ignore_status, *, migrates: bool = False
) -> Store:
    """Open the database. A SQLite file is made and migrated as needed, a PostgreSQL schema with `migrates`.

    `tell` hears what it does, if that takes long. Raises what `open_sqlite` and `open_postgres` do.
    """
    if isinstance(database, Path):
        return await open_sqlite(database, tell)
    return cast("Store", await open_postgres(database, tell, migrates=migrates))


@asynccontextmanager
async def holding_snapshot(database: Database) -> AsyncIterator[str]:
    """Hold a snapshot that processes can read together, each by `reading_alone`; "" on SQLite, which has none."""
    if isinstance(database, Path):
        yield ""
        return
    async with hold_snapshot(database) as snapshot:
        yield snapshot


@asynccontextmanager
async def reading_alone(database: Database, snapshot: str) -> AsyncIterator[Reader]:
    """The database for one of several processes that read the same, on one connection."""
    if isinstance(database, Path):
        db = await connect_alone(database)
        try:
            yield SqliteReader([db])
        finally:
            await db.close()
        return
    async with read_snapshot(database, snapshot) as reader:
        yield cast("Reader", reader)


@asynccontextmanager
async def reading_store(database: Database) -> AsyncIterator[Reader]:
    """The database for a tool that only reads; a server may have it open as well."""
    if not isinstance(database, Path):
        async with reading_postgres(database) as shared:
            yield cast("Reader", shared)
        return
    opened = [await connect_alone(database) for _ in range(TOOL_READERS)]
    try:
        yield SqliteReader(opened)
    finally:
        for db in opened:
            await db.close()
