"""The rebuild: recompute all orders from the log, compare them with what is stored, and repair differences (I8).

Orders, cancellations and jobs are derived from the log and from nothing else, so a fold of the log must give what is
stored, byte for byte. It goes by pages of orders, so its memory is that of one page however long the log is, and every
page is repaired in a transaction of its own.

The columns that hold the verdict are not compared: it is that at the time of the last change under the rules of that
time, and rules may change without an event. A repaired order is judged anew. Subscribers are told nothing of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from app.core.aggregate import job_for
from app.core.folding import Replay, replay
from app.core.outbound.routing import Router
from app.core.outbound.told import closing
from app.core.outbound.types import CLOSING_SOON
from app.core.policy.decide import next_check_at, policies_check_at
from app.core.policy.duplicates import fingerprint_of
from app.core.unit_of_work import AccountView, UnitOfWork
from app.store import OrderWrite, Reader, Store, StoredOrder, codec

PAGE = 500
TRIES = 10
"""How often an order is repaired anew that others change meanwhile; then it is reported as it is."""

MISSING = "missing"
DIFFERENT = "different"
SURPLUS = "not in the log"


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A stored row that is not what the log gives."""

    order_pk: int
    account: str
    order: str
    what: str
    """`order`, `job`, `cancellation can_…`, or `log` if the log itself cannot be read."""
    problem: str
    """`missing`, `different`, `not in the log`; for the log, the error."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The result of one page of orders."""

    orders: int
    events: int
    mismatches: list[Mismatch]
    repaired: int
    """How many of the mismatches were repaired."""


View = Callable[[str], AccountView]


async def check(reader: Reader, page: int = PAGE) -> AsyncIterator[Progress]:
    """Compare everything that is stored with the log. Others may write meanwhile."""
    async for stored in _pages(reader, page):
        mismatches = [mismatch for order in stored for mismatch in _examine(order)[0]]
        yield Progress(len(stored), sum(len(order.events) for order in stored), mismatches, 0)


async def rebuild(
    store: Store, view: View, page: int = PAGE, *, router: Router | None = None, now: datetime | None = None
) -> AsyncIterator[Progress]:
    """Compare, and replace what differs with what the log gives. Others may write meanwhile.

    Verdicts are those at `now`; None: at an order's last event. `router` says who is told when windows close.
    Raises `StoreError`; pages that were repaired before stay repaired.
    """
    judge = partial(_write, view=view, router=router or Router(), now=now)
    async for stored in _pages(store, page):
        examined = [(order, *_examine(order)) for order in stored]
        wrong = [order for order, mismatches, _ in examined if mismatches]
        mismatches = [mismatch for _, mismatches, _ in examined for mismatch in mismatches]
        repaired = 0
        if wrong:
            await _repair(store, wrong, judge)
            # Counted by a second look, so that nothing is reported as repaired that is not.
            after = await store.stored_again(wrong)
            repaired = len(mismatches) - sum(len(_examine(order)[0]) for order in after)
        yield Progress(len(stored), sum(len(order.events) for order in stored), mismatches, repaired)


async def _repair(
    store: Store, wrong: Sequence[StoredOrder], judge: Callable[[StoredOrder, Replay], OrderWrite]
) -> None:
    """Replace orders as the log gives them: all at once, or those that others change meanwhile one by one."""
    if await _replace(store, wrong, judge):
        return
    for order in wrong:
        for _ in range(TRIES):
            if await _replace(store, await store.stored_again([order]), judge):
                break


async def _replace(
    store: Store, stored: Sequence[StoredOrder], judge: Callable[[StoredOrder, Replay], OrderWrite]
) -> bool:
    """Replace those that are wrong; False if others have changed one since it was read."""
    examined = [(order, *_examine(order)) for order in stored]
    to_repair = [(order, replayed) for order, wrong, replayed in examined if wrong and replayed is not None]
    if not to_repair:
        return True
    writes = [judge(order, replayed) for order, replayed in to_repair]
    cancels = [(order.pk, cancel) for order, replayed in to_repair for cancel in replayed.cancellations.values()]
    return await store.replace_orders(writes, cancels, [order for order, _ in to_repair])


async def _pages(reader: Reader, page: int) -> AsyncIterator[list[StoredOrder]]:
    after: StoredOrder | None = None
    while stored := await reader.stored_orders(after, page):
        yield stored
        after = stored[-1]


def _examine(stored: StoredOrder) -> tuple[list[Mismatch], Replay | None]:
    """The mismatches of an order, and the order as the log gives it, if the log can be read."""
    try:
        replayed = replay(codec.read_event(row) for row in stored.events)
        expected = None if replayed is None else _rows(stored.pk, replayed)
    except Exception as error:  # noqa: BLE001 - a damaged log may fail in any way; the other orders go on
        return [_mismatch(stored, "log", f"{type(error).__name__}: {error}")], None
    order, job, cancellations = expected or (None, None, {})
    pairs = {"order": (stored.order, order), "job": (stored.job, job)}
    ids = dict.fromkeys([*cancellations, *stored.cancellations])
    pairs |= {f"cancellation {id}": (stored.cancellations.get(id), cancellations.get(id)) for id in ids}
    wrong = {what: _problem(*pair) for what, pair in pairs.items() if pair[0] != pair[1]}
    return [_mismatch(stored, what, problem) for what, problem in wrong.items()], replayed


def _rows(pk: int, replayed: Replay) -> tuple[tuple[Any, ...], tuple[Any, ...] | None, dict[str, tuple[Any, ...]]]:
    """The columns of order, job and cancellations as `StoredOrder` has them."""
    order, job = replayed.aggregate.order, job_for(replayed.aggregate)
    last_event_at = codec.micros_or_none(order.last_event_at)
    return (
        (order.account, order.id, order.phase, last_event_at, codec.to_json(replayed.aggregate)),
        None if job is None else codec.job_row(pk, job),
        {id: (cancel.account, cancel.state, codec.to_json(cancel)) for id, cancel in replayed.cancellations.items()},
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


def _write(stored: StoredOrder, replayed: Replay, view: View, router: Router, now: datetime | None) -> OrderWrite:
    account = view(replayed.aggregate.order.account)
    unit = UnitOfWork(replayed.aggregate, account, replayed.last.received_at)
    leads = router.leads(CLOSING_SOON, account.id)
    # A time that has passed meanwhile is checked by the timers at once.
    unit.policies_check_at = policies_check_at(unit)
    check_at = next_check_at(unit, closing(None, unit.closes_at(), leads, unit.now).next_at)
    unit.now = now or unit.now
    verdict = unit.verdict()
    return OrderWrite(
        stored.pk,
        replayed.aggregate,
        verdict.cancelable,
        check_at,
        job_for(replayed.aggregate),
        had_job=stored.job is not None,
        fingerprint=fingerprint_of(unit),
        evaluated=False,
        reason=verdict.reason,
        closes_at=unit.closes_at(),
    )
