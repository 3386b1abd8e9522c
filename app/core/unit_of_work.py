"""The unit of work: one order's aggregate under decision, inside one transaction.

A command decides by emitting events. Each is folded before anybody reads the aggregate, so the next decision sees it.
After every command the unit of work reacts: it applies what the new facts mean to the live cancellations.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from app.contract import Cancelable, Handler, Order, Phase, Source, Verdict
from app.core.aggregate import PROBE_RETRIES
from app.core.cancellation import Cancellation, Cause, State, Waiting, advance
from app.core.event import Event, internal_event
from app.core.folding import Folding
from app.core.pauses import Pauses
from app.core.policy.index import PolicyIndex
from app.core.policy.model import Policy, PolicyState
from app.core.verdict import NOT_OFFERED, closes_at, judge
from app.kit.clauses import clause

WEBHOOK_WAIT_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class AccountView:
    """What decisions need to know of an account."""

    id: str
    handler: Handler
    rules: Any
    unknown_orders: str = "probe"
    """`probe`, `send` or `reject`: what to do with a cancel of an order never seen."""
    stale_after_s: float | None = None
    """A `yes` whose newest evidence is older than this is `unknown`."""
    deadline: timedelta = timedelta(hours=72)
    """The deadline of a cancellation that was requested without one, from its request."""
    policies: tuple[Policy, ...] = ()
    """The policies that apply to this account, in the order in which they decide."""
    no_cancel: str | None = None
    """Why the account cancels nothing, if its provider offers no cancel."""
    version: int = 0
    """The version of the account's configuration; another version may have other credentials."""
    _index: list[PolicyIndex] = field(init=False, default_factory=list, compare=False, repr=False)
    """The index of its policies, once somebody asked for it."""

    @property
    def index(self) -> PolicyIndex:
        """Finds the policies that may decide something."""
        if not self._index:
            self._index.append(PolicyIndex(self.policies))
        return self._index[0]

    def judge(self, order: Order, now: datetime) -> Verdict:
        """The verdict on one of the account's orders."""
        verdict = judge(self.handler, self.rules, order, now, self.stale_after_s)
        if self.no_cancel is None or verdict.cancelable is Cancelable.NO:
            return verdict
        clause(NOT_OFFERED, "The account's provider offers no cancel.", holds=True)
        return Verdict(Cancelable.NO, NOT_OFFERED, self.no_cancel)

    def closes_at(self, order: Order, now: datetime, judged: Verdict | None = None) -> datetime | None:
        """When time alone closes the window of an order that can be canceled now; None: never, as far as is known.

        `judged` is the verdict on it at `now`, if that is known already.
        """
        if self.no_cancel is not None:
            return None
        # The age of the evidence, which a verdict may rest on, closes no window.
        return closes_at(self.handler, self.rules, order, now, judged if self.stale_after_s is None else None)


class Step(NamedTuple):
    """A step of a cancellation."""

    event: Event
    before: Cancellation | None
    """None where it is the first."""
    after: Cancellation


