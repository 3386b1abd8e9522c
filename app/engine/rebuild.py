"""The rebuild: fold the whole log anew, compare with what is stored, and mend what differs (guarantee I8).

Orders, cancellations and jobs are derived from the log and from nothing else, so a fold of the log
must give what is stored, byte for byte. It goes by pages of orders, so its memory is that of one
page however long the log is, and every page is mended in a transaction of its own.

The column by which orders are searched for their verdict is not compared: it holds the verdict at
the time of the last change under the rules of that time, and rules may change without an event. An
order that is mended is judged anew.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from app.core.aggregate import job_for
from app.core.folding import Replay, replay
from app.core.policy.decide import next_check_at
from app.core.policy.duplicates import fingerprint_of
from app.core.unit_of_work import AccountView, UnitOfWork
from app.store import OrderWrite, Reader, Store, StoredOrder, codec

PAGE = 500

MISSING = "missing"
DIFFERENT = "different"
SURPLUS = "not in the log"


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Something stored that is not what the log gives."""

    order_pk: int
    account: str
    order: str
    what: str
    """`order`, `job`, `cancellation can_…`, or `log` where the log itself cannot be read."""
    problem: str
    """`missing`, `different`, `not in the log`; for the log, the error."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What came of one page of orders."""

    orders: int
    events: int
    mismatches: list[Mismatch]
    mended: int
    """How many of the mismatches are no more."""


View = Callable[[str], AccountView]


async def check(reader: Reader, page: int = PAGE) -> AsyncIterator[Progress]:
    """Compare all that is stored with the log. Others may write meanwhile."""
    async for stored in _pages(reader, page):
        found = [mismatch for each in stored for mismatch in _examine(each)[0]]
        yield Progress(len(stored), sum(len(each.events) for each in stored), found, 0)


async def rebuild(store: Store, view: View, page: int = PAGE) -> AsyncIterator[Progress]:
    """Compare, and replace what differs by what the log gives. Nobody else may write meanwhile.

    Raises `StoreError`; pages that were mended before stay so.
    """
    async for stored in _pages(store, page):
        examined = [(each, *_examine(each)) for each in stored]
        found = [mismatch for _, mismatches, _ in examined for mismatch in mismatches]
        mended = 0
        wrong = [(each, folded) for each, mismatches, folded in examined if mismatches and folded is not None]
        if wrong:
            writes = [_write(each, folded, view) for each, folded in wrong]
            moved = [(each.pk, known) for each, folded in wrong for known in folded.cancellations.values()]
            await store.replace_orders(writes, moved)
            # What is said to be mended was looked at again: no claim without evidence here either.
            after = await store.stored_orders(stored[0].pk - 1, len(stored))
            mended = len(found) - sum(len(_examine(each)[0]) for each in after)
        yield Progress(len(stored), sum(len(each.events) for each in stored), found, mended)


async def _pages(reader: Reader, page: int) -> AsyncIterator[list[StoredOrder]]:
    after = 0
    while stored := await reader.stored_orders(after, page):
        yield stored
        after = stored[-1].pk


def _examine(stored: StoredOrder) -> tuple[list[Mismatch], Replay | None]:
    """What is wrong with an order, and what it should be, if the log tells."""
    try:
        folded = replay(codec.read_event(row) for row in stored.events)
        expected = None if folded is None else _rows(stored.pk, folded)
    except Exception as error:  # noqa: BLE001 - a log that is damaged may fail in any way; the other orders go on
        return [_mismatch(stored, "log", f"{type(error).__name__}: {error}")], None
    order, job, cancellations = expected or (None, None, {})
    pairs = {"order": (stored.order, order), "job": (stored.job, job)}
    ids = dict.fromkeys([*cancellations, *stored.cancellations])
    pairs |= {f"cancellation {id}": (stored.cancellations.get(id), cancellations.get(id)) for id in ids}
    wrong = {what: _problem(*pair) for what, pair in pairs.items() if pair[0] != pair[1]}
    return [_mismatch(stored, what, problem) for what, problem in wrong.items()], folded


def _rows(pk: int, folded: Replay) -> tuple[tuple[Any, ...], tuple[Any, ...] | None, dict[str, tuple[Any, ...]]]:
    """The columns of order, job and cancellations as `StoredOrder` has them."""
    order, job = folded.aggregate.order, job_for(folded.aggregate)
    last_event_at = codec.micros_or_none(order.last_event_at)
    return (
        (order.account, order.id, order.phase, last_event_at, codec.to_json(folded.aggregate)),
        None if job is None else codec.job_row(pk, job),
        {id: (each.account, each.state, codec.to_json(each)) for id, each in folded.cancellations.items()},
    )


def _problem(stored: object, expected: object) -> str:
    if stored is None:
        return MISSING
    return SURPLUS if expected is None else DIFFERENT


def _mismatch(stored: StoredOrder, what: str, problem: str) -> Mismatch:
    account, name = stored.events[0][:2] if stored.events else ("", "")
    if stored.order is not None:
        account, name = stored.order[:2]
    return Mismatch(stored.pk, str(account), str(name), what, problem)


def _write(stored: StoredOrder, folded: Replay, view: View) -> OrderWrite:
    unit = UnitOfWork(folded.aggregate, view(folded.aggregate.order.account), folded.last.received_at)
    # A time that has passed meanwhile is looked at by the timers at once.
    return OrderWrite(
        stored.pk,
        folded.aggregate,
        unit.verdict().cancelable,
        next_check_at(unit),
        job_for(folded.aggregate),
        had_job=stored.job is not None,
        fingerprint=fingerprint_of(unit),
        evaluated=False,
    )
