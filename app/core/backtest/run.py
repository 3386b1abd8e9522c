"""A backtest: what a policy would have decided, had it been live while the log was written.

Orders are simulated one by one, or a few together where they are the same to the provider and the policy looks at
that. Every event counts from when it was received, not from when it happened: what nobody knew then decides nothing
(bitemporal). Timers fire between the events, when they are due. What decides is what decides live: `consider`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from msgspec import Struct, structs

from app.contract import Order, Phase
from app.core import aggregate as cases
from app.core.aggregate import POLICY_PREFIX, TAGGED, OrderAggregate, comes_late, is_fact
from app.core.cancellation import State
from app.core.commands import FireTimer
from app.core.event import Event
from app.core.history import History
from app.core.policy.decide import consider, next_check_at
from app.core.policy.duplicates import fingerprint, records
from app.core.policy.evaluate import Sight, look_again_at
from app.core.policy.model import Mode, Outcome, Policy, PolicyState
from app.core.unit_of_work import AccountView, UnitOfWork

OVER = (Phase.CANCELED, Phase.COMPLETED)


class Decided(Struct, frozen=True):
    """What the policy would have decided on an order."""

    account: str
    order: str
    at: datetime
    outcome: Outcome
    detail: str
    cancelable: str
    """The verdict of that moment: `yes` is in time, `no` too late."""
    status: str
    cancellation: str | None = None
    happened: str = ""
    """How the order stands by now: its phase."""
    canceled_by: str | None = None
    """Who had it canceled, if somebody did."""


@dataclass(slots=True)
class _Actor:
    """One order in a simulation."""

    desk: UnitOfWork
    facts: list[Event] = field(default_factory=list)
    next_check_at: datetime | None = None
    fingerprint: int | None = None
    opened_at: datetime | None = None
    open_since: datetime | None = None
    canceled_by: str | None = None
    decided: list[Decided] = field(default_factory=list)


@dataclass(slots=True)
class Simulation:
    """The policy's life with some orders, whose events are given in the order of the log."""

    policy: Policy
    views: Mapping[str, AccountView]
    """Accounts, each with this policy and no other, in shadow mode."""
    since: datetime
    """When the policy begins to live."""
    until: datetime
    _actors: dict[int, _Actor] = field(default_factory=dict)
    _begun: bool = False
    _reads_verdict: bool = False
    spans: list[tuple[datetime, datetime | None]] = field(default_factory=list)
    """From when to when an order was open."""

    def __post_init__(self) -> None:
        self._reads_verdict = any(name.startswith("order.verdict.") for name in self.policy.names)

    def run(self, log: Iterable[tuple[int, Event]]) -> list[Decided]:
        """What the policy decides; `log` is (order number, event)."""
        together: list[Event] = []
        number, receipt = 0, None
        for pk, event in log:
            if event.received_at > self.until:
                continue
            if together and (event.receipt is None or event.receipt != receipt or pk != number):
                self._hear(number, together)
                together = []
            number, receipt = pk, event.receipt
            together.append(event)
        if together:
            self._hear(number, together)
        self._pass_time(self.until)
        found: list[Decided] = []
        for actor in self._actors.values():
            if actor.open_since is not None:
                self.spans.append((actor.open_since, None))
            told = {"happened": actor.desk.aggregate.order.phase.value, "canceled_by": actor.canceled_by}
            found += [structs.replace(each, **told) for each in actor.decided]
        return found

    # -- `Surroundings` ---------------------------------------------------------------------------

    def hold(self, _policy: Policy, _now: datetime, /) -> str | None:
        """Limits are looked at when all decisions are known."""
        return None

    def acts(self, _policy: Policy, /) -> str:
        """See `Surroundings.acts`."""
        raise AssertionError("a backtest is in shadow mode")

    def duplicates(self, desk: UnitOfWork, within: timedelta, /) -> list[dict[str, str]]:
        """See `Surroundings.duplicates`."""
        mine = next((each.fingerprint for each in self._actors.values() if each.desk is desk), None)
        others = [
            each.desk.aggregate
            for each in self._actors.values()
            if each.desk is not desk and mine is not None and each.fingerprint == mine
        ]
        return records(desk.aggregate.order, others, within)

    def note(self, desk: UnitOfWork, _policy: Policy, decided: PolicyState, _sight: Sight, /) -> None:
        """The decision counts, and nobody will ask for the value of every clause."""
        desk.aggregate = cases.after_decision(desk.aggregate, decided)

    # -- Time and events --------------------------------------------------------------------------

    def _pass_time(self, moment: datetime) -> None:
        """Let the clock come to `moment`: the policy begins to live, timers fire."""
        if not self._begun:
            if moment < self.since:
                return
            self._begun = True
            for pk, actor in self._actors.items():
                if actor.desk.aggregate.order.version and actor.desk.aggregate.order.phase not in OVER:
                    self._consider(pk, actor, self.since, ())
        while True:
            due = [(each.next_check_at, pk) for pk, each in self._actors.items() if each.next_check_at is not None]
            at, pk = min(due, default=(None, 0))
            if at is None or at > moment:
                return
            actor = self._actors[pk]
            actor.next_check_at, actor.desk.now = None, at
            FireTimer(actor.desk.account.id, actor.desk.aggregate.order.id, at).decide(actor.desk)
            self._consider(pk, actor, at, ())

    def _hear(self, pk: int, events: Sequence[Event]) -> None:
        """Events that came together: the facts of one receipt on one order, or one of another kind."""
        moment = events[0].received_at
        self._pass_time(moment)
        actor = self._actors.get(pk)
        if actor is None:
            blank = OrderAggregate(Order(account=events[0].account, id=events[0].order))
            actor = self._actors[pk] = _Actor(UnitOfWork(blank, self.views[events[0].account], moment))
        desk, looks = actor.desk, False
        woken: list[Event] = []
        for event in events:
            if is_fact(event):
                if desk.history is None and comes_late(desk.aggregate, event):
                    desk.history = History(event.account, event.order, actor.facts)
                desk.add(event)
                actor.facts.append(event)
                woken.append(event)
            elif not event.type.startswith(POLICY_PREFIX):  # what policies decided when they were live
                looks |= event.type == TAGGED
                moved = desk.add(event)
                if moved is not None and moved.state is State.SUCCEEDED:
                    actor.canceled_by = moved.requested_by
        self._note_span(actor, moment)
        if self._begun and (woken or looks):
            self._consider(pk, actor, moment, woken)

    def _consider(self, pk: int, actor: _Actor, moment: datetime, woken: Sequence[Event]) -> None:
        desk = actor.desk
        desk.now = moment
        if self.policy.reads_duplicates:
            self._find_alike(pk, actor, moment)
        if desk.aggregate.live:
            # What the events mean for cancellations under way: as it was recorded, a moment later in the log.
            desk.react()
        before = desk.aggregate.policy_state(self.policy.id)
        consider(desk, self, woken)
        after = desk.aggregate.policy_state(self.policy.id)
        actor.next_check_at = self._next_check_at(desk, after)
        if after is not None and after is not before and after.outcome in TOLD:
            actor.decided.append(_decided(desk, after))

    def _next_check_at(self, desk: UnitOfWork, standing: PolicyState | None) -> datetime | None:
        """As `next_check_at`, but for changes of the verdict that change nothing for this policy."""
        if self._reads_verdict or (standing is not None and standing.outcome in _BY_VERDICT):
            return next_check_at(desk)
        at = look_again_at(self.policy, standing, desk.now)
        return at if at is not None and at > desk.now else None

    def _find_alike(self, pk: int, actor: _Actor, moment: datetime) -> None:
        """Whoever has become one of several that are the same wakes the others."""
        found = fingerprint(actor.desk.aggregate.order, actor.desk.account.rules.duplicate_keys)
        opened_at = actor.desk.aggregate.order.opened_at
        if found is not None and (found, opened_at) != (actor.fingerprint, actor.opened_at):
            for other, each in self._actors.items():
                over = each.desk.aggregate.order.phase in OVER
                if other != pk and each.fingerprint == found and not over:
                    each.next_check_at = moment if each.next_check_at is None else min(each.next_check_at, moment)
        actor.fingerprint, actor.opened_at = found, opened_at

    def _note_span(self, actor: _Actor, moment: datetime) -> None:
        over = actor.desk.aggregate.order.phase in OVER
        if over and actor.open_since is not None:
            self.spans.append((actor.open_since, moment))
            actor.open_since = None
        elif not over and actor.open_since is None:
            actor.open_since = moment


_BY_VERDICT = frozenset({Outcome.REFRAINED, Outcome.JOINED})
"""Where a policy stands so, another verdict may let it act."""
TOLD = frozenset({Outcome.SHADOWED, Outcome.REFRAINED, Outcome.JOINED, Outcome.FAILED})
"""What a backtest tells of; that a policy waits, or that its condition does not hold, is the usual."""


def shadow(policy: Policy, accounts: Iterable[AccountView]) -> tuple[Policy, dict[str, AccountView]]:
    """The policy in shadow mode, and accounts that have it and no other."""
    made = replace(policy, mode=Mode.SHADOW)
    return made, {account.id: replace(account, policies=(made,)) for account in accounts}


def _decided(desk: UnitOfWork, standing: PolicyState) -> Decided:
    order = desk.aggregate.order
    return Decided(
        account=desk.account.id,
        order=order.id,
        at=desk.now,
        outcome=standing.outcome,
        detail=standing.detail,
        cancelable=desk.verdict().cancelable.value,
        status=order.provider_status or order.phase.value,
        cancellation=standing.cancellation,
    )
