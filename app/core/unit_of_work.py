"""The desk: one case under decision, inside one transaction.

An entry (what came through the door) decides by emitting events; each is folded before anybody looks, so that
the next decision sees it. After every entry the desk reacts: what the new facts mean for the
cancellations that are under way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from app.contract import Cancelable, Handler, Order, Phase, Source, Verdict
from app.core import cancellation
from app.core.aggregate import PROBE_RETRIES
from app.core.cancellation import Cancellation, Cause, State, Waiting
from app.core.event import Event, internal_event
from app.core.folding import Folding
from app.core.pauses import Pauses
from app.core.policy.model import Policy
from app.core.verdict import NOT_OFFERED, closes_at, judge

WEBHOOK_WAIT_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class AccountView:
    """What decisions need to know of an account."""

    id: str
    handler: Handler
    rules: Any
    unknown_orders: str = "probe"
    """`probe`, `send` or `reject`: what becomes of a cancel for an order never seen."""
    stale_after_s: float | None = None
    """A `yes` that rests on nothing newer than this is `unknown`."""
    deadline: timedelta = timedelta(hours=72)
    """How long a cancellation without a deadline of its own is tried."""
    policies: tuple[Policy, ...] = ()
    """Those that speak of this account, in the order in which they decide."""
    no_cancel: str | None = None
    """Why the account cancels nothing, where its provider offers no cancel."""
    version: int = 0
    """Of what an operator wrote; another one may have other credentials."""

    def judge(self, order: Order, now: datetime) -> Verdict:
        """The verdict on one of the account's orders."""
        verdict = judge(self.handler, self.rules, order, now, self.stale_after_s)
        if self.no_cancel is None or verdict.cancelable is Cancelable.NO:
            return verdict
        return Verdict(Cancelable.NO, NOT_OFFERED, self.no_cancel)

    def closes_at(self, order: Order, now: datetime) -> datetime | None:
        """When the passing of time alone will close the window of an order that can be canceled now."""
        return None if self.no_cancel is not None else closes_at(self.handler, self.rules, order, now)


