"""`Store` on a SQLite file: transactions, configuration, opening and closing."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import IO, TypeVar

import aiosqlite

from app.core.cancellation import Cancellation
from app.core.lane.state import LaneState
from app.core.outbound.delivery import Delivery, DeliveryUpdate, DuePosition, Postponement
from app.core.outbound.health import SubscriptionState
from app.store import codec
from app.store.compression import Compressor
from app.store.migrations import ignore_status, migrate
from app.store.protocol import NO_LOCKS, Locks, StoreConflict, StoreError, StoreUnavailable
from app.store.records import (
    ApiKey,
    Backtest,
    OrderWrite,
    RecheckOrders,
    Resource,
    ResourceChange,
    StoredOrder,
    StoredResponse,
)
from app.store.row_compression import RowCompressor
from app.store.sealed import SealedColumn
from app.store.sessions import ConsoleSession
from app.store.sqlite import deliveries, erasure, resources, sessions, traffic
from app.store.sqlite.backtest_runs import BacktestRuns
from app.store.sqlite.checkpoints import Checkpoints
from app.store.sqlite.connection import (
    BEHIND,
    READERS,
    Writer,
    checkpoint,
    connect_checkpointer,
    connect_reader,
    connect_writer,
    fault_of,
    truncate_log,
)
from app.store.sqlite.files import DatabaseFiles, hold, prepare
from app.store.sqlite.indexing import SearchIndexing
from app.store.sqlite.log_blocks import LogWrites
from app.store.sqlite.reader import SqliteReader
from app.store.sqlite.rechecks import Rechecking
from app.store.sqlite.row_compression import PROGRESS, OldRows, open_dictionaries, progress
from app.store.sqlite.single_node import SingleNode
from app.store.sqlite.statements import cancellation_statements, marks, order_statements, row_dictionary_statements
from app.store.sqlite.transaction import SqliteTransaction, begin
from app.store.traffic import EndpointCount, EndpointRefusal, EndpointRun, EndpointState
from app.store.use import Use

T = TypeVar("T")


class SqliteStore(SearchIndexing, Rechecking, LogWrites, BacktestRuns, SingleNode, SqliteReader):
    """`Store` on a SQLite file; its methods are described there."""

    single_writer = True  # a lock (`hold`) keeps other Rescind processes out
    writers = 1

    def __init__(
        self,
        path: Path,
        writer: Writer,
        checkpointer: aiosqlite.Connection,
        readers: Mapping[Use, list[aiosqlite.Connection]],
        lock: IO[str],
        rows: RowCompressor,
    ) -> None:
        super().__init__(readers)
        self._writer = writer
        self._file_lock = lock
        self._path, self._files = path, DatabaseFiles(path)
        self._writing = asyncio.Lock()
        self._checkpoints = Checkpoints(checkpointer, path, self._writing)
        self._closed = False
        self._failures = 0
        self._last_failure = ""
        self._compressor, self._repacking = Compressor(), erasure.Repacking()
        self.orders_replaced = 0
        self._rows, self._old_rows = rows, OldRows(rows)

    @asynccontextmanager
    async def transaction(self, locks: Locks = NO_LOCKS) -> AsyncIterator[SqliteTransaction]:
        """See `Store.transaction`. Nothing can change beside the one writer."""
        del locks
        failures = self._failures
        async with self._writing:
            if self._failures != failures:
                # Each waiter in turn would wait just as long for the same lock.
                raise StoreUnavailable(self._last_failure)
            try:
                yield await self._begin()
            except sqlite3.Error as error:
                fault = fault_of(error)
                self._note(fault)
                raise fault from error
            except StoreUnavailable as fault:
                self._note(fault)
                raise
            finally:
                # Shielded: a canceled task must not leave the one writer inside a transaction.
                await asyncio.shield(self._end())

    async def _begin(self) -> SqliteTransaction:
        if self._closed:
            raise StoreUnavailable("the database is closed")
        self._files.require()
        return SqliteTransaction(self._writer, self._files.require, self._compressor, self._rows)

    def _note(self, fault: StoreError) -> None:
        if isinstance(fault, StoreUnavailable):
            self._failures += 1
            self._last_failure = str(fault)

    async def prove_writable(self) -> None:
        """See `Store.prove_writable`. Rewrites the schema version, on the first page, as it was."""

        def work(db: sqlite3.Connection) -> None:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            db.execute(f"PRAGMA user_version = {version}")

        await self._write(work)

    async def save_resources(
        self,
        put: Sequence[Resource],
        removed: Sequence[tuple[str, str]],
        trail: Sequence[ResourceChange],
        rechecks: Sequence[RecheckOrders] = (),
        response: StoredResponse | None = None,
        expected_version: int = 0,
    ) -> int:
        del expected_version  # nobody else writes

        def work(db: sqlite3.Connection) -> None:
            resources.save(db, put, removed, trail, rechecks)
            if response is not None:
                _save_response(db, response)

        await self._write(work)
        return 0

    async def save_backtest(self, backtest: Backtest) -> None:
        row = (backtest.id, backtest.policy, backtest.condition_hash, codec.micros(backtest.at), backtest.by)
        values = (*row, codec.to_json(backtest.report))
        await self._write(lambda db: db.execute("INSERT INTO backtests VALUES (?, ?, ?, ?, ?, ?)", values).rowcount)

    async def save_lane(self, account: str, state: LaneState) -> None:
        row = (account, codec.to_json(state))
        await self._write(lambda db: db.execute("INSERT OR REPLACE INTO lanes VALUES (?, ?)", row).rowcount)

    async def save_account_secrets(self, account: str, sealed: bytes) -> None:
        await self._write(lambda db: resources.save_account_secrets(db, account, sealed))

    async def save_key(
        self, key: ApiKey, response: StoredResponse | None, *, retire: tuple[str, datetime] | None = None
    ) -> None:

        def work(db: sqlite3.Connection) -> None:
            row = codec.key_row(key)
            db.execute(f"INSERT INTO api_keys ({codec.KEY_COLUMNS}) VALUES ({marks(row)})", row)
            if retire is not None:
                sql = """UPDATE api_keys SET expires_at = min(coalesce(expires_at, ?2), ?2)
                         WHERE id = ?1 AND revoked_at IS NULL"""
                if not db.execute(sql, (retire[0], codec.micros(retire[1]))).rowcount:
                    raise StoreConflict(f"the key {retire[0]} was revoked meanwhile")
            if response is not None:
                _save_response(db, response)

        await self._write(work)

    async def keep_key(self, name: str, sealed: bytes) -> bytes:
        def work(db: sqlite3.Connection) -> bytes:
            db.execute("INSERT OR IGNORE INTO sealed_keys VALUES (?, ?)", (name, sealed))
            return bytes(db.execute("SELECT key FROM sealed_keys WHERE name = ?", (name,)).fetchone()[0])

        return await self._write(work)

    async def note_key_use(self, last_used: Mapping[str, datetime]) -> None:
        sql = "UPDATE api_keys SET last_used_at = max(coalesce(last_used_at, 0), ?) WHERE id = ?"
        rows = [(codec.micros(at), id) for id, at in last_used.items()]
        await self._write(lambda db: db.executemany(sql, rows).rowcount)

    async def save_response(self, response: StoredResponse) -> None:
        await self._write(lambda db: _save_response(db, response))

    async def revoke_key(self, id: str, at: datetime) -> bool:
        def work(db: sqlite3.Connection) -> bool:
            sessions.end_all(db, id)
            sql = "UPDATE api_keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL"
            return db.execute(sql, (codec.micros(at), id)).rowcount > 0

        return await self._write(work)

    async def start_session(self, session: ConsoleSession, maximum: int) -> None:
        await self._write(lambda db: sessions.start(db, session, maximum))

    async def end_session(self, id: bytes) -> None:
        await self._write(lambda db: sessions.end(db, id))

    async def end_sessions(self, key: str | None = None) -> int:
        return await self._write(lambda db: sessions.end_all(db, key))

    async def replace_sealed(
        self, column: SealedColumn, values: Sequence[tuple[tuple[str, ...], bytes, bytes]]
    ) -> None:
        where = " AND ".join(f"{name} = ?" for name in column.key)
        sql = f"UPDATE {column.table} SET {column.column} = ? WHERE {where} AND {column.column} = ?"

        def work(db: sqlite3.Connection) -> None:
            # The former values are overwritten (`secure_delete`): anyone who has the former key must not find them.
            db.executemany(sql, [(new, *key, former) for key, former, new in values])

        await self._write(work)

    async def replace_orders(
        self,
        writes: Sequence[OrderWrite],
        cancellations: Sequence[tuple[int, Cancellation]],
        read: Sequence[StoredOrder] = (),
    ) -> bool:
        """See `Store.replace_orders`. Nobody else writes meanwhile."""
        del read

        def work(db: sqlite3.Connection) -> None:
            for sql, values in statements:
                db.execute(sql, values)

        rows = self._rows.begin()
        packed = order_statements(writes, rows), cancellation_statements(cancellations)
        statements = [*chain(*packed, row_dictionary_statements(rows))]
        try:
            await self._write(work)
        finally:
            self.orders_replaced += 1
        rows.confirm()
        return True

    async def save_deliveries(
        self,
        updates: Sequence[DeliveryUpdate],
        postponed: Sequence[Postponement] = (),
        states: Sequence[tuple[str, SubscriptionState]] = (),
    ) -> None:
        await self._write(deliveries.Saving(updates, postponed, states))

    async def resend_delivery(self, subscription: str, message: int, now: datetime) -> bool:
        return await self._write(lambda db: deliveries.resend(db, subscription, message, now))

    async def recover_deliveries(
        self, subscription: str, since: datetime, after: int, limit: int, now: datetime, until: datetime | None = None
    ) -> tuple[int, int | None]:
        return await self._write(lambda db: deliveries.recover(db, subscription, since, after, limit, now, until))

    async def hasten_deliveries(
        self, subscription: str, now: datetime, after: DuePosition | None, limit: int
    ) -> DuePosition | None:
        return await self._write(lambda db: deliveries.hasten(db, subscription, now, after, limit))

    async def pull_deliveries(
        self, subscription: str, now: datetime, visible_at: datetime, limit: int
    ) -> list[Delivery]:
        return await self._write(lambda db: deliveries.pull(db, subscription, now, visible_at, limit))

    async def acknowledge_deliveries(self, subscription: str, messages: Sequence[int]) -> int:
        return await self._write(lambda db: deliveries.acknowledge(db, subscription, messages))

    async def delete_delivered(self, subscription: str, after: int, until: datetime, limit: int) -> int | None:
        return await self._write(lambda db: deliveries.delete_delivered(db, subscription, after, until, limit))

    async def purge_deliveries(self, subscription: str, until: int, limit: int) -> bool:
        return await self._write(lambda db: deliveries.purge(db, subscription, until, limit))

    async def add_traffic(
        self, counts: Sequence[EndpointCount], runs: Sequence[EndpointRun], refusals: Sequence[EndpointRefusal]
    ) -> list[EndpointState]:
        return await self._write(lambda db: traffic.add(db, counts, runs, refusals))

    async def mark_failing(self, account: str, endpoint: str, at: datetime) -> None:
        await self._write(lambda db: traffic.mark(db, "failing_at", account, endpoint, at))

    async def mark_silent(self, account: str, endpoint: str, at: datetime) -> None:
        await self._write(lambda db: traffic.mark(db, "silent_at", account, endpoint, at))

    async def retire_dictionaries(self, before: int) -> None:
        def work(db: sqlite3.Connection) -> None:
            erasure.retire_before(db, before)
            self._compressor.forget_before(before)

        await self._write(work)

    async def delete_refusals(self, before: int) -> None:
        await self._write(lambda db: traffic.delete_refusals(db, before))

    async def repack(self) -> bool:
        return await self._repacking.step(self._db, self._write)

    async def compress_rows(self) -> int | None:
        return await self._old_rows.step(self._db, self._write)

    async def compressed_rows(self) -> dict[str, float]:
        return progress(await self._db.fetch(PROGRESS))

    async def delete_responses(self, before: datetime, limit: int) -> int:
        return await self._write(lambda db: erasure.delete_responses(db, before, limit))

    async def keep_up(self, now: datetime) -> None:
        """Nothing to do: what there is to keep up is done at the start, or with the commits."""

    async def checkpoint(self) -> None:
        await asyncio.to_thread(checkpoint, self._files.path)

    async def truncate_log(self) -> bool:
        return await asyncio.to_thread(truncate_log, self._files.path)

    async def vacuum(self) -> None:
        async with self.transaction():
            await self._writer.execute("VACUUM")

    async def close(self) -> None:
        self._closed = True
        await self._close_index()
        await super().close()
        await self._checkpoints.close()
        await self._writer.close()
        self._file_lock.close()

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in a transaction of its own."""

        def transact(db: sqlite3.Connection) -> T:
            begin(db)
            result = work(db)
            db.execute("COMMIT")
            return result

        async with self.transaction():
            result = await self._writer.visit(transact)
            self._files.require()
            return result

    async def _end(self) -> None:
        if self._closed:
            return
        if self._writer.in_transaction:
            try:
                await self._writer.rollback()
            except sqlite3.Error as error:
                raise StoreUnavailable(f"SQLite: {error}") from error
        self._checkpoints.note(self._writer.total_changes)


