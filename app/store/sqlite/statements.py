"""SQL statements that write rows, and queries that transactions and readers share.

Rows are written with `INSERT … VALUES (…), (…)`, one statement for all rows of a kind: SQLite runs a statement without
Python's lock, so meanwhile the event loop takes in the next commands. (Measured: half the time of unpacking the rows
from a JSON array.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import chain, islice
from typing import Any, TypeVar

from app.core.cancellation import Cancellation
from app.core.event import Event, split_id
from app.core.policy.decisions import decisions_of
from app.store import codec
from app.store.compression import Packing
from app.store.records import EVENT_KEYS_MAX, Changes, OrderWrite
from app.store.row_compression import RowPacking
from app.store.rows import DELIVERY_STORED, PAUSE_COLUMNS, cancellation_row, delivery_rows, name_rows, pause_row
from app.store.sqlite.rechecks import recheck_statements

T = TypeVar("T")
Statement = tuple[str, tuple[Any, ...] | dict[str, Any]]

ROWS_MAX = 64
"""Rows in one statement. Each number of rows is a prepared statement per table."""

_EARLIER_CHECK = """CASE WHEN orders.next_check_at <= excluded.next_check_at OR excluded.next_check_at IS NULL
    THEN orders.next_check_at ELSE excluded.next_check_at END"""
_ORDERS = """INSERT INTO orders (pk, account, id, phase, cancelable, next_check_at, last_event_at, state, fingerprint,
    reason, closes_at, opened_at, closing_notice, dictionary)"""
_LISTED = """id = excluded.id, phase = excluded.phase, cancelable = excluded.cancelable, reason = excluded.reason,
    closes_at = excluded.closes_at, opened_at = excluded.opened_at, fingerprint = excluded.fingerprint, """
# SQLite writes the entry of an index anew if a column of it is set, be it to the same value: what lists go by is left
# out where it has not changed, as by most events.
_ORDERS_UPSERTS = {
    (listed_as_before, evaluated): f""" ON CONFLICT (pk) DO UPDATE SET {"" if listed_as_before else _LISTED}
    next_check_at = {"excluded.next_check_at" if evaluated else _EARLIER_CHECK},
    last_event_at = excluded.last_event_at, state = excluded.state, dictionary = excluded.dictionary,
    closing_notice = coalesce(excluded.closing_notice, orders.closing_notice)"""
    for listed_as_before in (False, True)
    for evaluated in (True, False)
}
"""By whether what lists go by is unchanged, and whether policies were evaluated."""
_NAMES = "INSERT INTO names (key, account, name, order_pk)"
_NAMES_UPSERT = " ON CONFLICT (key, account, name) DO UPDATE SET order_pk = excluded.order_pk"
"""Conflicts only where the old order is gone."""
_SHARED = "INSERT OR IGNORE INTO shared_aliases (account, name, order_pk)"
_EVENTS = f"INSERT INTO events ({codec.EVENT_STORED})"
_ROW_DICTIONARIES = "INSERT INTO row_dictionaries (id, account, content)"
_DECISIONS = """INSERT INTO policy_decisions (policy, position, outcome)
    SELECT json_extract(decided.value, '$[0]'), seq, json_extract(decided.value, '$[1]')
    FROM events, json_each(?) AS decided WHERE events.order_pk = ? AND events.key = ?"""
"""After the event itself, whose position the database gives."""
_RECEIPTS = f"INSERT INTO receipts ({codec.RECEIPT_COLUMNS})"
_DICTIONARIES = f"INSERT INTO receipt_dictionaries ({codec.DICTIONARY_COLUMNS})"
_CANCELLATIONS = "INSERT INTO cancellations (id, order_pk, account, state, policy, requested_at, batch, body)"
_CANCELLATIONS_UPSERT = """ ON CONFLICT (id) DO UPDATE SET order_pk = excluded.order_pk,
    account = excluded.account, state = excluded.state, body = excluded.body"""
_JOBS = f"INSERT OR REPLACE INTO jobs ({codec.JOB_COLUMNS})"
_MESSAGES = f"INSERT INTO messages ({codec.MESSAGE_COLUMNS})"
_DELIVERIES = f"INSERT INTO deliveries ({DELIVERY_STORED})"
_ATTEMPTS = f"INSERT OR REPLACE INTO attempts ({codec.ATTEMPT_COLUMNS})"


def change_statements(changes: Changes, packing: Packing, rows: RowPacking) -> Iterator[Statement]:
    """Everything that one transaction writes; its new receipts are those of `packing`.

    `row_dictionary_statements` come after all that is packed.
    """
    yield from order_statements(changes.orders, rows)
    yield from _insert(_NAMES, name_rows(changes.names), _NAMES_UPSERT)
    yield from _insert(_SHARED, changes.shared_aliases)
    yield from _insert(_EVENTS, (codec.event_row(pk, event, rows.pack) for pk, event in changes.events))
    yield from _decision_statements(changes.events)
    yield from _insert(_RECEIPTS, (codec.receipt_row(*packed) for packed in packing.packed))
    yield from _insert(_DICTIONARIES, (codec.dictionary_row(dictionary) for dictionary in packing.dictionaries))
    for dictionary, last_use in packing.replaced:
        yield "UPDATE receipt_dictionaries SET last_use = ? WHERE id = ?", (last_use, dictionary)
    for receipt in changes.reprocessed:
        yield "UPDATE receipts SET status = ?, reason = ? WHERE id = ?", (receipt.status, receipt.reason, receipt.id)
    yield from cancellation_statements(changes.cancellations)
    yield from _insert(_ATTEMPTS, (codec.attempt_row(attempt) for attempt in changes.attempts))
    yield from _insert(f"INSERT OR REPLACE INTO pauses ({PAUSE_COLUMNS})", map(pause_row, changes.pauses))
    for scope in changes.resumes:
        yield "DELETE FROM pauses WHERE scope = ?", (scope,)
    yield from _insert(_MESSAGES, (codec.message_row(message) for message in changes.messages))
    yield from _insert(_DELIVERIES, chain.from_iterable(map(delivery_rows, changes.messages)))
    yield from _insert("INSERT OR IGNORE INTO trace_contexts (id, traceparent)", changes.traces.items())
    yield from recheck_statements(changes.rechecks)


def row_dictionary_statements(rows: RowPacking) -> Iterator[Statement]:
    """The dictionaries that were made while rows were packed."""
    made = ((dictionary.id, dictionary.account, dictionary.content) for dictionary in rows.dictionaries)
    yield from _insert(_ROW_DICTIONARIES, made)


def _decision_statements(events: Iterable[tuple[int, Event]]) -> Iterator[Statement]:
    """Which policies decided by which events."""
    for pk, event in events:
        decided = [(decision["policy"], decision.get("outcome")) for decision in decisions_of(event)]
        if decided:
            yield _DECISIONS, (codec.to_json(decided), pk, split_id(event.id)[1])


def order_statements(writes: Sequence[OrderWrite], packing: RowPacking) -> Iterator[Statement]:
    """Upserts of orders and of their jobs; jobs that are done are deleted."""
    kinds: dict[tuple[bool, bool], list[tuple[Any, ...]]] = {}
    for write in writes:
        kinds.setdefault((write.listed_as_before, write.evaluated), []).append(_order_row(write, packing))
    for kind, rows in kinds.items():
        yield from _insert(_ORDERS, rows, _ORDERS_UPSERTS[kind])
    yield from _insert(_JOBS, (codec.job_row(write.pk, write.job) for write in writes if write.job is not None))
    for jobless in parts([write.pk for write in writes if write.job is None and write.had_job]):
        yield f"DELETE FROM jobs WHERE order_pk IN ({marks(jobless)})", tuple(jobless)


def _order_row(write: OrderWrite, packing: RowPacking) -> tuple[Any, ...]:
    order = write.aggregate.order
    encoded = codec.to_json_bytes(write.aggregate)
    write.state = encoded.decode()
    state, dictionary = packing.pack(order.account, write.pk, encoded)
    return (
        write.pk,
        order.account,
        order.id,
        order.phase,
        write.cancelable,
        codec.micros_or_none(write.next_check_at),
        codec.micros_or_none(order.last_event_at),
        state,
        write.fingerprint,
        write.reason,
        codec.micros_or_none(write.closes_at),
        codec.micros_or_none(order.opened_at),
        write.closing_notice,
        dictionary,
    )


def cancellation_statements(cancellations: Iterable[tuple[int, Cancellation]]) -> Iterator[Statement]:
    """Upserts of cancellations."""
    rows = (cancellation_row(pk, cancellation) for pk, cancellation in cancellations)
    return _insert(_CANCELLATIONS, rows, _CANCELLATIONS_UPSERT)


def _insert(head: str, rows: Iterable[tuple[Any, ...]], tail: str = "") -> Iterator[Statement]:
    for part in parts(rows):
        yield _insertion(head, len(part), len(part[0]), tail), tuple(chain.from_iterable(part))


@lru_cache(maxsize=1024)
def _insertion(head: str, rows: int, columns: int, tail: str) -> str:
    return f"{head} VALUES {_values(rows, columns)}{tail}"


@lru_cache(maxsize=ROWS_MAX)
def find_orders(rows: int, more: str = "") -> str:
    """Query the orders of so many (key, account, name): a JSON array of (account, name, order number, state).

    `more` are further columns.
    """
    columns = f"{codec.ORDER_STATE}, {more}" if more else codec.ORDER_STATE
    return f"""WITH wanted (key, account, name) AS (VALUES {_values(rows, 3)})
        SELECT json_group_array(json_array(wanted.account, wanted.name, orders.pk, {columns}))
        FROM wanted JOIN names USING (key, account, name) JOIN orders ON orders.pk = names.order_pk"""


@lru_cache(maxsize=ROWS_MAX)
def find_events(rows: int) -> str:
    """Query which of so many (number, order key, account, name, event key) are in the log: a JSON array of numbers."""
    return f"""WITH wanted (number, order_key, account, name, event_key) AS (VALUES {_values(rows, 5)})
        SELECT json_group_array(wanted.number) FROM wanted
        JOIN names ON names.key = order_key AND names.account = wanted.account AND names.name = wanted.name
        JOIN events ON events.order_pk = names.order_pk AND events.key = event_key"""


@lru_cache(maxsize=ROWS_MAX)
def event_keys(rows: int) -> str:
    """Query the events of so many order numbers: a JSON array of (order number, keys as `FoundOrder` has them).

    Of more events than it may have, the keys are one too many.
    """
    return f"""WITH wanted (order_pk) AS (VALUES {_values(rows, 1)})
        SELECT json_group_array(json_array(order_pk, (SELECT coalesce(group_concat(printf(',%016x', key), ''), '')
        FROM (SELECT key FROM events WHERE events.order_pk = wanted.order_pk LIMIT {EVENT_KEYS_MAX + 1}))))
        FROM wanted"""


def provider_names(orders: int) -> str:
    """Query by which names the provider referred to so many orders; their numbers are bound twice."""
    marked = ", ".join("?" * orders)
    return f"""SELECT DISTINCT order_pk, name, NULL FROM events WHERE order_pk IN ({marked}) AND source = 'webhook'
        UNION SELECT DISTINCT order_pk, name, json_extract({codec.EVENT_BODY}, '$.facts.aliases') FROM events
        WHERE order_pk IN ({marked}) AND source = 'provider' AND json_extract({codec.EVENT_BODY}, '$.facts.snapshot')"""


def read_provider_names(rows: Iterable[Sequence[Any]]) -> Iterator[tuple[int, set[str]]]:
    """(order number, names) from the rows of `provider_names`."""
    for pk, name, aliases in rows:
        yield pk, {name, *(codec.read_json(aliases) if aliases else ())}


LOG_MARK = """SELECT count(*), coalesce(max(seq), 0), (SELECT count(*) FROM events AS event
    CROSS JOIN erasures ON erasures.position = event.seq WHERE event.order_pk = ?) FROM events WHERE order_pk = ?"""
"""The fields of a `LogMark`."""


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


def policy_usage(policies: Sequence[str], now: datetime) -> tuple[str, tuple[Any, ...]]:
    """The query for (policy, its cancels in the hour, in the day before `now`)."""
    sql = f"""SELECT policy, sum(requested_at > ?), count(*) FROM cancellations
              WHERE policy IN ({marks(policies)}) AND requested_at > ? GROUP BY policy"""
    hour, day = (codec.micros(now - timedelta(hours=hours)) for hours in (1, 24))
    return sql, (hour, *policies, day)
