"""Transactions on SQLite: a group commit in two visits to the database's thread, one to look up and one to write.

Every visit costs a hand-over between two threads, which is more than most statements cost.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import chain, groupby
from operator import itemgetter
from typing import Any

from app.core.aggregate import OrderAggregate
from app.core.event import Event, event_key, order_key
from app.core.pauses import Pauses
from app.core.policy.limits import PolicyUsage
from app.runtime.time_slice import TimeSlice
from app.store import codec
from app.store.compression import Compressor
from app.store.records import EVENT_KEYS_MAX, KEY_DIGITS, Changes, FoundOrder, LoggedRow, LogMark, Lookup, Name
from app.store.row_compression import RowCompressor
from app.store.sqlite.connection import Writer
from app.store.sqlite.erasure import erased_statements, expunged_statements
from app.store.sqlite.statements import (
    LOG_MARK,
    Statement,
    change_statements,
    event_keys,
    find_events,
    find_orders,
    marks,
    parts,
    policy_usage,
    provider_names,
    read_provider_names,
    row_dictionary_statements,
)


class SqliteTransaction:
    """`Transaction` on the writing connection; it begins with the first query."""

    pauses: Pauses | None = None
    pauses_version = 0
    owned: frozenset[str] | None = None
    limits = True

    def __init__(
        self, db: Writer, require_files: Callable[[], None], compressor: Compressor, rows: RowCompressor
    ) -> None:
        self._db, self._require_files, self._compressor, self._rows = db, require_files, compressor, rows

    async def find(self, names: Sequence[Name], events: Sequence[Event]) -> Lookup:
        keys = [(order_key(*name), *name) for name in names]
        wanted = [
            (index, order_key(event.account, event.order), event.account, event.order, event_key(event.id))
            for index, event in enumerate(events)
        ]
        rows, keys_of, logged = await self._db.visit(partial(_look_up, keys=keys, events=wanted))
        by_pk: dict[int, FoundOrder] = {}
        for _, _, pk, state, *columns in rows:
            if pk not in by_pk:
                by_pk[pk] = FoundOrder(pk, state, codec.read_told(columns), keys_of[pk])
        orders = {(account, name): by_pk[pk] for account, name, pk, *_ in rows}
        return Lookup(orders, frozenset(events[index].id for index in logged))

    async def history(self, pks: Sequence[int]) -> dict[int, list[Event]]:
        histories: dict[int, list[Event]] = {pk: [] for pk in pks}
        time_slice = TimeSlice()
        for part in parts(pks):
            sql = f"SELECT order_pk, {codec.EVENT_COLUMNS} FROM events WHERE order_pk IN ({marks(part)}) ORDER BY seq"
            for pk, *row in await self._ask(sql, part):
                histories[pk].append(codec.read_event(tuple(row)))
                await time_slice.pause()
        return histories

    async def logged(self, pks: Sequence[int]) -> dict[int, list[LoggedRow]]:
        logs: dict[int, list[LoggedRow]] = {pk: [] for pk in pks}
        for part in parts(pks):
            sql = f"SELECT order_pk, seq, {codec.EVENT_COLUMNS} FROM events WHERE order_pk IN ({marks(part)})"
            for pk, position, *columns in await self._ask(f"{sql} ORDER BY seq", part):
                logs[pk].append(LoggedRow(position, tuple(columns)))
        return logs

    async def log_marks(self, pks: Sequence[int]) -> dict[int, LogMark]:
        return {pk: LogMark(*(await self._ask(LOG_MARK, (pk, pk)))[0]) for pk in pks}

    async def policy_usage(self, policies: Sequence[str], now: datetime) -> dict[str, PolicyUsage]:
        rows = await self._ask(*policy_usage(policies, now))
        return {policy: PolicyUsage(in_hour, in_day) for policy, in_hour, in_day in rows}

    async def count_open_orders(self, accounts: Sequence[str], maximum: int) -> int:
        sql = f"""SELECT count(*) FROM (SELECT 1 FROM orders WHERE account IN ({marks(accounts)})
                  AND phase NOT IN ('completed', 'canceled') LIMIT ?)"""
        return int((await self._ask(sql, (*accounts, maximum)))[0][0])

    async def fingerprints(self, pks: Sequence[int]) -> dict[int, int]:
        fingerprints: dict[int, int] = {}
        for part in parts(pks):
            sql = f"SELECT pk, fingerprint FROM orders WHERE pk IN ({marks(part)}) AND fingerprint IS NOT NULL"
            fingerprints.update(await self._ask(sql, part))
        return fingerprints

    async def orders_with_fingerprints(
        self, fingerprints: Mapping[str, Collection[int]], limit: int
    ) -> list[tuple[str, int, int, OrderAggregate]]:
        sql = f"""SELECT fingerprint, pk, {codec.ORDER_STATE} FROM orders WHERE account = ? AND fingerprint = ?
                  ORDER BY pk DESC LIMIT ?"""
        return [
            (account, fingerprint, pk, codec.read_aggregate(state))
            for account, values in fingerprints.items()
            for value in sorted(values)
            for fingerprint, pk, state in await self._ask(sql, (account, value, limit))
        ]

    async def _ask(self, sql: str, values: Sequence[Any]) -> list[Any]:
        return list(await self._db.execute_fetchall(sql, values))

    async def provider_names(self, pks: Sequence[int]) -> dict[int, set[str]]:
        names_of: dict[int, set[str]] = {pk: set() for pk in pks}
        for part in parts(pks):
            for pk, names in read_provider_names(await self._ask(provider_names(len(part)), (*part, *part))):
                names_of[pk] |= names
        return names_of

    async def merge(self, keep: int, drop: int, names: Collection[Name]) -> None:
        await self._db.visit(partial(_merge, keep=keep, drop=drop, names=names))

    async def commit(self, changes: Changes) -> None:
        # The rows are built here, so that the other thread only passes them to SQLite: two threads that both run
        # Python contend for the interpreter lock.
        statements, time_slice, packing, rows = [], TimeSlice(), self._compressor.begin(), self._rows.begin()
        for receipt in changes.receipts:
            await packing.add(receipt)
            if time_slice.is_over:
                await time_slice.pause()
        erased = erased_statements(changes.erased, rows.pack)
        erasing = (*erased, *chain.from_iterable(map(expunged_statements, changes.expunged)))
        made = row_dictionary_statements(rows)
        for statement in chain(change_statements(changes, packing, rows), erasing, made):
            statements.append(statement)
            await time_slice.pause()
        await self._db.visit(partial(_commit, statements=statements))
        packing.confirm()
        rows.confirm()
        self._compressor.forget({receipt for expunged in changes.expunged for receipt in expunged.receipts})
        # Committed, but to which file? A removed or replaced one is noticed before anything is acknowledged.
        self._require_files()


def begin(db: sqlite3.Connection) -> None:
    """Begin a transaction that writes."""
    db.execute("BEGIN IMMEDIATE")


def _merge(db: sqlite3.Connection, keep: int, drop: int, names: Collection[Name]) -> None:
    _begin_once(db)
    for table in ("events", "cancellations", "attempts", "messages"):
        db.execute(f"UPDATE {table} SET order_pk = ? WHERE order_pk = ?", (keep, drop))
    # By name: an index by number would cost every new order more than rare merges are worth.
    sql = "UPDATE names SET order_pk = ? WHERE key = ? AND account = ? AND name = ? AND order_pk = ?"
    db.executemany(sql, [(keep, order_key(*name), *name, drop) for name in names])
    shared = [(*name, drop) for name in names]
    sql = "WHERE account = ? AND name = ? AND order_pk = ?"
    db.executemany(f"UPDATE OR IGNORE shared_aliases SET order_pk = ? {sql}", [(keep, *row) for row in shared])
    db.executemany(f"DELETE FROM shared_aliases {sql}", shared)
    db.execute("DELETE FROM orders WHERE pk = ?", (drop,))
    db.execute("DELETE FROM jobs WHERE order_pk = ?", (drop,))


def _commit(db: sqlite3.Connection, statements: Sequence[Statement]) -> None:
    _begin_once(db)
    # The same statement for many rows is one call: an erasure has two for each event.
    for sql, group in groupby(statements, itemgetter(0)):
        db.executemany(sql, map(itemgetter(1), group))
    db.execute("COMMIT")


def _begin_once(db: sqlite3.Connection) -> None:
    if not db.in_transaction:
        begin(db)


def _look_up(
    db: sqlite3.Connection, keys: list[tuple[Any, ...]], events: list[tuple[Any, ...]]
) -> tuple[list[Any], dict[int, str | None], list[int]]:
    _begin_once(db)
    rows = [row for part in parts(keys) for row in _fetch_array(db, find_orders(len(part), codec.TOLD_COLUMNS), part)]
    if not rows:
        return [], {}, []
    orders = [(pk,) for pk in {pk for _, _, pk, *_ in rows}]
    keys_of = {
        pk: None if len(keys) > EVENT_KEYS_MAX * (1 + KEY_DIGITS) else keys
        for part in parts(orders)
        for pk, keys in _fetch_array(db, event_keys(len(part)), part)
    }
    return rows, keys_of, [index for part in parts(events) for index in _fetch_array(db, find_events(len(part)), part)]


def _fetch_array(db: sqlite3.Connection, sql: str, values: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Rows of a query that returns them as one JSON array: one step of SQLite instead of many."""
    (text,) = db.execute(sql, tuple(chain.from_iterable(values))).fetchone()
    return list(codec.read_json(text))
