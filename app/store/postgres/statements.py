"""The statement that writes what a commit changes: a part for each kind of row, all of them sent in one round trip.

The text depends only on which kinds of rows there are, never on how many, so it is prepared once for each such shape.
Rows are passed as one array for each column.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from app.runtime.time_slice import TimeSlice
from app.store import codec
from app.store.compression import LARGE, NO_DICTIONARY, pack_alone
from app.store.records import Changes, OrderWrite, Receipt
from app.store.rows import (
    DELIVERY_STORED,
    ORDER_COLUMNS,
    PAUSE_COLUMNS,
    cancellation_row,
    decision_rows,
    delivery_rows,
    name_rows,
    order_row,
    pause_row,
)

_HOUR = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Part:
    """Writes rows of one kind."""

    name: str
    sql: str
    """`{rows}` stands for the given rows, `{0}` for the first further value."""
    types: str
    """The types of the columns: t(ext), i(nteger), b(ytes), o (a boolean)."""
    more: tuple[str, ...] = ()
    """Types of further values."""


_TYPES = {"t": "text[]", "i": "bigint[]", "b": "bytea[]", "o": "boolean[]"}
_ORDER_COLUMNS = f"{ORDER_COLUMNS}, quiet_hour, state"
_ORDER_TYPES = "tittttiiitiiit"
_ORDER_SET = """id = {new}.id, phase = {new}.phase, cancelable = {new}.cancelable, reason = {new}.reason,
    fingerprint = {new}.fingerprint, opened_at = {new}.opened_at, closes_at = {new}.closes_at,
    closing_notice = coalesce({new}.closing_notice, stored.closing_notice), last_event_at = {new}.last_event_at,
    quiet_hour = {new}.quiet_hour, state = {new}.state"""
_ROWS = "SELECT * FROM {rows} AS new"


def _replaced(columns: str, but: str) -> str:
    """Sets all columns but those of the key to the new values."""
    names = [name for name in columns.split(", ") if name not in but.split(", ")]
    return ", ".join(f"{name} = excluded.{name}" for name in names)


NEW_ORDERS = Part("new_orders", f"INSERT INTO @orders ({_ORDER_COLUMNS}) {_ROWS}", _ORDER_TYPES)
"""Plain: should another node have drawn the same number, the commit fails instead of overwriting its order."""
# Every column is set, as an update stays within its page (HOT) where no indexed column has another value than before.
ORDERS = Part(
    "changed_orders",
    f"""UPDATE @orders AS stored SET {_ORDER_SET.format(new="new")}, next_check_at = CASE WHEN new.evaluated
    THEN new.next_check_at ELSE least(stored.next_check_at, new.next_check_at) END
    FROM {{rows}} AS new ({_ORDER_COLUMNS}, evaluated) WHERE stored.account = new.account AND stored.pk = new.pk""",
    _ORDER_TYPES + "o",
)
_UPSERT = f"""INSERT INTO @orders AS stored ({_ORDER_COLUMNS}) {_ROWS} ON CONFLICT (account, pk) DO UPDATE
    SET {_ORDER_SET.format(new="excluded")}, next_check_at = """
REPLACED_ORDERS = Part("replaced_orders", f"{_UPSERT}excluded.next_check_at", _ORDER_TYPES)
"""Those that the transaction did not look up."""
EARLIER_ORDERS = Part("earlier_orders", f"{_UPSERT}least(stored.next_check_at, excluded.next_check_at)", _ORDER_TYPES)
"""The same, where policies were not evaluated."""
JOBS = Part(
    "jobs",
    f"""INSERT INTO @jobs ({codec.JOB_COLUMNS}) {_ROWS} ON CONFLICT (account, order_pk) DO UPDATE
    SET {_replaced(codec.JOB_COLUMNS, "account, order_pk")}""",
    "itttt" + "iitiii",
)
DONE_JOBS = Part(
    "done_jobs",
    """DELETE FROM @jobs AS stored USING {rows} AS old (account, pk)
    WHERE stored.account = old.account AND order_pk = pk""",
    "ti",
)
# Sorted: two commits that make the same names wait for each other in one order. Names of orders that are gone are
# taken over; fewer rows than names means that another node made one of them first.
NAMES = Part(
    "names",
    """INSERT INTO @names AS stored (key, account, name, order_pk) SELECT * FROM {rows} AS new
    ON CONFLICT (account, key, name) DO UPDATE SET order_pk = excluded.order_pk
    WHERE stored.order_pk = ANY({0}) RETURNING 1""",
    "itti",
    ("bigint[]",),
)
SHARED = Part(
    "shared_aliases",
    f"INSERT INTO @shared_aliases (account, name, order_pk) {_ROWS} ON CONFLICT DO NOTHING",
    "tti",
)
_EVENT_COLUMNS = "order_pk, account, name, key, type, source, occurred_at, received_at, receipt, body"
EVENTS = Part("events", f"INSERT INTO @events ({_EVENT_COLUMNS}) {_ROWS}", "ittittiiit")
DECIDING_EVENTS = Part("events", f"{EVENTS.sql} RETURNING account, order_pk, key, seq", EVENTS.types)
DECISIONS = Part(
    "decisions",
    """INSERT INTO @policy_decisions (policy, position, account, outcome)
    SELECT new.policy, events.seq, new.account, new.outcome FROM {rows} AS new (account, order_pk, key, policy, outcome)
    JOIN events USING (account, order_pk, key)""",
    "tiitt",
)
RECEIPTS = Part("receipts", f"INSERT INTO @receipts ({codec.RECEIPT_COLUMNS}) {_ROWS}", "ittittittbiib")
REPROCESSED = Part(
    "reprocessed",
    """UPDATE @receipts AS stored SET status = new.status, reason = new.reason
    FROM {rows} AS new (account, id, status, reason) WHERE stored.account = new.account AND stored.id = new.id""",
    "titt",
)
CANCELLATIONS = Part(
    "cancellations",
    f"""INSERT INTO @cancellations AS stored
    (id, order_pk, account, state, policy, requested_at, batch, body, waiting) {_ROWS}
    ON CONFLICT (account, id) DO UPDATE
    SET order_pk = CASE WHEN stored.order_pk = excluded.order_pk THEN excluded.order_pk END,
    state = excluded.state, body = excluded.body, waiting = excluded.waiting""",
    "titttittt",
)
"""An id of another order's cancellation fails the commit (a column that is never null): two nodes may draw the same
from one Idempotency-Key. A merge has moved cancellations before."""
ATTEMPTS = Part(
    "attempts",
    f"""INSERT INTO @attempts AS stored ({codec.ATTEMPT_COLUMNS}) {_ROWS} ON CONFLICT (account, id) DO UPDATE
    SET {_replaced(codec.ATTEMPT_COLUMNS, "account, id")}
    WHERE stored.ended_at IS NULL OR (excluded.ended_at IS NOT NULL AND excluded.outcome <> 'interrupted')""",
    "iitttt" + "iiitttii",
)
"""What came of an attempt stays: a node that was stopped, or one that recovers calls, may know less than another."""
PAUSES = Part(
    "pauses",
    f"""INSERT INTO @pauses ({PAUSE_COLUMNS}) {_ROWS} ON CONFLICT (scope) DO UPDATE
    SET {_replaced(PAUSE_COLUMNS, "scope")}""",
    "ttit",
)
RESUMES = Part("resumes", "DELETE FROM @pauses USING {rows} AS old (ended) WHERE scope = ended", "t")
PAUSES_VERSION = Part("pauses_version", "UPDATE @shared_versions SET version = version + 1 WHERE what = 'pauses'", "")
MESSAGES = Part("messages", f"INSERT INTO @messages ({codec.MESSAGE_COLUMNS}) {_ROWS}", "ittititt")
DELIVERIES = Part("deliveries", f"INSERT INTO @deliveries ({DELIVERY_STORED}) {_ROWS}", "tittitiit")
TRACES = Part("traces", f"INSERT INTO @trace_contexts (id, traceparent) {_ROWS} ON CONFLICT DO NOTHING", "tt")
COMMITTED = Part(
    "committed",
    """INSERT INTO @commits (epoch, number, at, committed)
    VALUES ({0}, {1}, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, true)""",
    "",
    ("bigint", "bigint"),
)
"""Last: who lost the answer to a commit looks for it."""


class Writing:
    """What one statement writes."""

    def __init__(self) -> None:
        self._parts: list[Part] = []
        self._values: list[Any] = []
        self.names = 0
        """How many new names it has."""

    def add(self, part: Part, rows: Collection[Sequence[Any]] = (), more: Sequence[Any] = ()) -> None:
        """Write these rows; nothing if there are none and the part takes rows."""
        if part.types and not rows:
            return
        self._parts.append(part)
        if part.types:
            self._values += zip(*rows, strict=True)
        self._values += more
        if part is NAMES:
            self.names = len(rows)

    @property
    def statement(self) -> tuple[str, list[Any]]:
        """The text and its values. It gives one row: how many names are new."""
        return _text(tuple(self._parts)), self._values

    def __bool__(self) -> bool:
        return bool(self._parts)


@lru_cache(maxsize=512)
def _text(parts: tuple[Part, ...]) -> str:
    texts, number = [], 0
    for part in parts:
        given = [f"${number + place + 1}::{_TYPES[type]}" for place, type in enumerate(part.types)]
        number += len(given)
        more = [f"${number + place + 1}::{type}" for place, type in enumerate(part.more)]
        number += len(more)
        sql = part.sql.format(*more, rows=f"unnest({', '.join(given)})")
        texts.append(f"{part.name} AS ({sql})")
    counted = "(SELECT count(*) FROM names)" if NAMES in parts else "0"
    return f"WITH {', '.join(texts)} SELECT {counted}"


async def add_changes(writing: Writing, changes: Changes, stored: Collection[int], gone: Collection[int]) -> None:
    """Write everything of `changes` that a commit usually has.

    Args:
        writing: takes the rows.
        changes: what to write.
        stored: numbers of the orders that were looked up, and locked.
        gone: numbers of orders that are gone, though names lead to them.
    """
    time_slice = TimeSlice()
    new = {pk for *_, pk in changes.names}.difference(stored)
    await add_orders(writing, changes.orders, stored, new)
    names = {(account, key, name): pk for key, account, name, pk in name_rows(changes.names)}
    rows = [(key, account, name, names[account, key, name]) for account, key, name in sorted(names)]
    writing.add(NAMES, rows, [list(gone)])
    writing.add(SHARED, changes.shared_aliases)
    events = []
    for pk, event in changes.events:
        events.append(codec.event_row(pk, event, codec.plain)[:-1])
        await time_slice.pause()
    decisions = list(decision_rows(changes.events))
    writing.add(DECIDING_EVENTS if decisions else EVENTS, events)
    writing.add(DECISIONS, decisions)
    receipts = []
    for receipt in changes.receipts:
        receipts.append(await _receipt_row(receipt))
        await time_slice.pause()
    writing.add(RECEIPTS, receipts)
    reprocessed = {
        receipt.id: (receipt.account, receipt.id, receipt.status, receipt.reason) for receipt in changes.reprocessed
    }
    writing.add(REPROCESSED, reprocessed.values())
    add_cancellations(writing, changes.cancellations)
    writing.add(ATTEMPTS, {attempt.id: codec.attempt_row(attempt) for attempt in changes.attempts}.values())
    pauses = {pause.scope: pause_row(pause) for pause in changes.pauses if pause.scope not in changes.resumes}
    writing.add(PAUSES, [pauses[scope] for scope in sorted(pauses)])
    writing.add(RESUMES, [(scope,) for scope in sorted(set(changes.resumes))])
    if changes.pauses or changes.resumes:
        writing.add(PAUSES_VERSION)
    writing.add(MESSAGES, [codec.message_row(message) for message in changes.messages])
    writing.add(DELIVERIES, [row for message in changes.messages for row in delivery_rows(message)])
    writing.add(TRACES, list(changes.traces.items()))


async def add_orders(
    writing: Writing, writes: Sequence[OrderWrite], stored: Collection[int], new: Collection[int]
) -> None:
    """Write orders and their jobs; jobs that are done are deleted."""
    time_slice = TimeSlice()
    rows: dict[Part, list[tuple[Any, ...]]] = {}
    for write in writes:
        row = order_row(write)
        last_event_at = row[-1]
        row = (*row, None if last_event_at is None else last_event_at // _HOUR, write.state)
        if write.pk in stored:
            rows.setdefault(ORDERS, []).append((*row, write.evaluated))
        elif write.pk in new:
            rows.setdefault(NEW_ORDERS, []).append(row)
        else:
            rows.setdefault(REPLACED_ORDERS if write.evaluated else EARLIER_ORDERS, []).append(row)
        await time_slice.pause()
    for part in (NEW_ORDERS, ORDERS, REPLACED_ORDERS, EARLIER_ORDERS):
        writing.add(part, rows.get(part, ()))
    writing.add(JOBS, [codec.job_row(write.pk, write.job) for write in writes if write.job is not None])
    done = [write for write in writes if write.job is None and write.had_job]
    writing.add(DONE_JOBS, [(write.aggregate.order.account, write.pk) for write in done])


def add_cancellations(writing: Writing, cancellations: Iterable[tuple[int, Any]]) -> None:
    """Write cancellations, new or changed."""
    rows = {given.id: (*cancellation_row(pk, given), given.waiting) for pk, given in cancellations}
    writing.add(CANCELLATIONS, rows.values())


async def _receipt_row(receipt: Receipt) -> tuple[Any, ...]:
    if receipt.expunged_at is not None:
        return codec.receipt_row(receipt, None, b"")
    is_large = len(receipt.body) > LARGE
    packed = await asyncio.to_thread(pack_alone, receipt) if is_large else pack_alone(receipt)
    return codec.receipt_row(receipt, NO_DICTIONARY, packed)
