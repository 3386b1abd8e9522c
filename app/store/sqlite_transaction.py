"""Transactions on SQLite: a whole batch in two visits to the database's thread, one to look up and one to write.

Every visit costs a hand-over between two threads, which is more than most statements cost. Rows are
written with `INSERT … VALUES (…), (…)`, one statement for all rows of a kind: SQLite runs a
statement without Python's lock, so while it works the event loop takes in the next batch.
(Measured: half the time of unpacking the rows from a JSON array.)
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence, Sized
from datetime import datetime, timedelta
from functools import lru_cache, partial
from itertools import chain, islice
from typing import Any, TypeVar

import aiosqlite

from app.core.aggregate import OrderAggregate
from app.core.cancellation import Cancellation
from app.core.event import Event, order_key, split_id
from app.runtime.time_slice import TimeSlice
from app.store import Changes, Found, Name, OrderWrite, PolicyUsage, RecheckOrders, codec

T = TypeVar("T")
Statement = tuple[str, tuple[Any, ...]]

ALIKE_MAX = 100
"""So many orders of one fingerprint are woken, the latest first seen."""
ROWS_MAX = 64
"""Rows in one statement; each number of rows up to this is one prepared statement for each table."""

_ORDERS = "INSERT INTO orders (pk, account, id, phase, cancelable, wakes_at, last_event_at, state, fingerprint)"
_ORDERS_AGAIN = """ ON CONFLICT (pk) DO UPDATE SET account = excluded.account, id = excluded.id, phase = excluded.phase,
    cancelable = excluded.cancelable, wakes_at = excluded.wakes_at, last_event_at = excluded.last_event_at,
    state = excluded.state, fingerprint = excluded.fingerprint"""
_ORDERS_UNWEIGHED = _ORDERS_AGAIN.replace(
    "wakes_at = excluded.wakes_at",
    "wakes_at = CASE WHEN orders.wakes_at <= excluded.wakes_at OR excluded.wakes_at IS NULL "
    "THEN orders.wakes_at ELSE excluded.wakes_at END",
)
_NAMES = "INSERT INTO names (key, account, name, order_pk)"
_NAMES_AGAIN = " ON CONFLICT (key, account, name) DO UPDATE SET order_pk = excluded.order_pk"
"""Only names that led to no order are inserted."""
_SHARED = "INSERT OR IGNORE INTO shared_aliases (account, name, order_pk)"
_EVENTS = f"INSERT INTO events (order_pk, {codec.EVENT_COLUMNS}, policy)"
_RECEIPTS = f"INSERT INTO receipts ({codec.RECEIPT_COLUMNS})"
_CANCELLATIONS = "INSERT INTO cancellations (id, order_pk, account, state, policy, requested_at, batch, body)"
_CANCELLATIONS_AGAIN = """ ON CONFLICT (id) DO UPDATE SET order_pk = excluded.order_pk,
    account = excluded.account, state = excluded.state, body = excluded.body"""
_JOBS = f"INSERT OR REPLACE INTO jobs ({codec.JOB_COLUMNS})"
_ATTEMPTS = f"INSERT OR REPLACE INTO attempts ({codec.ATTEMPT_COLUMNS})"


class Writer(aiosqlite.Connection):
    """The connection that writes, with a way to do several things in one visit to its thread."""

    async def visit(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on the connection's thread."""
        result: T = await self._execute(work, self._conn)  # type: ignore[no-untyped-call]
        return result


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
        for part in _parts(pks):
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
        for part in _parts(pks):
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
        for part in _parts(pks):
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
        for each in _statements(changes):
            statements.append(each)
            await breather.pause()
        await self._db.visit(partial(_commit, statements=statements))
        # On disk, but in which file? What is gone is noticed before anybody is told that it is kept.
        self._require_files()


def begin(db: sqlite3.Connection) -> None:
    """Begin a transaction that will write."""
    db.execute("BEGIN IMMEDIATE")


def case_statements(writes: Sequence[OrderWrite]) -> Iterator[Statement]:
    """Orders and the jobs that follow from them."""
    yield from _insert(_ORDERS, (_order_row(each) for each in writes if each.weighed), _ORDERS_AGAIN)
    yield from _insert(_ORDERS, (_order_row(each) for each in writes if not each.weighed), _ORDERS_UNWEIGHED)
    yield from _insert(_JOBS, (codec.job_row(each.pk, each.job) for each in writes if each.job is not None))
    for gone in _parts([each.pk for each in writes if each.job is None and each.had_job]):
        yield f"DELETE FROM jobs WHERE order_pk IN ({', '.join('?' * len(gone))})", tuple(gone)


def _order_row(each: OrderWrite) -> tuple[Any, ...]:
    return (
        each.pk,
        each.case.order.account,
        each.case.order.id,
        each.case.order.phase,
        each.cancelable,
        codec.micros_or_none(each.wakes_at),
        codec.micros_or_none(each.case.order.last_event_at),
        codec.to_json(each.case),
        each.fingerprint,
    )


def cancellation_statements(moved: Iterable[tuple[int, Cancellation]]) -> Iterator[Statement]:
    """Cancellations as they are now."""
    rows = (
        (
            each.id,
            pk,
            each.account,
            each.state,
            each.policy,
            codec.micros(each.requested_at),
            each.batch,
            codec.to_json(each),
        )
        for pk, each in moved
    )
    return _insert(_CANCELLATIONS, rows, _CANCELLATIONS_AGAIN)


