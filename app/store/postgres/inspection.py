"""What an operator should know of a PostgreSQL database, by queries that need no special rights."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from app.store.migrations import Migration, migrations
from app.store.postgres.access import fault_with_rights, open_first
from app.store.postgres.connection import Kind, Session, Target
from app.store.postgres.errors import ERRORS, fault_of
from app.store.postgres.migrate import TRANSFER, schema_version
from app.store.postgres.partitions import MONTHS_AHEAD, PARTITIONED, month_after, partition_of
from app.store.protocol import StoreError

SESSION, TRANSACTION = "session", "transaction"
"""Modes of a pooler."""
_SETTINGS = [
    "fsync",
    "full_page_writes",
    "synchronous_commit",
    "synchronous_standby_names",
    "max_connections",
    "superuser_reserved_connections",
    "reserved_connections",
    "server_encoding",
    "autovacuum",
]
_USER = """
SELECT current_user::text AS name, current_setting('transaction_read_only')::bool AS read_only,
    has_database_privilege(current_database(), 'CREATE') AS may_create,
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS used"""
_RIGHTS = """
SELECT c.relname AS name, pg_has_role(c.relowner, 'USAGE') AS owned,
    CASE WHEN c.relkind = 'S' THEN has_sequence_privilege(c.oid, 'USAGE')
         ELSE has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
          AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE') END AS usable
FROM pg_class c WHERE c.relnamespace = to_regnamespace($1) AND c.relkind IN ('r', 'p', 'S')"""
_INVALID = """
SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE c.relnamespace = to_regnamespace($1) AND NOT i.indisvalid ORDER BY 1"""
# Rows of other users are there, but most columns are null without pg_read_all_stats.
_STANDBYS = "SELECT coalesce(application_name, ''), state, sync_state FROM pg_stat_replication ORDER BY 1"
_HORIZON = """
SELECT pg_snapshot_xmax(s)::text::bigint - pg_snapshot_xmin(s)::text::bigint AS transactions,
    (SELECT extract(epoch FROM clock_timestamp() - min(began)) FROM (
        SELECT xact_start AS began FROM pg_stat_activity WHERE backend_xid IS NOT NULL
        UNION ALL SELECT prepared FROM pg_prepared_xacts) AS open)::float8 AS age_s,
    (SELECT string_agg(format('%s %s', pid, coalesce(nullif(application_name, ''), usename)), ', ')
     FROM (SELECT * FROM pg_stat_activity WHERE backend_xid IS NOT NULL ORDER BY xact_start LIMIT 3) AS oldest) AS who
