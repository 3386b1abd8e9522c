"""The whole transfer: copy, compare, and let servers use it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.store.compression import DamagedReceiptError
from app.store.migrations import migrations
from app.store.postgres.connection import Session, Target
from app.store.row_compression import DamagedRowError
from app.store.transfer.source import Source, opened
from app.store.transfer.tables import TABLES, Table
from app.store.transfer.target import (
    Digest,
    Position,
    TransferError,
    copy,
    filling,
    finish,
    positions,
    set_sequences,
    source_digest,
    stored_digest,
)


@dataclass(frozen=True, slots=True)
class Step:
    """How far it is."""

    phase: str
    """`copying`, `comparing`, `done`."""
    table: str
    rows: int
    """Rows of all tables in this phase."""
    total: int
    replaced: int = 0
    """Texts in which NUL was replaced, in this step."""
    digest: str = ""
    """The table's hash, which both databases have, when it is compared."""
    count: int = 0
    """How many rows have that hash."""


async def transfer(source: Path, target: Target) -> AsyncIterator[Step]:
    """Copy a database, going on where an earlier run ended; the last step is `done`.

    Raises `DatabaseInUseError` while a server runs on the source, `TransferError`, and what `migrate` does.
    """
    with _readable(source) as database:
        newest = migrations("sqlite")[-1].version
        if database.schema != newest:
            raise TransferError(
                f"{source} has schema {database.schema}, and this release copies schema {newest}: run `rescind "
                "migrate` on it first"
            )
        counts = await asyncio.to_thread(database.counts)
        total = sum(counts.values())
        async with filling(target, database) as session:
            async for step in _copy(session, database, total):
                yield step
            await set_sequences(session, await asyncio.to_thread(database.last_numbers))
            async for step in _compare(session, database, total):
                yield step
            await finish(session)
            yield Step("done", "", total, total)


@contextmanager
def _readable(path: Path) -> Iterator[Source]:
    try:
        with opened(path) as source:
            yield source
    except (sqlite3.Error, DamagedRowError, DamagedReceiptError) as error:
        raise TransferError(f"{path}: {error}; `rescind verify {path}` says what is wrong with it") from error


async def _copy(session: Session, source: Source, total: int) -> AsyncIterator[Step]:
    begun = await positions(session)
    before = 0
    for table in TABLES:
        position = begun.get(table.name, Position())
        rows = position.copied
        if not position.finished:
            async for rows, replaced in copy(session, source, table, position):
                yield Step("copying", table.name, before + rows, total, replaced)
        before += rows
    yield Step("copying", "", before, total)


async def _compare(session: Session, source: Source, total: int) -> AsyncIterator[Step]:
    before = 0
    for table in TABLES:
        expected = asyncio.create_task(asyncio.to_thread(_complete, source, table))
        try:
            async for stored in stored_digest(session, table):
                yield Step("comparing", table.name, before + stored.rows, total)
        finally:
            await asyncio.wait({expected})
        given = expected.result()
        if (given.rows, given.hex) != (stored.rows, stored.hex):
            raise TransferError(
                f"{table.name} differs: {given.rows} rows with hash {given.hex[:16]} in {source.path}, {stored.rows} "
                f"with {stored.hex[:16]} on PostgreSQL. Drop the schema {session.schema!r}, and begin anew"
            )
        before += stored.rows
        yield Step("comparing", table.name, before, total, digest=stored.hex, count=stored.rows)


def _complete(source: Source, table: Table) -> Digest:
    *_, digest = source_digest(source, table)
    return digest