def _save_response(db: sqlite3.Connection, stored: StoredResponse) -> None:
    row = (stored.key, stored.digest, stored.response, codec.micros(stored.created_at))
    db.execute("INSERT INTO answers VALUES (?, ?, ?, ?)", row)


async def open_sqlite(path: Path, tell: Callable[[str], None] = ignore_status) -> SqliteStore:
    """Open the database at `path`; create and migrate it as needed. `tell` hears what it does, if that takes long.

    Raises `DatabaseInUseError` if another process has it open, `DatabaseDamagedError` if its log is there without it,
    `SchemaTooNewError` if a later release wrote it, `StoreError` if it is not a database.
    """
    path = prepare(path)
    lock = hold(path)
    opened: list[aiosqlite.Connection] = []
    try:
        writer = await connect_writer(path)
        opened.append(writer)
        await migrate(writer, tell)
        await writer.visit(erasure.end_uses)
        rows = await writer.visit(open_dictionaries)
        readers: dict[Use, list[aiosqlite.Connection]] = {use: [] for use in READERS}
        for use, number in READERS.items():
            for _ in range(number):
                readers[use].append(await connect_reader(path, behind=use in BEHIND))
                opened.append(readers[use][-1])
        opened.append(await connect_checkpointer(path, writer))
        store = SqliteStore(path, writer, opened[-1], readers, lock, rows)
    except BaseException as error:
        for connection in opened:
            await connection.close()
        lock.close()
        if isinstance(error, sqlite3.Error):
            raise StoreError(f"{path} cannot be opened: {error}") from error
        raise
    return store
