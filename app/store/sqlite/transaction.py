"""Transactions on SQLite: a whole batch in two visits to the database's thread, one to look up and one to write.

Every visit costs a hand-over between two threads, which is more than most statements cost.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from typing import Any

from app.core.aggregate import OrderAggregate
from app.core.event import Event, order_key, split_id
from app.runtime.time_slice import TimeSlice
from app.store import codec
from app.store.records import Changes, Found, Name, PolicyUsage
from app.store.sqlite.connection import Writer
from app.store.sqlite.statements import (
    Statement,
    change_statements,
    find_cases,
    find_events,
    marks,
    parts,
    read_stated,
    stated_names,
)


class SqliteTransaction:
    """`Transaction` on the writing connection; it begins with the first question."""

    def __init__(self, db: Writer, require_files: Callable[[], None]) -> None:
        self._db, self._require_files = db, require_files

    async def find(self, names: Sequence[Name], events: Sequence[Event]) -> Found:
        """See `Transaction.find`."""
        keys = [(order_key(*name), *name) for name in names]
        wanted = [
            (index, order_key(event.account, event.order), event.account, event.order, split_id(event.id)[1])
            for index, event in enumerate(events)
        ]
        rows, seen = await self._db.visit(partial(_look_up, keys=keys, events=wanted))
        by_pk: dict[int, tuple[int, OrderAggregate]] = {}
        breather = TimeSlice()
        for _, _, pk, state in rows:
            if pk not in by_pk:
                by_pk[pk] = pk, codec.read_case(state)
                await breather.pause()
        cases = {(account, name): by_pk[pk] for account, name, pk, _ in rows}
        return Found(cases, frozenset(events[index].id for index in seen))

    async def history(self, pks: Sequence[int]) -> dict[int, list[Event]]:
        """See `Transaction.history`."""
        found: dict[int, list[Event]] = {pk: [] for pk in pks}
        breather = TimeSlice()
        for part in parts(pks):
            sql = f"SELECT order_pk, {codec.EVENT_COLUMNS} FROM events WHERE order_pk IN ({marks(part)}) ORDER BY seq"
            for pk, *row in await self._ask(sql, part):
                found[pk].append(codec.read_event(tuple(row)))
                await breather.pause()
        return found

    async def done(self, policies: Sequence[str], now: datetime) -> dict[str, PolicyUsage]:
        """See `Transaction.done`."""
        sql = f"""SELECT policy, sum(requested_at > ?), count(*) FROM cancellations
                  WHERE policy IN ({marks(policies)}) AND requested_at > ? GROUP BY policy"""
        hour, day = (codec.micros(now - timedelta(hours=hours)) for hours in (1, 24))
        rows = await self._ask(sql, (hour, *policies, day))
        return {policy: PolicyUsage(in_hour, in_day) for policy, in_hour, in_day in rows}

    async def open_orders(self, accounts: Sequence[str], most: int) -> int:
        """See `Transaction.open_orders`."""
        sql = f"""SELECT count(*) FROM (SELECT 1 FROM orders WHERE account IN ({marks(accounts)})
                  AND phase NOT IN ('completed', 'canceled') LIMIT ?)"""
        return int((await self._ask(sql, (*accounts, most)))[0][0])

    async def fingerprints(self, pks: Sequence[int]) -> dict[int, int]:
        """See `Transaction.fingerprints`."""
        found: dict[int, int] = {}
        for part in parts(pks):
            sql = f"SELECT pk, fingerprint FROM orders WHERE pk IN ({marks(part)}) AND fingerprint IS NOT NULL"
            found.update(await self._ask(sql, part))
        return found

    async def alike(
        self, account: str, fingerprints: Sequence[int], limit: int
    ) -> list[tuple[int, int, OrderAggregate]]:
        """See `Transaction.alike`."""
        sql = "SELECT fingerprint, pk, state FROM orders WHERE account = ? AND fingerprint = ? ORDER BY pk DESC LIMIT ?"
        rows = [row for each in fingerprints for row in await self._ask(sql, (account, each, limit))]
        return [(found, pk, codec.read_case(state)) for found, pk, state in rows]

    async def _ask(self, sql: str, values: Sequence[Any]) -> list[Any]:
        return list(await self._db.execute_fetchall(sql, values))

    async def stated_names(self, pks: Sequence[int]) -> dict[int, set[str]]:
        """See `Transaction.stated_names`."""
        found: dict[int, set[str]] = {pk: set() for pk in pks}
        for part in parts(pks):
            for pk, names in read_stated(await self._ask(stated_names(len(part)), (*part, *part))):
                found[pk] |= names
        return found

    async def merge(self, keep: int, drop: int, names: Collection[Name]) -> None:
        """See `Transaction.merge`."""
        await self._db.visit(partial(_merge, keep=keep, drop=drop, names=names))

    async def commit(self, changes: Changes) -> None:
        """See `Transaction.commit`."""
        # Put together here, so that the other thread only hands them to SQLite: two threads that both run Python
        # take the lock from each other all the time.
        statements, breather = [], TimeSlice()
        for each in change_statements(changes):
            statements.append(each)
            await breather.pause()
        await self._db.visit(partial(_commit, statements=statements))
        # On disk, but in which file? What is gone is noticed before anybody is told that it is kept.
        self._require_files()


def begin(db: sqlite3.Connection) -> None:
    """Begin a transaction that will write."""
    db.execute("BEGIN IMMEDIATE")


def _merge(db: sqlite3.Connection, keep: int, drop: int, names: Collection[Name]) -> None:
    _begin_once(db)
    for table in ("events", "cancellations", "attempts"):
        db.execute(f"UPDATE {table} SET order_pk = ? WHERE order_pk = ?", (keep, drop))
    # By their names, as an index by number would cost every new order more than a merge is worth.
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
    for sql, values in statements:
        db.execute(sql, values)
    db.execute("COMMIT")


def _begin_once(db: sqlite3.Connection) -> None:
    if not db.in_transaction:
        begin(db)


def _look_up(
    db: sqlite3.Connection, keys: list[tuple[Any, ...]], events: list[tuple[Any, ...]]
) -> tuple[list[Any], list[int]]:
    _begin_once(db)
    rows = [row for part in parts(keys) for row in _gathered(db, find_cases(len(part)), part)]
    if not rows:
        return [], []
    return rows, [index for part in parts(events) for index in _gathered(db, find_events(len(part)), part)]


def _gathered(db: sqlite3.Connection, sql: str, values: Sequence[tuple[Any, ...]]) -> list[Any]:
    """The answer of a query that gathers all its rows in one JSON array: one step instead of many."""
    (text,) = db.execute(sql, tuple(chain.from_iterable(values))).fetchone()
    return list(codec.read_json(text))
