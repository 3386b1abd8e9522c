"""SQL statements that write rows, and those that both transactions and readers ask.

Rows are written with `INSERT … VALUES (…), (…)`, one statement for all rows of a kind: SQLite runs a statement without
Python's lock, so while it works the event loop takes in the next batch. (Measured: half the time of unpacking the rows
from a JSON array.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from functools import lru_cache
from itertools import chain, islice
from typing import Any, TypeVar

from app.core.cancellation import Cancellation
from app.core.event import order_key
from app.store import codec
from app.store.records import Changes, OrderWrite, RecheckOrders

T = TypeVar("T")
Statement = tuple[str, tuple[Any, ...]]

ALIKE_MAX = 100
"""At most so many orders of one fingerprint are re-checked, the newest."""
ROWS_MAX = 64
"""Rows in one statement; each number of rows up to this is one prepared statement for each table."""
_ORDERS = "INSERT INTO orders (pk, account, id, phase, cancelable, next_check_at, last_event_at, state, fingerprint)"
_ORDERS_AGAIN = """ ON CONFLICT (pk) DO UPDATE SET account = excluded.account, id = excluded.id, phase = excluded.phase,
    cancelable = excluded.cancelable, next_check_at = excluded.next_check_at, last_event_at = excluded.last_event_at,
    state = excluded.state, fingerprint = excluded.fingerprint"""
_ORDERS_UNWEIGHED = _ORDERS_AGAIN.replace(
    "next_check_at = excluded.next_check_at",
    "next_check_at = CASE WHEN orders.next_check_at <= excluded.next_check_at OR excluded.next_check_at IS NULL "
    "THEN orders.next_check_at ELSE excluded.next_check_at END",
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


def change_statements(changes: Changes) -> Iterator[Statement]:
    """Everything that one transaction writes."""
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


def case_statements(writes: Sequence[OrderWrite]) -> Iterator[Statement]:
    """Orders and the jobs that follow from them."""
    yield from _insert(_ORDERS, (_order_row(each) for each in writes if each.weighed), _ORDERS_AGAIN)
    yield from _insert(_ORDERS, (_order_row(each) for each in writes if not each.weighed), _ORDERS_UNWEIGHED)
    yield from _insert(_JOBS, (codec.job_row(each.pk, each.job) for each in writes if each.job is not None))
    for gone in parts([each.pk for each in writes if each.job is None and each.had_job]):
        yield f"DELETE FROM jobs WHERE order_pk IN ({', '.join('?' * len(gone))})", tuple(gone)


def _order_row(each: OrderWrite) -> tuple[Any, ...]:
    return (
        each.pk,
        each.aggregate.order.account,
        each.aggregate.order.id,
        each.aggregate.order.phase,
        each.cancelable,
        codec.micros_or_none(each.next_check_at),
        codec.micros_or_none(each.aggregate.order.last_event_at),
        codec.to_json(each.aggregate),
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
        sql = """UPDATE orders SET next_check_at = ? WHERE account = ? AND (next_check_at IS NULL OR next_check_at > ?)
                 AND phase NOT IN ('completed', 'canceled')"""
        if each.fingerprint is None:
            yield sql, (at, each.account, at)
        else:
            # A value that all orders have would make each new one wake all others.
            some = "SELECT pk FROM orders WHERE account = ? AND fingerprint = ? AND pk <> ? ORDER BY pk DESC LIMIT ?"
            alike = (each.account, each.fingerprint, each.but, ALIKE_MAX)
            yield f"{sql} AND pk IN ({some})", (at, each.account, at, *alike)


def _insert(head: str, rows: Iterable[tuple[Any, ...]], tail: str = "") -> Iterator[Statement]:
    for part in parts(rows):
        yield _insertion(head, len(part), len(part[0]), tail), tuple(chain.from_iterable(part))


@lru_cache(maxsize=1024)
def _insertion(head: str, rows: int, columns: int, tail: str) -> str:
    return f"{head} VALUES {_values(rows, columns)}{tail}"


@lru_cache(maxsize=ROWS_MAX)
def find_cases(rows: int) -> str:
    """Query the orders of so many (key, account, name): a JSON array of (account, name, order number, state)."""
    return f"""WITH wanted (key, account, name) AS (VALUES {_values(rows, 3)})
        SELECT json_group_array(json_array(wanted.account, wanted.name, orders.pk, orders.state))
        FROM wanted JOIN names USING (key, account, name) JOIN orders ON orders.pk = names.order_pk"""


@lru_cache(maxsize=ROWS_MAX)
def find_events(rows: int) -> str:
    """Query which of so many (number, order key, account, name, event key) are in the log: a JSON array of numbers."""
    return f"""WITH wanted (number, order_key, account, name, event_key) AS (VALUES {_values(rows, 5)})
        SELECT json_group_array(wanted.number) FROM wanted
        JOIN names ON names.key = order_key AND names.account = wanted.account AND names.name = wanted.name
        JOIN events ON events.order_pk = names.order_pk AND events.key = event_key"""


def stated_names(orders: int) -> str:
    """Query by which names the provider referred to so many orders; their numbers are bound twice."""
    marked = ", ".join("?" * orders)
    return f"""SELECT DISTINCT order_pk, name, NULL FROM events WHERE order_pk IN ({marked}) AND source = 'webhook'
        UNION SELECT DISTINCT order_pk, name, json_extract(body, '$.facts.aliases') FROM events
        WHERE order_pk IN ({marked}) AND source = 'provider' AND json_extract(body, '$.facts.snapshot')"""


def read_stated(rows: Iterable[Sequence[Any]]) -> Iterator[tuple[int, set[str]]]:
    """(order number, names) from the rows of `stated_names`."""
    for pk, name, aliases in rows:
        yield pk, {name, *(codec.read_json(aliases) if aliases else ())}


def parts(rows: Iterable[T]) -> Iterator[list[T]]:
    """`rows` in lists of at most `ROWS_MAX`."""
    rest = iter(rows)
    while part := list(islice(rest, ROWS_MAX)):
        yield part


def marks(values: Sized) -> str:
    """A placeholder for each value."""
    return ", ".join("?" * len(values))


def _values(rows: int, columns: int) -> str:
    return ", ".join(["(" + ", ".join("?" * columns) + ")"] * rows)