@dataclass(slots=True)
class UnitOfWork(Folding):
    """A case, and what is decided about it."""

    account: AccountView
    now: datetime
    chance: float = 0.0
    """Uniform in [0, 1): the randomness of retries, drawn outside."""
    latency_s: float = 0.0
    """How long the account's calls have taken of late."""
    logged: set[str] = field(default_factory=set)
    """Ids that are in the log."""
    events: list[Event] = field(default_factory=list)
    moved: dict[str, Cancellation] = field(default_factory=dict)
    """Cancellations that changed, by id."""
    pause_reason: str | None = None
    """Why the account must be paused, if it must."""
    pauses: Pauses = field(default_factory=Pauses)
    _judged: tuple[Order, datetime, Verdict] | None = None
    """The order and the time of the last verdict, which is asked for several times."""

    def emit(self, event: Event) -> None:
        """Record `event` and add it to the case; one that is in the log already is dropped."""
        if event.id in self.logged:
            return
        self.logged.add(event.id)
        self.events.append(event)
        moved = self.add(event)
        if moved is not None:
            self.moved[moved.id] = moved

    def record(self, type: str, key: str, source: Source, data: Struct) -> None:
        """Record an event of Rescind's own about the order; `key` tells it from others of its type."""
        self.emit(internal_event(self.account.id, self.aggregate.order.id, type, key, self.now, source, data))

    def step(self, known: Cancellation, cause: Cause, source: Source = Source.CLOCK, **changes: Any) -> Cancellation:
        """Move a cancellation on; returns it as it is then."""
        self.emit(cancellation.advance(known, cause, self.now, source, **changes))
        return self.moved[known.id]

    def is_held(self, cancellation: str | None) -> bool:
        """Whether a pause forbids a call now. A pause of policies does not keep a sent cancel from being probed."""
        if self.pauses.of_account(self.account.id) is not None:
            return True
        known = self.aggregate.cancellation(cancellation) if cancellation else None
        if known is None or known.policy is None or known.state not in (State.SCHEDULED, State.SENDING):
            return False
        held = self.pauses.held_policies
        return held is None or known.policy in held

    def verdict(self) -> Verdict:
        """The verdict on the order as it stands now."""
        judged = self._judged
        if judged is None or judged[0] is not self.aggregate.order or judged[1] != self.now:
            judged = (self.aggregate.order, self.now, self.account.judge(self.aggregate.order, self.now))
            self._judged = judged
        return judged[2]

    def give_up(
        self,
        known: Cancellation,
        cause: Cause,
        detail: str,
        evidence: tuple[str, ...] = (),
        source: Source = Source.CLOCK,
        **changes: Any,
    ) -> Cancellation:
        """End what was not sent, for `cause`; if an earlier call may yet have worked, that comes first."""
        unsent = {"attempts": known.attempts - 1} if known.state is State.SENDING else {}
        if known.may_have_applied:
            doubt = f"{detail} An earlier call may have taken effect."
            return self.lose(known, Cause.OUTCOME_UNCERTAIN, doubt, source=source, **unsent, **changes)
        return self.step(known, cause, source, detail=detail, evidence=evidence, **unsent)

    def lose(self, known: Cancellation, cause: Cause, detail: str, **changes: Any) -> Cancellation:
        """The outcome of a call is unknown: probe, after the provider had a moment to settle.

        Where the provider cannot be asked, only a webhook or a person can tell, and has a day to do so.
        """
        waiting, delay_s = Waiting.PROBE, PROBE_RETRIES.delay_s(1, self.chance)
        if self.account.handler.probe is None:
            waiting, delay_s = Waiting.WEBHOOK, WEBHOOK_WAIT_S
        waits = {"waiting": waiting, "due_at": self.later(delay_s), "failures": 0, "may_have_applied": True}
        return self.step(known, cause, detail=detail, **{**waits, **changes})

    def later(self, delay_s: float) -> datetime:
        """`delay_s` from now."""
        return self.now + timedelta(seconds=delay_s)

    def closing(self, known: Cancellation) -> dict[str, Any]:
        """When the window closes for a cancellation, and by when it must be sent to arrive before."""
        closes_at = (
            None if known.overridden_evidence is not None else self.account.closes_at(self.aggregate.order, self.now)
        )
        send_by = None if closes_at is None else closes_at - timedelta(seconds=self.latency_s)
        return {"closes_at": closes_at, "send_by": send_by}

    def react(self) -> None:
        """Carry what is known of the order over to its live cancellations."""
        for each in self.aggregate.live:
            if self.aggregate.order.phase is Phase.CANCELED:
                self._on_canceled(each)
            elif each.state is State.SCHEDULED:
                self._on_facts(each)
            elif self.aggregate.order.phase is Phase.COMPLETED and (
                each.state is State.ACCEPTED or each.waiting is Waiting.WEBHOOK
            ):
                evidence = self.aggregate.order.evidence("phase")
                self.step(each, Cause.ORDER_CLOSED, detail="The order was completed.", evidence=evidence)

    def _on_canceled(self, known: Cancellation) -> None:
        evidence = self.aggregate.order.evidence("phase")
        if known.state is State.SENDING:
            return  # its answer is still to come
        if known.state is State.SCHEDULED and not known.may_have_applied:
            detail = "The order was canceled before this was sent."
            self.step(known, Cause.ORDER_CANCELED, detail=detail, evidence=evidence)
        elif known.state is State.SCHEDULED:
            self.step(known, Cause.TOOK_EFFECT, detail="An earlier call took effect.", evidence=evidence)
        else:
            self.step(known, Cause.ORDER_CANCELED, detail="The order is canceled.", evidence=evidence)

    def _on_facts(self, known: Cancellation) -> None:
        verdict = self.verdict()
        if stops(known, verdict):
            self.give_up(known, Cause.WINDOW_CLOSED, verdict.explanation, verdict.evidence)
            return
        closing = self.closing(known)
        if closing["closes_at"] != known.closes_at:
            kept: dict[str, Any] = {"waiting": known.waiting, "due_at": known.due_at, "detail": known.detail}
            self.step(known, Cause.RETIMED, **kept, **closing)


def stops(known: Cancellation, verdict: Verdict) -> bool:
    """Does the verdict forbid sending? A forced cancellation is stopped by new evidence only."""
    if verdict.cancelable is not Cancelable.NO:
        return False
    if known.overridden_evidence is None:
        return True
    if not verdict.evidence:
        # It names no events to compare: then only the reason that was overruled is overruled.
        return known.verdict is None or verdict.reason != known.verdict.reason
    return not set(verdict.evidence) <= set(known.overridden_evidence)
