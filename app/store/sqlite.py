"""The store on SQLite: one connection that writes, several that read, WAL, every commit on disk.

Rows are written with `INSERT … VALUES (…), (…)`: one statement for all rows of a kind. SQLite runs
a statement without Python's lock, so while it works the event loop takes in the next batch; a
statement for each row would hand the lock to and fro. (Measured: half the time of unpacking the
rows from a JSON array.)
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, TypeVar

import aiosqlite

from app.core.cancellation import Cancellation
from app.core.event import Event, order_key, split_id
from app.store import (
    ApiKey,
    CaseWrite,
    Changes,
    Found,
    Name,
    Resource,
    ResourceChange,
    StoredAnswer,
    StoreError,
    codec,
)
from app.store.migrations import migrate
from app.store.sqlite_reader import SqliteReader

T = TypeVar("T")

READERS = 3
ROWS_MAX = 64
"""Rows in one statement; each number of rows up to this is one prepared statement for each table."""

_ORDERS = "INSERT INTO orders (pk, account, id, phase, cancelable, last_event_at, state)"
_ORDERS_AGAIN = """ ON CONFLICT (pk) DO UPDATE SET id = excluded.id, phase = excluded.phase,
    cancelable = excluded.cancelable, last_event_at = excluded.last_event_at, state = excluded.state"""
_NAMES = "INSERT INTO names (key, account, name, order_pk)"
_EVENTS = f"INSERT INTO events (order_pk, {codec.EVENT_COLUMNS})"
_RECEIPTS = f"INSERT INTO receipts ({codec.RECEIPT_COLUMNS})"
_CANCELLATIONS = "INSERT INTO cancellations (id, order_pk, account, state, body)"
_CANCELLATIONS_AGAIN = (
    " ON CONFLICT (id) DO UPDATE SET order_pk = excluded.order_pk, state = excluded.state, body = excluded.body"
)
_JOBS = f"INSERT OR REPLACE INTO jobs ({codec.JOB_COLUMNS})"
_ATTEMPTS = f"INSERT OR REPLACE INTO attempts ({codec.ATTEMPT_COLUMNS})"


class DatabaseInUseError(Exception):
    """The database file is in use by another Rescind process; stop that one, or use PostgreSQL for several."""


class SqliteTransaction:
    """`Transaction` on the writing connection."""

    def __init__(self, db: aiosqlite.Connection) -> None:
        self._db = db

    async def find(self, names: Sequence[Name], events: Sequence[Event]) -> Found:
        """See `Transaction.find`."""
        cases: dict[Name, Any] = {}
        seen: set[str] = set()
        for part in _parts(names):
            values = [(order_key(*name), *name) for name in part]
            for account, name, pk, state in await self._one_json(_find_cases(len(part)), values):
                cases[account, name] = (pk, codec.read_case(state))
        if not cases:
            return Found({}, frozenset())
        for some in _parts(events):
            wanted = [
                (index, cases[event.account, event.order][0], split_id(event.id)[1])
                for index, event in enumerate(some)
                if (event.account, event.order) in cases
            ]
            if wanted:
                seen.update(some[index].id for index in await self._one_json(_find_events(len(wanted)), wanted))
        return Found(cases, frozenset(seen))

    async def history(self, pks: Sequence[int]) -> dict[int, list[Event]]:
        """See `Transaction.history`."""
        found: dict[int, list[Event]] = {pk: [] for pk in pks}
        marks = ", ".join("?" * len(pks))
        sql = f"SELECT order_pk, {codec.EVENT_COLUMNS} FROM events WHERE order_pk IN ({marks}) ORDER BY seq"
        for pk, *row in await self._db.execute_fetchall(sql, pks):
            found[pk].append(codec.read_event(tuple(row)))
        return found

    async def merge(self, keep: int, drop: int) -> None:
        """See `Transaction.merge`."""
        for table in ("names", "events", "cancellations", "attempts"):
            await self._db.execute(f"UPDATE {table} SET order_pk = ? WHERE order_pk = ?", (keep, drop))
        await self._db.execute("DELETE FROM orders WHERE pk = ?", (drop,))
        await self._db.execute("DELETE FROM jobs WHERE order_pk = ?", (drop,))

    async def write(self, changes: Changes) -> None:
        """See `Transaction.write`."""
        await self.write_cases(changes.cases)
        await self._insert(
            _NAMES, ((order_key(account, name), account, name, pk) for account, name, pk in changes.names)
        )
        await self._insert(_EVENTS, (codec.event_row(pk, event) for pk, event in changes.events))
        await self._insert(_RECEIPTS, (codec.receipt_row(receipt) for receipt in changes.receipts))
        for each in changes.reprocessed:
            values = (each.status, each.reason, each.id)
            await self._db.execute("UPDATE receipts SET status = ?, reason = ? WHERE id = ?", values)
        await self.write_cancellations(changes.cancellations)
        await self._insert(_ATTEMPTS, (codec.attempt_row(attempt) for attempt in changes.attempts))
        pauses = ((each.scope, each.reason, codec.micros(each.since), each.by) for each in changes.pauses)
        await self._insert("INSERT OR REPLACE INTO pauses (scope, reason, since, by)", pauses)
        for scope in changes.resumes:
            await self._db.execute("DELETE FROM pauses WHERE scope = ?", (scope,))

    async def write_cases(self, writes: Sequence[CaseWrite]) -> None:
        """Orders and the jobs that follow from them."""
        rows = (
            (
                each.pk,
                each.case.order.account,
                each.case.order.id,
                each.case.order.phase,
                each.cancelable,
                codec.micros_or_none(each.case.order.last_event_at),
                codec.to_json(each.case),
            )
            for each in writes
        )
        await self._insert(_ORDERS, rows, _ORDERS_AGAIN)
        await self._insert(_JOBS, (codec.job_row(each.pk, each.job) for each in writes if each.job is not None))
        gone = [each.pk for each in writes if each.job is None and each.had_job]
        if gone:
            await self._db.execute(f"DELETE FROM jobs WHERE order_pk IN ({', '.join('?' * len(gone))})", gone)

    async def write_cancellations(self, moved: Iterable[tuple[int, Cancellation]]) -> None:
        """Cancellations as they are now."""
        rows = ((each.id, pk, each.account, each.state, codec.to_json(each)) for pk, each in moved)
        await self._insert(_CANCELLATIONS, rows, _CANCELLATIONS_AGAIN)

    async def _insert(self, head: str, rows: Iterable[tuple[Any, ...]], tail: str = "") -> None:
        for part in _parts(rows):
            await self._db.execute(_insert(head, len(part), len(part[0]), tail), tuple(chain.from_iterable(part)))

    async def _one_json(self, sql: str, values: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The answer of a query that gathers all its rows in one JSON array: one step instead of many."""
        rows = await self._db.execute_fetchall(sql, tuple(chain.from_iterable(values)))
        return list(codec.read_json(next(iter(rows))[0]))


