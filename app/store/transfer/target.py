"""The schema on PostgreSQL that is filled, with how far that is in a table of its own: servers refuse it until then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

import msgspec

from app.runtime import ids
from app.store.postgres.access import open_first
from app.store.postgres.connection import Session, Target
from app.store.postgres.errors import ERRORS, fault_of
from app.store.postgres.migrate import TRANSFER, migrate
from app.store.postgres.partitions import PARTITIONED, first_id, make_ahead, month_after, partition_of
from app.store.protocol import StoreError
from app.store.transfer.source import Source
from app.store.transfer.tables import EVENTS_SEQUENCE, TABLES, Row, Table

_LOCK = "SELECT pg_try_advisory_lock(hashtextextended('rescind transfer ' || $1, 0))"
_SET_UP = f"""CREATE TABLE IF NOT EXISTS @{TRANSFER} (
    what     text COLLATE "C" PRIMARY KEY, -- a table; 'source': the generation of the log that is copied
    position bytea NOT NULL,               -- the key of the last row that is copied
    copied   bigint NOT NULL,
    finished boolean NOT NULL
)"""
_SOURCE = "source"
_READ_AT_ONCE = 500
_MODULUS = 1 << 256


class TransferError(StoreError):
    """It cannot be copied; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far a table is."""

    after: Row = ()
    copied: int = 0
    finished: bool = False


class Digest:
    """A hash of rows in whatever order: the sum of the hashes of each. With their number, nothing is left to chance."""

    def __init__(self) -> None:
        self.rows, self._sum = 0, 0

    def add(self, row: Row) -> None:
        """Add a row."""
        self.rows += 1
        self._sum = (self._sum + int.from_bytes(sha256(msgspec.msgpack.encode(row)).digest())) % _MODULUS

    @property
    def hex(self) -> str:
        """The hash."""
        return f"{self._sum:064x}"


@asynccontextmanager
async def filling(target: Target, source: Source) -> AsyncIterator[Session]:
    """The schema, made if there is none, and empty or filled halfway from the same database.

    Raises `TransferError`, and what `migrate` does.
    """
    await migrate(target)
    session = await open_first(target.direct_url or target.url, target.schema)
    try:
        if not await session.value(_LOCK, target.schema):
            raise TransferError(f"another process fills the schema {target.schema!r} already")
        await _begin(session, source)
        yield session
    except ERRORS as error:
        raise fault_of(error) from error
    finally:
        session.raw.terminate()


async def _begin(session: Session, source: Source) -> None:
    identity = source.identity().encode()
    async with session.raw.transaction():
        if await session.value("SELECT to_regclass($1) IS NULL", session.named(TRANSFER)):
            for table in ("events", "orders", "receipts", "resources", "api_keys", "nodes"):
                if await session.value(f"SELECT EXISTS (SELECT FROM @{table})"):
                    raise TransferError(
                        f"the schema {session.schema!r} is in use, it has {table}: give another one "
                        "(RESCIND_DATABASE_SCHEMA), or drop it first"
                    )
            await session.script(_SET_UP)
            sql = f"INSERT INTO @{TRANSFER} (what, position, copied, finished) VALUES ($1, $2, 0, false)"
            await session.run(sql, _SOURCE, identity)
            # Made with the schema; the copied one has its own.
            await session.script("DELETE FROM @log_generations")
            await _partition(session, source.earliest())
        elif await session.value(f"SELECT position FROM @{TRANSFER} WHERE what = $1", _SOURCE) != identity:
            raise TransferError(
                f"the schema {session.schema!r} is filled halfway from another database: drop it first "
                f"(DROP SCHEMA ... CASCADE), or give another one (RESCIND_DATABASE_SCHEMA)"
            )


async def _partition(session: Session, earliest: dict[str, int]) -> None:
    """Make a partition for each month from the earliest row on, so that old months can be dropped."""
    now = datetime.now(UTC)
    this_month = datetime(now.year, now.month, 1, tzinfo=UTC)
    for table in PARTITIONED:
        first = ids.drawn_at(earliest[table]) if earliest[table] else now
        month = min(this_month, datetime(first.year, first.month, 1, tzinfo=UTC))
        if month == this_month:
            continue
        await session.script(f"DROP TABLE @{partition_of(table, this_month)}")
        begin = "MINVALUE"
        while month <= this_month:
            following = month_after(month)
            name, end = partition_of(table, month), first_id(following)
            sql = f"CREATE TABLE @{name} PARTITION OF @{table} FOR VALUES FROM ({begin}) TO ({end})"
            await session.script(sql)
            month, begin = following, str(end)
    await make_ahead(session, now)


async def positions(session: Session) -> dict[str, Position]:
    """Table → how far it is, of those that were begun."""
    rows = await session.fetch(f"SELECT what, position, copied, finished FROM @{TRANSFER} WHERE what <> $1", _SOURCE)
    return {
        row["what"]: Position(tuple(msgspec.msgpack.decode(row["position"])), row["copied"], row["finished"])
        for row in rows
    }


async def copy(session: Session, source: Source, table: Table, begun: Position) -> AsyncIterator[tuple[int, int]]:
    """Copy what is left of a table; yields (rows copied in all, texts in which NUL was replaced since the last)."""
    copied, pages = begun.copied, source.pages(table, begun.after)
    ahead = asyncio.create_task(asyncio.to_thread(next, pages, None))
    try:
        while (page := await ahead) is not None:
            # The next page is read while this one is written.
            ahead = asyncio.create_task(asyncio.to_thread(next, pages, None))
            copied += len(page.rows)
            async with session.raw.transaction():
                await session.raw.copy_records_to_table(
                    table.name, records=page.rows, columns=table.columns, schema_name=session.schema, timeout=600
                )
                await _keep(session, table, Position(page.after, copied))
            yield copied, page.replaced
        await _keep(session, table, Position(begun.after, copied, finished=True))
    finally:
        await asyncio.wait({ahead})


async def _keep(session: Session, table: Table, position: Position) -> None:
    sql = f"""INSERT INTO @{TRANSFER} (what, position, copied, finished) VALUES ($1, $2, $3, $4)
        ON CONFLICT (what) DO UPDATE SET position = excluded.position, copied = excluded.copied,
        finished = excluded.finished"""
    key = msgspec.msgpack.encode(position.after)
    await session.run(sql, table.name, key, position.copied, position.finished)


async def set_sequences(session: Session, last: dict[str, int]) -> None:
    """Let numbers go on behind those that were drawn."""
    for table in TABLES:
        if not table.sequence or not last[table.name]:
            continue
        if table.name == "events":
            name = session.named(EVENTS_SEQUENCE)
        else:
            name = await session.value(
                "SELECT pg_get_serial_sequence($1, $2)", session.named(table.name), table.sequence
            )
        await session.value("SELECT setval($1::text::regclass, $2)", name, last[table.name])


def source_digest(source: Source, table: Table) -> Iterator[Digest]:
    """The hash of what is to be stored, page by page until it is complete."""
    digest = Digest()
    for page in source.pages(table):
        for row in page.rows:
            digest.add(row)
        yield digest
    yield digest


async def stored_digest(session: Session, table: Table) -> AsyncIterator[Digest]:
    """The hash of what is stored, page by page until it is complete."""
    digest, columns = Digest(), ", ".join(table.columns)
    async with session.raw.transaction(readonly=True):
        sql = f"SELECT {columns} FROM {session.named(table.name)}"
        cursor = await session.raw.cursor(sql, timeout=600)
        while rows := await cursor.fetch(_READ_AT_ONCE, timeout=600):
            for row in rows:
                digest.add(tuple(row))
            yield digest
    yield digest


async def finish(session: Session) -> None:
    """Let servers use the schema."""
    await session.script(f"DROP TABLE @{TRANSFER}")
    for table in (
        "events",
        "orders",
        "names",
        "receipts",
        "cancellations",
        "jobs",
        "attempts",
        "messages",
        "deliveries",
    ):
        await session.script(f"ANALYZE @{table}", limit_s=None)
