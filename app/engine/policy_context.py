"""The policies of one commit: looks up what they need to know, all orders at once, and lets them decide."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from app.contract import Source
from app.core.event import Event
from app.core.folding import Folding
from app.core.pauses import Pause, Pauses
from app.core.policy.context import PolicyContext
from app.core.policy.decide import consider, review
from app.core.policy.duplicates import DuplicateGroups, NotLookedUpError, fingerprint, fingerprint_of
from app.core.policy.limits import PolicyUsage
from app.core.policy.model import Policy
from app.core.unit_of_work import UnitOfWork
from app.runtime import ids
from app.runtime.ids import Ids
from app.runtime.time_slice import TimeSlice
from app.store import RecheckOrders, Transaction

DUPLICATES_MAX = 100
"""How many orders of one fingerprint are looked at, the latest first seen."""

Touched = tuple[UnitOfWork, Sequence[Event]]
"""An order, and the facts that it is about to get."""


@dataclass(slots=True)
class CommitPolicies:
    """Lets policies decide, for as long as one commit lasts."""

    ids: Ids
    pauses: Pauses
    """The commit's own, which change as it goes on."""
    pause: Callable[[Pause, Source], None]
    note_usage: Callable[[Policy, PolicyUsage, datetime], None]
    """Called when a policy that has limits has started cancels."""
    _groups: DuplicateGroups = field(default_factory=DuplicateGroups)
    _stored: dict[int, tuple[int, datetime | None]] = field(default_factory=dict)
    """Order number → the fingerprint with which it is stored, and when it was opened."""
    _context: PolicyContext = field(init=False)

    def __post_init__(self) -> None:
        self._context = PolicyContext(self._groups.find, partial(_new_id, self.ids), self.pauses)

    async def look_up(
        self,
        transaction: Transaction,
        touched: Sequence[Touched],
        accounts_of: Mapping[str, Sequence[str]],
        now: datetime,
    ) -> None:
        """Look up what the policies of these orders need to know; `accounts_of` is policy → its accounts."""
        self._context.counts_exactly = transaction.limits
        compared = [(unit, facts) for unit, facts in touched if unit.account.index.reads_duplicates]
        if compared:
            marks = await transaction.fingerprints([unit.number for unit, _ in compared])
            self._stored = {
                unit.number: (marks[unit.number], unit.aggregate.order.opened_at)
                for unit, _ in compared
                if unit.number in marks
            }
            await self._look_up_duplicates(transaction, compared)
        accounts = {unit.account.id: unit.account for unit, _ in touched}.values()
        limited = {policy.id: policy.limits for account in accounts for policy in account.index.limited}
        if limited:
            stored = await transaction.policy_usage(list(limited), now)
            for id, limits in limited.items():
                usage = stored.get(id, PolicyUsage())
                if limits.open_share is not None:
                    needed = limits.open_orders_needed(usage.in_day + len(touched))
                    open_orders = await transaction.count_open_orders(accounts_of.get(id, ()), needed)
                    usage = replace(usage, open_orders=open_orders)
                self._context.usage[id] = usage

    def consider(self, unit: UnitOfWork, events: Sequence[Event]) -> bool:
        """Let the account's policies decide on an order; False if they must do so again at once, in another commit."""
        self._groups.update(unit)
        used = dict(self._context.usage)
        try:
            consider(unit, self._context, events)
        except NotLookedUpError:
            return False
        finally:
            postponed, self._context.postponed = self._context.postponed, False
            for halt in self._context.halts:
                self.pause(halt, Source.CLOCK)
            self._context.halts.clear()
            for policy in unit.account.index.limited:
                usage = self._context.usage.get(policy.id)
                if usage is not None and usage is not used.get(policy.id):
                    self.note_usage(policy, usage, unit.now)
        return not postponed

    def review(self, unit: UnitOfWork) -> None:
        """Revoke unsent policy cancels that are not to be sent any more."""
        if any(cancellation.policy is not None for cancellation in unit.aggregate.live):
            self._groups.update(unit)
            with suppress(NotLookedUpError):
                review(unit, self._context)

    def recheck(self, unit: UnitOfWork) -> RecheckOrders | None:
        """The order's duplicates, if they are to be checked: it has become one of them, or was opened otherwise."""
        mark = fingerprint_of(unit)
        if mark is None or (mark, unit.aggregate.order.opened_at) == self._stored.get(unit.number):
            return None
        with suppress(NotLookedUpError):
            if self._groups.others(unit):
                return RecheckOrders(unit.account.id, unit.now, mark, unit.number)
        return None

    async def _look_up_duplicates(self, transaction: Transaction, touched: Sequence[Touched]) -> None:
        units: dict[int, tuple[UnitOfWork, list[Sequence[Event]]]] = {}
        for unit, facts in touched:
            units.setdefault(unit.number, (unit, []))[1].append(facts)
        wanted: dict[str, set[int]] = {}
        for unit, facts_in_turn in units.values():
            wanted.setdefault(unit.account.id, set()).update(await _possible_fingerprints(unit, facts_in_turn))
        for account, marks in wanted.items():
            self._groups.open(account, marks)
        for _, mark, number, aggregate in await transaction.orders_with_fingerprints(wanted, DUPLICATES_MAX):
            self._groups.put(mark, number, aggregate)


def _new_id(numbers: Ids) -> str:
    return ids.show(ids.CANCELLATION, numbers.next())


async def _possible_fingerprints(unit: UnitOfWork, facts_in_turn: Iterable[Sequence[Event]]) -> set[int]:
    """The fingerprints that the order may have while the commit lasts: now, and each time that it has got facts."""
    keys, time_slice = unit.account.rules.duplicate_keys, TimeSlice()
    folding = Folding(unit.aggregate, history=None if unit.history is None else unit.history.copy())
    marks, logged = {fingerprint(folding.aggregate.order, keys)}, set(unit.logged)
    for facts in facts_in_turn:
        for event in facts:
            if event.id not in logged:
                logged.add(event.id)
                folding.add(event)
        while folding.fold():
            await time_slice.pause()
        marks.add(fingerprint(folding.aggregate.order, keys))
    return {mark for mark in marks if mark is not None}