@lru_cache(maxsize=1024)
def _insert(head: str, rows: int, columns: int, tail: str) -> str:
    return f"{head} VALUES {_values(rows, columns)}{tail}"


@lru_cache(maxsize=ROWS_MAX)
def _find_cases(rows: int) -> str:
    return f"""WITH wanted (key, account, name) AS (VALUES {_values(rows, 3)})
        SELECT json_group_array(json_array(wanted.account, wanted.name, orders.pk, orders.state))
        FROM wanted JOIN names USING (key, account, name) JOIN orders ON orders.pk = names.order_pk"""


@lru_cache(maxsize=ROWS_MAX)
def _find_events(rows: int) -> str:
    return f"""WITH wanted (number, order_pk, key) AS (VALUES {_values(rows, 3)})
        SELECT json_group_array(wanted.number) FROM wanted JOIN events USING (order_pk, key)"""


def _parts(rows: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(rows)
    while part := list(islice(rest, ROWS_MAX)):
        yield part


def _values(rows: int, columns: int) -> str:
    return ", ".join(["(" + ", ".join("?" * columns) + ")"] * rows)


class SqliteStore(SqliteReader):
    """`Store` on a SQLite file."""

    def __init__(self, writer: aiosqlite.Connection, readers: list[aiosqlite.Connection], lock: IO[str] | None) -> None:
        super().__init__(readers)
        self._writer = writer
        self._file_lock = lock
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[SqliteTransaction]:
        """See `Store.transaction`."""
        async with self._turn:
            try:
                await self._writer.execute("BEGIN IMMEDIATE")
                yield SqliteTransaction(self._writer)
                await self._writer.execute("COMMIT")
            except BaseException as error:
                # Shielded: a canceled task must not leave the one writer inside a transaction.
                await asyncio.shield(self._writer.rollback())
                if isinstance(error, sqlite3.Error):
                    raise StoreError(f"SQLite: {error}") from error
                raise

    async def save_resources(
        self, put: Sequence[Resource], removed: Sequence[tuple[str, str]], trail: Sequence[ResourceChange]
    ) -> None:
        """See `Store.save_resources`."""
        async with self.transaction():
            for each in put:
                row = (each.kind, each.id, each.version, codec.micros(each.updated_at), each.updated_by, each.body)
                await self._writer.execute("INSERT OR REPLACE INTO resources VALUES (?, ?, ?, ?, ?, ?)", row)
            for kind, id in removed:
                await self._writer.execute("DELETE FROM resources WHERE kind = ? AND id = ?", (kind, id))
            for change in trail:
                body, at = codec.to_json(change.body), codec.micros(change.at)
                await self._writer.execute(
                    "INSERT INTO resource_changes (kind, id, version, at, by, action, body)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (change.kind, change.id, change.version, at, change.by, change.action, body),
                )

    async def save_key(self, key: ApiKey, answer: StoredAnswer | None) -> None:
        """See `Store.save_key`."""
        async with self.transaction():
            row = (key.id, key.name, key.scope, key.hash, codec.micros(key.created_at), key.created_by)
            await self._writer.execute("INSERT INTO api_keys VALUES (?, ?, ?, ?, ?, ?, NULL)", row)
            if answer is not None:
                given = (answer.key, answer.digest, answer.answer, codec.micros(answer.created_at))
                await self._writer.execute("INSERT INTO answers VALUES (?, ?, ?, ?)", given)

    async def revoke_key(self, id: str, at: datetime) -> bool:
        """See `Store.revoke_key`."""
        async with self.transaction():
            sql = "UPDATE api_keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL"
            return (await self._writer.execute(sql, (codec.micros(at), id))).rowcount > 0

    async def replace_cases(
        self, writes: Sequence[CaseWrite], cancellations: Sequence[tuple[int, Cancellation]]
    ) -> None:
        """See `Store.replace_cases`."""
        async with self.transaction() as transaction:
            await transaction.write_cases(writes)
            await transaction.write_cancellations(cancellations)

    async def close(self) -> None:
        """See `Store.close`."""
        await super().close()
        await self._writer.close()
        if self._file_lock is not None:
            self._file_lock.close()


async def open_sqlite(path: Path) -> SqliteStore:
    """Open the database at `path`, made and migrated as needed.

    Raises `DatabaseInUseError` if another process has it, `SchemaTooNewError` if a later release made it.
    """
    path = _prepared(path)
    lock = _lock(path)
    try:
        writer = await _connect(path, "rwc")
        await migrate(writer)
        readers = [await _connect(path, "ro") for _ in range(READERS)]
    except BaseException:
        lock.close()
        raise
    return SqliteStore(writer, readers, lock)


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


async def _connect(path: Path, mode: str) -> aiosqlite.Connection:
    db = await aiosqlite.connect(f"{path.as_uri()}?mode={mode}", uri=True, isolation_level=None, cached_statements=1024)
    for pragma in ("busy_timeout = 10000", "cache_size = -65536", "temp_store = MEMORY", "mmap_size = 268435456"):
        await db.execute(f"PRAGMA {pragma}")
    if mode == "ro":
        return db
    await db.execute("PRAGMA journal_mode = WAL")
    await db.execute("PRAGMA synchronous = FULL")
    await db.execute("PRAGMA journal_size_limit = 67108864")
    if sqlite3.sqlite_version_info < (3, 38):
        raise RuntimeError(f"SQLite {sqlite3.sqlite_version} is too old: Rescind needs 3.38 or later")
    return db
