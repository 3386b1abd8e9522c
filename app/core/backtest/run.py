"""A backtest: what a policy would have decided, had it been live while the log was written.

Orders are simulated one by one; duplicates are simulated together where the policy reads them. Every event counts from
when it was received, not from when it happened: what nobody knew then decides nothing (bitemporal). Timers fire between
the events, when they are due. The decisions are those of `app.core.policy.decide.consider`, as live.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from msgspec import Struct, structs

from app.contract import Order, Phase
from app.core.aggregate import OrderAggregate, comes_late, is_fact
from app.core.cancellation import State
from app.core.commands import FireTimer
from app.core.event import Event
from app.core.event_types import POLICY_PREFIX, TAGS_CHANGED
from app.core.history import History
from app.core.policy.context import PolicyContext
from app.core.policy.decide import consider, next_check_at
from app.core.policy.duplicates import fingerprint, records
from app.core.policy.model import Mode, Outcome, Policy, PolicyState
from app.core.unit_of_work import AccountView, UnitOfWork

OVER = (Phase.CANCELED, Phase.COMPLETED)
REPORTED = frozenset({Outcome.SHADOWED, Outcome.REFRAINED, Outcome.JOINED, Outcome.FAILED})
"""Decisions that a backtest reports; that a policy waits, or that its condition is false, is the usual."""
_BY_VERDICT = frozenset({Outcome.REFRAINED, Outcome.JOINED})
"""Decisions that may change as the verdict changes."""


class Decision(Struct, frozen=True):
    """What the policy would have decided on an order."""

    account: str
    order: str
    at: datetime
    outcome: Outcome
    detail: str
    cancelable: str
    """The verdict at that moment: `yes` is in time, `no` too late."""
    status: str
    cancellation: str | None = None
    happened: str = ""
    """The order's phase by now."""
    canceled_by: str | None = None
    """Who had the order canceled, if anybody did."""


@dataclass(slots=True)
class _SimulatedOrder:
    unit: UnitOfWork
    facts: list[Event] = field(default_factory=list)
    next_check_at: datetime | None = None
    fingerprint: int | None = None
    opened_at: datetime | None = None
    open_since: datetime | None = None
    canceled_by: str | None = None
    decisions: list[Decision] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        return self.unit.aggregate.order.phase in OVER


