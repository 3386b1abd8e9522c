"""The database of commands that work on it themselves: a SQLite file, or a schema of a PostgreSQL database."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from app.cli.failure import Failure

if TYPE_CHECKING:
    import aiosqlite

    from app.config.settings import Settings
    from app.store import Reader

DOCS = "docs/operations/postgresql.md"
"""Where an operator of PostgreSQL reads on."""


def require_file(settings: Settings, what: str, instead: str) -> Path:
    """The SQLite file of a command that works on nothing else. Raises `Failure` with what to do on PostgreSQL."""
    if settings.is_shared:
        raise Failure(f"{what} on a SQLite file, and RESCIND_DATABASE_URL is PostgreSQL: {instead} ({DOCS}).")
    return settings.database_path


def require_existing(settings: Settings) -> None:
    """Raise `Failure` if the SQLite file does not exist, which opening it would make."""
    if not settings.is_shared and not settings.database_path.is_file():
        raise Failure(f"There is no database at {settings.database_path} (RESCIND_DATABASE_URL).")


async def schema_version(path: Path) -> int:
    """The schema of a SQLite database, 0 if it does not exist. Raises `SchemaTooNewError`."""
    from app.store.migrations import migrate, migrations, version

    if not await asyncio.to_thread(path.is_file):
        return 0
    async with reading(path) as db:
        schema = await version(db)
        if schema > migrations("sqlite")[-1].version:
            await migrate(db)  # raises the error, which says what to do
        return schema


@asynccontextmanager
async def reading(path: Path) -> AsyncIterator[aiosqlite.Connection]:
    """A SQLite database, opened read-only; a server may have it open as well."""
    from app.store.sqlite.connection import connect_alone

    db = await connect_alone(path)
    try:
        yield db
    finally:
        await db.close()


@asynccontextmanager
async def open_reader(settings: Settings) -> AsyncIterator[Reader]:
    """The queries of the database that is set up; servers may have it open as well."""
    from app.store.opening import reading_store

    async with reading_store(settings.database) as reader:
        yield reader