def awakening_statements(awakenings: Iterable[RecheckOrders]) -> Iterator[Statement]:
    """Orders that the timers are to look at."""
    for each in awakenings:
        at = codec.micros(each.at)
        sql = """UPDATE orders SET wakes_at = ? WHERE account = ? AND (wakes_at IS NULL OR wakes_at > ?)
                 AND phase NOT IN ('completed', 'canceled')"""
        if each.fingerprint is None:
            yield sql, (at, each.account, at)
        else:
            # A value that all orders have would make each new one wake all others.
            some = "SELECT pk FROM orders WHERE account = ? AND fingerprint = ? AND pk <> ? ORDER BY pk DESC LIMIT ?"
            alike = (each.account, each.fingerprint, each.but, ALIKE_MAX)
            yield f"{sql} AND pk IN ({some})", (at, each.account, at, *alike)


def _statements(changes: Changes) -> Iterator[Statement]:
    yield from case_statements(changes.cases)
    names = ((order_key(account, name), account, name, pk) for account, name, pk in changes.names)
    yield from _insert(_NAMES, names, _NAMES_AGAIN)
    yield from _insert(_SHARED, changes.shared_aliases)
    yield from _insert(_EVENTS, (codec.event_row(pk, event) for pk, event in changes.events))
    yield from _insert(_RECEIPTS, (codec.receipt_row(receipt) for receipt in changes.receipts))
    for each in changes.reprocessed:
        yield "UPDATE receipts SET status = ?, reason = ? WHERE id = ?", (each.status, each.reason, each.id)
    yield from cancellation_statements(changes.cancellations)
    yield from _insert(_ATTEMPTS, (codec.attempt_row(attempt) for attempt in changes.attempts))
    pauses = ((each.scope, each.reason, codec.micros(each.since), each.by) for each in changes.pauses)
    yield from _insert("INSERT OR REPLACE INTO pauses (scope, reason, since, by)", pauses)
    for scope in changes.resumes:
        yield "DELETE FROM pauses WHERE scope = ?", (scope,)
    yield from awakening_statements(changes.awakenings)


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
    rows = [row for part in _parts(keys) for row in _gathered(db, find_cases(len(part)), part)]
    if not rows:
        return [], []
    return rows, [index for part in _parts(events) for index in _gathered(db, _find_events(len(part)), part)]


def _gathered(db: sqlite3.Connection, sql: str, values: Sequence[tuple[Any, ...]]) -> list[Any]:
    """The answer of a query that gathers all its rows in one JSON array: one step instead of many."""
    (text,) = db.execute(sql, tuple(chain.from_iterable(values))).fetchone()
    return list(codec.read_json(text))


def _insert(head: str, rows: Iterable[tuple[Any, ...]], tail: str = "") -> Iterator[Statement]:
    for part in _parts(rows):
        yield _insertion(head, len(part), len(part[0]), tail), tuple(chain.from_iterable(part))


@lru_cache(maxsize=1024)
def _insertion(head: str, rows: int, columns: int, tail: str) -> str:
    return f"{head} VALUES {_values(rows, columns)}{tail}"


@lru_cache(maxsize=ROWS_MAX)
def find_cases(rows: int) -> str:
    """The question for so many names (key, account, name): all that are known, as one JSON array."""
    return f"""WITH wanted (key, account, name) AS (VALUES {_values(rows, 3)})
        SELECT json_group_array(json_array(wanted.account, wanted.name, orders.pk, orders.state))
        FROM wanted JOIN names USING (key, account, name) JOIN orders ON orders.pk = names.order_pk"""


def stated_names(orders: int) -> str:
    """The question by which names the provider spoke of so many orders (their numbers are given twice)."""
    marked = ", ".join("?" * orders)
    return f"""SELECT DISTINCT order_pk, name, NULL FROM events WHERE order_pk IN ({marked}) AND source = 'webhook'
        UNION SELECT DISTINCT order_pk, name, json_extract(body, '$.facts.aliases') FROM events
        WHERE order_pk IN ({marked}) AND source = 'provider' AND json_extract(body, '$.facts.snapshot')"""


def read_stated(rows: Iterable[Sequence[Any]]) -> Iterator[tuple[int, set[str]]]:
    """(order number, names) from the rows of that question."""
    for pk, name, aliases in rows:
        yield pk, {name, *(codec.read_json(aliases) if aliases else ())}


@lru_cache(maxsize=ROWS_MAX)
def _find_events(rows: int) -> str:
    return f"""WITH wanted (number, order_key, account, name, event_key) AS (VALUES {_values(rows, 5)})
        SELECT json_group_array(wanted.number) FROM wanted
        JOIN names ON names.key = order_key AND names.account = wanted.account AND names.name = wanted.name
        JOIN events ON events.order_pk = names.order_pk AND events.key = event_key"""


def _parts(rows: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(rows)
    while part := list(islice(rest, ROWS_MAX)):
        yield part


def marks(values: Sized) -> str:
    """As many question marks as values."""
    return ", ".join("?" * len(values))


def _values(rows: int, columns: int) -> str:
    return ", ".join(["(" + ", ".join("?" * columns) + ")"] * rows)