@dataclass(slots=True)
class Simulation:
    """The policy at work on some orders."""

    policy: Policy
    views: Mapping[str, AccountView]
    """Accounts, each with this policy and no other, in shadow mode."""
    since: datetime
    """When the policy was saved."""
    until: datetime
    open_times: list[tuple[datetime, datetime | None]] = field(default_factory=list)
    """From when until when orders were open."""
    _orders: dict[int, _SimulatedOrder] = field(default_factory=dict)
    _begun: bool = False
    _reads_verdict: bool = False
    _context: PolicyContext = field(init=False)

    def __post_init__(self) -> None:
        self._reads_verdict = any(name.startswith("order.verdict.") for name in self.policy.names)
        # In shadow mode no policy is held: the report checks the limits when all decisions are known. Nothing here may
        # refer to the simulation itself, as the processes of a backtest collect no cycles.
        self._context = PolicyContext(partial(_find_duplicates, self._orders), records_decisions=False)

    def run(self, log: Iterable[tuple[int, Event]]) -> list[Decision]:
        """What the policy decides; `log` is (order number, event) in the order of the log."""
        together: list[Event] = []
        number, receipt = 0, None
        for pk, event in log:
            if event.received_at > self.until:
                continue
            if together and (event.receipt is None or event.receipt != receipt or pk != number):
                self._add(number, together)
                together = []
            number, receipt = pk, event.receipt
            together.append(event)
        if together:
            self._add(number, together)
        self._pass_time(self.until)
        decisions: list[Decision] = []
        for order in self._orders.values():
            if order.open_since is not None:
                self.open_times.append((order.open_since, None))
            by_now = {"happened": order.unit.aggregate.order.phase.value, "canceled_by": order.canceled_by}
            decisions += [structs.replace(decision, **by_now) for decision in order.decisions]
        return decisions

    def _pass_time(self, moment: datetime) -> None:
        """Let the time come to `moment`: the policy is saved, timers fire."""
        if not self._begun:
            if moment < self.since:
                return
            self._begun = True
            for pk, order in self._orders.items():
                if order.unit.aggregate.order.version and not order.is_over:
                    self._consider(pk, order, self.since, ())
        while True:
            due = [(order.next_check_at, pk) for pk, order in self._orders.items() if order.next_check_at is not None]
            at, pk = min(due, default=(None, 0))
            if at is None or at > moment:
                return
            order = self._orders[pk]
            order.next_check_at, order.unit.now = None, at
            FireTimer(order.unit.account.id, order.unit.aggregate.order.id, at).decide(order.unit)
            self._consider(pk, order, at, ())

    def _add(self, pk: int, events: Sequence[Event]) -> None:
        """Add events that were recorded together: the facts of one receipt on one order, or a single event."""
        moment = events[0].received_at
        self._pass_time(moment)
        order = self._orders.get(pk)
        if order is None:
            blank = OrderAggregate(Order(account=events[0].account, id=events[0].order))
            order = self._orders[pk] = _SimulatedOrder(UnitOfWork(blank, self.views[events[0].account], moment))
        unit, tagged = order.unit, False
        facts: list[Event] = []
        for event in events:
            if is_fact(event):
                if unit.history is None and comes_late(unit.aggregate, event):
                    unit.history = History(event.account, event.order, order.facts)
                unit.add(event)
                order.facts.append(event)
                facts.append(event)
            elif not event.type.startswith(POLICY_PREFIX):  # what policies decided when they were live
                tagged |= event.type == TAGS_CHANGED
                moved = unit.add(event)
                if moved is not None and moved.state is State.SUCCEEDED:
                    order.canceled_by = moved.requested_by
        self._note_open_time(order, moment)
        if self._begun and (facts or tagged):
            self._consider(pk, order, moment, facts)

    def _consider(self, pk: int, order: _SimulatedOrder, moment: datetime, events: Sequence[Event]) -> None:
        unit = order.unit
        unit.now = moment
        if self.policy.reads_duplicates:
            self._update_fingerprint(pk, order, moment)
        if unit.aggregate.live:
            # What the events mean for live cancellations was recorded too, but a moment later in the log.
            unit.react()
        before = unit.aggregate.policy_state(self.policy.id)
        consider(unit, self._context, events)
        after = unit.aggregate.policy_state(self.policy.id)
        order.next_check_at = self._next_check_at(unit, after)
        if after is not None and after is not before and after.outcome in REPORTED:
            order.decisions.append(_decision(unit, after))

    def _next_check_at(self, unit: UnitOfWork, state: PolicyState | None) -> datetime | None:
        """As `decide.next_check_at`, but without changes of the verdict that change nothing for this policy."""
        if self._reads_verdict or (state is not None and state.outcome in _BY_VERDICT):
            return next_check_at(unit)
        at = unit.policies_check_at
        return at if at is not None and at > unit.now else None

    def _update_fingerprint(self, pk: int, order: _SimulatedOrder, moment: datetime) -> None:
        """If the order has become a duplicate of others, have them checked now, as live."""
        mark = fingerprint(order.unit.aggregate.order, order.unit.account.rules.duplicate_keys)
        opened_at = order.unit.aggregate.order.opened_at
        if mark is not None and (mark, opened_at) != (order.fingerprint, order.opened_at):
            for other_pk, other in self._orders.items():
                if other_pk != pk and other.fingerprint == mark and not other.is_over:
                    other.next_check_at = moment if other.next_check_at is None else min(other.next_check_at, moment)
        order.fingerprint, order.opened_at = mark, opened_at

    def _note_open_time(self, order: _SimulatedOrder, moment: datetime) -> None:
        if order.is_over and order.open_since is not None:
            self.open_times.append((order.open_since, moment))
            order.open_since = None
        elif not order.is_over and order.open_since is None:
            order.open_since = moment


def in_shadow(policy: Policy, accounts: Iterable[AccountView]) -> tuple[Policy, dict[str, AccountView]]:
    """The policy in shadow mode, and accounts that have it and no other."""
    policy = replace(policy, mode=Mode.SHADOW)
    return policy, {account.id: replace(account, policies=(policy,)) for account in accounts}


def _find_duplicates(
    orders: Mapping[int, _SimulatedOrder], unit: UnitOfWork, within: timedelta
) -> list[dict[str, str]]:
    own = next((order.fingerprint for order in orders.values() if order.unit is unit), None)
    others = [
        order.unit.aggregate
        for order in orders.values()
        if order.unit is not unit and own is not None and order.fingerprint == own
    ]
    return records(unit.aggregate.order, others, within)


def _decision(unit: UnitOfWork, state: PolicyState) -> Decision:
    order = unit.aggregate.order
    return Decision(
        account=unit.account.id,
        order=order.id,
        at=unit.now,
        outcome=state.outcome,
        detail=state.detail,
        cancelable=unit.verdict().cancelable.value,
        status=order.provider_status or order.phase.value,
        cancellation=state.cancellation,
    )