class UnitOfWork(Folding):
    """An order's aggregate, and what is decided about it."""

    account: AccountView
    now: datetime
    number: int = 0
    """The order's number in the store, which stays the same when its id changes; 0 if it is not stored."""
    chance: float = 0.0
    """Uniform in [0, 1): the randomness of retries, drawn outside."""
    latency_s: float = 0.0
    """How long the account's calls have recently taken, in seconds."""
    logged: set[str] = msgspec.field(default_factory=set)
    """Ids of the events that are in the log."""
    pauses: Pauses = msgspec.field(default_factory=Pauses)
    """What may not be sent now."""
    owned: bool = True
    """Whether this node is the one that sends for the account."""
    events: list[Event] = msgspec.field(default_factory=list)
    """New events, in turn."""
    moved: dict[str, Cancellation] = msgspec.field(default_factory=dict)
    """Cancellations that changed, by id."""
    steps: list[Step] = msgspec.field(default_factory=list)
    """Every step of a cancellation, in turn."""
    decisions: list[tuple[Event, tuple[PolicyState, ...]]] = msgspec.field(default_factory=list)
    """Every decision of a policy, in turn, with the states of the policies before it."""
    policies_check_at: datetime | None = None
    """When policies that have nothing to decide now will have, unless an event comes; as of their latest decisions."""
    pause_reason: str | None = None
    """Why the account must be paused, if it must."""
    _judged: tuple[Order, datetime, Verdict] | None = None
    """The order and the time of the last verdict, which is read several times."""
    _closing: tuple[Verdict, datetime | None] | None = None
    """The same of the time at which its window closes."""

    def emit(self, event: Event) -> None:
        """Record `event` and add it to the aggregate; an event that is in the log already is dropped."""
        if event.id in self.logged:
            return
        self.logged.add(event.id)
        self.events.append(event)
        before = self._aggregate
        moved = self.add(event)
        if moved is not None:
            self.moved[moved.id] = moved
            self.steps.append(Step(event, before.cancellation(moved.id), moved))
        elif self._aggregate.policy_states is not before.policy_states:
            self.decisions.append((event, before.policy_states))

    def record(self, type: str, key: str, source: Source, data: Struct) -> None:
        """Record an event of Rescind's own about the order; `key` tells it from others of its type."""
        self.emit(internal_event(self.account.id, self.aggregate.order.id, type, key, self.now, source, data))

    def advance(
        self, cancel: Cancellation, cause: Cause, source: Source = Source.CLOCK, **changes: Any
    ) -> Cancellation:
        """Move a cancellation to its next state; returns it as it is then."""
        self.emit(advance(cancel, cause, self.now, source, **changes))
        return self.moved[cancel.id]

    def is_held(self, id: str | None) -> bool:
        """Whether a pause forbids a call for the cancellation `id` (None: for none), or another node sends.

        A pause of policies does not keep a cancel that was sent from being probed.
        """
        if not self.owned:
            return True
        if self.pauses.of_account(self.account.id) is not None:
            return True
        cancel = self.aggregate.cancellation(id) if id else None
        if cancel is None or cancel.policy is None or cancel.state not in (State.SCHEDULED, State.SENDING):
            return False
        held = self.pauses.held_policies
        return held is None or cancel.policy in held

    def verdict(self) -> Verdict:
        """The verdict on the order as it is now."""
        order, judged = self.aggregate.order, self._judged
        if judged is None or judged[0] is not order or judged[1] != self.now:
            judged = self._judged = (order, self.now, self.account.judge(order, self.now))
        return judged[2]

    def closes_at(self) -> datetime | None:
        """When time alone closes the order's window; None: never, as far as is known, or it is closed."""
        verdict = self.verdict()
        if self._closing is None or self._closing[0] is not verdict:
            self._closing = (verdict, self.account.closes_at(self.aggregate.order, self.now, verdict))
        return self._closing[1]

    def end_unsent(
        self,
        cancel: Cancellation,
        cause: Cause,
        detail: str,
        evidence: tuple[str, ...] = (),
        source: Source = Source.CLOCK,
        **changes: Any,
    ) -> Cancellation:
        """End a cancellation that was not sent; if an earlier call may have applied, that is probed first."""
        unsent = {"attempts": cancel.attempts - 1} if cancel.state is State.SENDING else {}
        # A proposal that ends is not sent, whatever a probe would say: nobody has approved it.
        if cancel.may_have_applied and cancel.waiting is not Waiting.APPROVAL:
            changes = {**unsent, **changes, "source": source}
            detail = f"{detail} An earlier call may have taken effect."
            return self.mark_indeterminate(cancel, Cause.OUTCOME_UNCERTAIN, detail, **changes)
        return self.advance(cancel, cause, source, detail=detail, evidence=evidence, **unsent)

    def mark_indeterminate(self, cancel: Cancellation, cause: Cause, detail: str, **changes: Any) -> Cancellation:
        """The outcome of a call is unknown: probe, after the provider had a moment to settle.

        If the provider cannot be probed, only a webhook or a person can tell, and has a day to do so.
        """
        waiting, delay_s = Waiting.PROBE, PROBE_RETRIES.delay_s(1, self.chance)
        if self.account.handler.probe is None:
            waiting, delay_s = Waiting.WEBHOOK, WEBHOOK_WAIT_S
        waits = {"waiting": waiting, "due_at": self.later(delay_s), "failures": 0, "may_have_applied": True}
        return self.advance(cancel, cause, detail=detail, **{**waits, **changes})

    def later(self, delay_s: float) -> datetime:
        """`delay_s` from now."""
        return self.now + timedelta(seconds=delay_s)

    def closing_times(self, cancel: Cancellation) -> dict[str, Any]:
        """When the window closes for a cancellation, and by when it must be sent to arrive before."""
        forced = cancel.overridden_evidence is not None
        closes_at = None if forced else self.closes_at()
        send_by = None if closes_at is None else closes_at - timedelta(seconds=self.latency_s)
        return {"closes_at": closes_at, "send_by": send_by}

    def react(self) -> None:
        """Apply what is known of the order to its live cancellations."""
        for cancel in self.aggregate.live:
            order = self.aggregate.order
            if order.phase is Phase.CANCELED:
                self._on_canceled(cancel)
            elif cancel.state is State.SCHEDULED:
                self._on_facts(cancel)
            elif order.phase is Phase.COMPLETED and (
                cancel.state is State.ACCEPTED or cancel.waiting is Waiting.WEBHOOK
            ):
                evidence = order.evidence("phase")
                self.advance(cancel, Cause.ORDER_CLOSED, detail="The order was completed.", evidence=evidence)

    def _on_canceled(self, cancel: Cancellation) -> None:
        evidence = self.aggregate.order.evidence("phase")
        if cancel.state is State.SENDING:
            return  # its response is still to come
        if cancel.state is State.SCHEDULED and not cancel.may_have_applied:
            detail = "The order was canceled before this was sent."
            self.advance(cancel, Cause.ORDER_CANCELED, detail=detail, evidence=evidence)
        elif cancel.state is State.SCHEDULED:
            self.advance(cancel, Cause.TOOK_EFFECT, detail="An earlier call took effect.", evidence=evidence)
        else:
            self.advance(cancel, Cause.ORDER_CANCELED, detail="The order is canceled.", evidence=evidence)

    def _on_facts(self, cancel: Cancellation) -> None:
        verdict = self.verdict()
        if forbids_sending(cancel, verdict):
            self.end_unsent(cancel, Cause.WINDOW_CLOSED, verdict.explanation, verdict.evidence)
            return
        closing = self.closing_times(cancel)
        if closing["closes_at"] != cancel.closes_at:
            same: dict[str, Any] = {"waiting": cancel.waiting, "due_at": cancel.due_at, "detail": cancel.detail}
            self.advance(cancel, Cause.RETIMED, **same, **closing)


def forbids_sending(cancel: Cancellation, verdict: Verdict) -> bool:
    """Whether the verdict forbids sending a cancellation. A forced one is stopped by new evidence only."""
    if verdict.cancelable is not Cancelable.NO:
        return False
    if cancel.overridden_evidence is None:
        return True
    if not verdict.evidence:
        # It names no events to compare: then only the reason that was overruled is overruled.
        return cancel.verdict is None or verdict.reason != cancel.verdict.reason
    return not set(verdict.evidence) <= set(cancel.overridden_evidence)