FROM (SELECT pg_current_snapshot() AS s) AS snapshot"""
_NODES = """
SELECT name, version FROM @nodes
WHERE NOT ended AND until > extract(epoch FROM clock_timestamp()) * 1000000 ORDER BY name"""
_REPLICA = """
SELECT pg_is_in_recovery() AS standby,
    CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
         ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END::float8 AS lag_s"""


@dataclass(frozen=True, slots=True)
class Horizon:
    """The oldest transaction of the cluster that may still write: nobody follows the log past it."""

    transactions: int
    """How many were begun since."""
    age_s: float | None
    """None: there is none, or this user may not see it."""
    who: str


@dataclass(slots=True)
class Inspection:
    """What was found. Fields of later steps have their defaults if the schema is not there."""

    version: str = ""
    user: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    clock_offset_s: float = 0.0
    """How far the database's clock is ahead of this machine's."""
    pooler: str = ""
    """`session`, `transaction`; "": none."""
    read_only: bool = False
    """It is a standby, or read-only by its settings: nothing is written there."""
    connections_used: int = 0
    may_create_schema: bool = False
    schema: int = 0
    works_with: int = 0
    todo: list[Migration] = field(default_factory=list)
    filling: bool = False
    not_usable: list[str] = field(default_factory=list)
    not_owned: list[str] = field(default_factory=list)
    may_create: bool = True
    invalid_indexes: list[str] = field(default_factory=list)
    months_ahead: dict[str, int] = field(default_factory=dict)
    """Partitioned table → months after this one that have a partition; -1: this month has none."""
    standbys: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    """(name, state, synchronous or not) of each; None where this user may not see it."""
    horizon: Horizon = Horizon(0, None, "")
    nodes: list[tuple[str, str]] = field(default_factory=list)
    """(name, release) of those whose lease has not ended."""


async def inspect(target: Target) -> Inspection:
    """Look at the database. Raises `DatabaseRefusedError`, `StoreUnavailable`, `StoreError`."""
    session = await open_first(target.url, target.schema)
    try:
        seen = Inspection(version=await session.value("SHOW server_version"))
        await _server(session, seen)
        seen.pooler = await _pooler(session, target)
        seen.schema, seen.works_with = await schema_version(session)
        seen.todo = [step for step in migrations("postgres") if step.version > seen.schema]
        if seen.schema:
            await _schema(session, seen)
    except ERRORS as error:
        raise await fault_with_rights(session, error) from error
    else:
        return seen
    finally:
        session.raw.terminate()


async def _server(session: Session, seen: Inspection) -> None:
    rows = await session.fetch("SELECT name, setting FROM pg_settings WHERE name = ANY($1::text[])", _SETTINGS)
    seen.settings = {row["name"]: row["setting"] for row in rows}
    offsets = []
    for _ in range(3):
        before = datetime.now(UTC)
        there = await session.value("SELECT clock_timestamp()")
        after = datetime.now(UTC)
        offsets.append((after - before, there - (before + (after - before) / 2)))
    seen.clock_offset_s = min(offsets)[1].total_seconds()
    (row,) = await session.fetch(_USER)
    seen.read_only = row["read_only"]
    seen.user, seen.may_create_schema, seen.connections_used = row["name"], row["may_create"], row["used"]
    seen.standbys = [tuple(row) for row in await session.fetch(_STANDBYS)]
    (horizon,) = await session.fetch(_HORIZON)
    seen.horizon = Horizon(horizon["transactions"], horizon["age_s"], horizon["who"] or "")


async def _pooler(session: Session, target: Target) -> str:
    """A pooler makes up the process number that it gives at the start; in transaction mode two share a process."""
    process = await session.value("SELECT pg_backend_pid()")
    if process == session.raw.get_server_pid():
        return ""
    with suppress(StoreError, *ERRORS):
        other = await open_first(target.url, target.schema)
        try:
            return TRANSACTION if await other.value("SELECT pg_backend_pid()") == process else SESSION
        finally:
            other.raw.terminate()
    return SESSION


async def _schema(session: Session, seen: Inspection) -> None:
    name = session.named("").removesuffix(".")
    rows = await session.fetch(_RIGHTS, name)
    seen.not_usable = sorted(row["name"] for row in rows if not row["usable"])
    seen.not_owned = sorted(row["name"] for row in rows if not row["owned"])
    seen.may_create = await session.value("SELECT has_schema_privilege(to_regnamespace($1)::oid, 'CREATE')", name)
    seen.filling = await session.value("SELECT to_regclass($1) IS NOT NULL", session.named(TRANSFER))
    seen.invalid_indexes = [row[0] for row in await session.fetch(_INVALID, name)]
    seen.months_ahead = {table: await months_ahead(session, table) for table in PARTITIONED}
    if "nodes" not in seen.not_usable:
        seen.nodes = [tuple(row) for row in await session.fetch(_NODES)]


async def months_ahead(session: Session, table: str) -> int:
    """How many months after this one have a partition without a gap; -1 if this one has none."""
    now = datetime.now(UTC)
    this_month = datetime(now.year, now.month, 1, tzinfo=UTC)
    for number in range(MONTHS_AHEAD + 1):
        name = session.named(partition_of(table, month_after(this_month, number)))
        if not await session.value("SELECT to_regclass($1) IS NOT NULL", name):
            return number - 1
    return MONTHS_AHEAD


async def replica_lag(url: str, schema: str) -> float | None:
    """How far a standby is behind, in seconds; None if it is none. Raises as `inspect`."""
    session = await open_first(url, schema, "RESCIND_DATABASE_REPLICA_URL", Kind.ANY)
    try:
        row: Any = await asyncio.wait_for(session.row(_REPLICA), 10)
    except ERRORS as error:
        raise fault_of(error) from error
    finally:
        session.raw.terminate()
    return row["lag_s"] or 0.0 if row["standby"] else None
