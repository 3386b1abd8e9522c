"""The ledger of one order for worked examples: its log, its state, and short forms of its commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace as altered
from datetime import datetime
from itertools import pairwise
from typing import Any

import msgspec
from unit.core.support import ACCOUNT, CANCELLATION, LEASE_S, ORDER, PROBED, T0, SmallRules, at, phase

from app.contract import (
    CancelOutcome,
    CancelResult,
    Facts,
    Handler,
    Order,
    Phase,
)
from app.core import aggregate as aggregates
from app.core.aggregate import Job, JobKind, OrderAggregate, is_fact, job_for
from app.core.cancellation import Cancellation
from app.core.commands import (
    Approve,
    ChangeTags,
    CheckFence,
    ClaimJob,
    Command,
    Conflict,
    FireTimer,
    Granted,
    RecordEvents,
    ReleaseClaim,
    RequestCancel,
    Requested,
    Resolve,
    Restored,
    Revoke,
)
from app.core.event import Event
from app.core.history import History
from app.core.policy.context import PolicyContext
from app.core.policy.decide import consider, events_to_consider
from app.core.policy.decisions import decisions_of
from app.core.policy.model import Outcome, Policy, PolicyState
from app.core.policy.preview import state_of
from app.core.results import Interrupted, RecordProbe, RecordResult
from app.core.unit_of_work import AccountView, UnitOfWork


class Book:
    """The log of one order and its aggregate, kept as the ledger keeps them: a unit of work serves one commit."""

    def __init__(self, handler: Handler = PROBED, unknown_orders: str = "probe", *policies: Policy) -> None:
        self.account = AccountView(ACCOUNT, handler, SmallRules(), unknown_orders, policies=policies)
        self.duplicates: list[dict[str, str]] = []
        self.context = PolicyContext(lambda _unit, _within: self.duplicates, self._new_id)
        self.log: list[Event] = []
        self.moved: dict[str, Cancellation] = {}
        """Every cancellation there was, as it is now."""
        self.shown: dict[str, list[PolicyState]] = {}
        """The states of each policy as they are shown, stored or computed, in turn."""
        self.batching = False
        """Whether the next command is in the same commit as the last."""
        self.unit = UnitOfWork(OrderAggregate(Order(ACCOUNT, ORDER)), self.account, T0)

    @property
    def aggregate(self) -> OrderAggregate:
        return self.unit.aggregate

    def facts(self) -> list[Event]:
        return [each for each in self.log if is_fact(each)]

    def enter(self, command: Command[Any], chance: float = 0.5) -> Any:
        """Decide `command` and record what that gives; the caller's answer."""
        if not self.batching:
            self.unit = UnitOfWork(self.aggregate, self.account, command.now, logged={each.id for each in self.log})
        unit = self.unit
        unit.now, unit.chance, unit.pause_reason = command.now, chance, None
        if unit.history is None and self._comes_late(command):
            unit.history = History(ACCOUNT, ORDER, self.facts())
        before = len(unit.events)
        answer = command.decide(unit)
        unit.react()
        events = events_to_consider(command, unit.events[before:])
        if events is not None:
            self.consider(unit, events)
            self._show()
        self.log += unit.events[before:]
        self.moved |= unit.moved
        return answer

    def consider(self, unit: UnitOfWork, events: Sequence[Event]) -> None:
        """Policies decide."""
        consider(unit, self.context, events)

    def _new_id(self) -> str:
        return CANCELLATION if CANCELLATION not in self.moved else f"can-{len(self.moved) + 1}"

    def _comes_late(self, command: Command[Any]) -> bool:
        """Might a fact that this command brings not come after all others?"""
        events = command.facts()
        moments = [each.occurred_at for each in events] or [command.now]
        in_order = all(one < next for one, next in pairwise(moments))
        late = any(aggregates.comes_late(self.aggregate, each) for each in events)
        behind = self.aggregate.head is not None and moments[0] <= self.aggregate.head[0]
        return not in_order or late or behind or any(each.facts.snapshot for each in events)

    # -- Short forms, for worked examples. Times are seconds after T0; without one, no time passes.

    def at(self, now: float | None) -> datetime:
        return max(self.unit.now, T0) if now is None else at(now)

    def hear(self, *events: Event, now: float | None = None) -> None:
        heard_at = max(each.received_at for each in events) if now is None else at(now)
        self.enter(RecordEvents(ACCOUNT, ORDER, heard_at, events))

    def request_cancel(
        self, now: float | None = None, *, id: str = CANCELLATION, force: bool = False, deadline: float | None = None
    ) -> Requested | Conflict:
        until = None if deadline is None else at(deadline)
        asked = Cancellation(id, ACCOUNT, ORDER, "because", self.at(now), self.at(now), deadline=until)
        answer: Requested | Conflict = self.enter(RequestCancel(ACCOUNT, ORDER, self.at(now), asked, force))
        return answer

    def job(self) -> Job:
        found = job_for(self.aggregate)
        assert found is not None, "there is no job"
        return found

    def claim(self, now: float | None = None) -> Granted | None:
        """Claim the job that there is, due or not."""
        job = self.job()
        attempt = f"att-{len(self.log)}"
        answer: Granted | None = self.enter(
            ClaimJob(ACCOUNT, ORDER, self.at(now), attempt, job.kind, job.cancellation, LEASE_S)
        )
        return answer

    def send(self) -> Granted:
        """Claim the cancel as soon as it is due; it must be granted."""
        return self._claim_due(JobKind.CANCEL)

    def ask(self) -> Granted:
        """Claim the probe as soon as it is due; it must be granted."""
        return self._claim_due(JobKind.PROBE)

    def _claim_due(self, kind: JobKind) -> Granted:
        assert self.job().kind is kind
        granted = self.claim((max(self.job().due_at, self.at(None)) - T0).total_seconds())
        assert granted is not None
        return granted

    def answer(self, result: CancelResult | CancelOutcome, now: float | None = None, **lane: Any) -> None:
        """The provider answers the call that is out. `lane`: what else the lane knows of the provider."""
        if isinstance(result, CancelOutcome):
            result = CancelResult(result, "as it says")
        attempt = self.aggregate.live[0].last_attempt
        self.enter(RecordResult(ACCOUNT, ORDER, self.at(now), attempt, self.aggregate.live[0].id, result, **lane))

    def tell(self, found: Phase | Facts, now: float | None = None, *, asked: float | None = None) -> None:
        """The provider tells how the order stands."""
        snapshot = found if isinstance(found, Facts) else Facts(phase=found)
        asked_at = self.at(now) if asked is None else at(asked)
        self.enter(RecordProbe(ACCOUNT, ORDER, self.at(now), f"prb-{len(self.log)}", asked_at, snapshot))

    def fail_to_tell(self, outcome: CancelOutcome = CancelOutcome.RETRY, after_s: float | None = None) -> None:
        """The provider does not tell."""
        now, attempt = self.at(None), f"prb-{len(self.log)}"
        self.enter(
            RecordProbe(ACCOUNT, ORDER, now, attempt, now, failure="no luck", outcome=outcome, after_s=after_s),
            chance=0.0,
        )

    def recheck(self, now: float | None = None) -> bool:
        """The call is about to leave, after another one that it needed."""
        may: bool = self.enter(
            CheckFence(ACCOUNT, ORDER, self.at(now), self.aggregate.live[0].last_attempt, self.aggregate.live[0].id)
        )
        return may

    def recheck_of(self, attempt: str) -> bool:
        """The same, for a call of this attempt."""
        may: bool = self.enter(CheckFence(ACCOUNT, ORDER, self.at(None), attempt, self.aggregate.live[0].id))
        return may

    def hold_back(self) -> None:
        """The call that was claimed did not leave."""
        self.enter(
            ReleaseClaim(ACCOUNT, ORDER, self.at(None), self.aggregate.live[0].last_attempt, self.aggregate.live[0].id)
        )

    def interrupt(self, now: float | None = None) -> None:
        self.enter(Interrupted(ACCOUNT, ORDER, self.at(now)))

    def restore(self) -> None:
        """The ledger is that of a backup."""
        self.enter(Restored(ACCOUNT, ORDER, self.at(None)))

    def elapse(self, now: float) -> None:
        self.enter(FireTimer(ACCOUNT, ORDER, at(now)))

    def revoke(self, id: str = CANCELLATION) -> Any:
        return self.enter(Revoke(ACCOUNT, ORDER, self.at(None), id, "ann"))

    def tag_off(self) -> None:
        """A person tags the order as one that no policy of these tests is for."""
        self.tag("off")

    def approve(self, now: float | None = None, id: str = CANCELLATION) -> Any:
        return self.enter(Approve(ACCOUNT, ORDER, self.at(now), id, "ann"))

    def tag(self, *add: str, remove: tuple[str, ...] = ()) -> Any:
        return self.enter(ChangeTags(ACCOUNT, ORDER, self.at(None), add, remove, "ann", f"tag-{len(self.log)}"))

    def have(self, *policies: Policy) -> None:
        """The account's policies are these from now on."""
        self.account = altered(self.account, policies=policies)

    def answer_refused(self) -> None:
        """The provider refuses, and no call before it may have worked."""
        self.answer(CancelOutcome.REFUSED)

    def policy_state(self, policy: str) -> PolicyState:
        """How the policy stands to the order."""
        found = self.aggregate.policy_state(policy)
        assert found is not None, f"{policy} has not decided"
        return found

    def decisions(self, policy: str) -> list[str]:
        """What the policy decided as it is shown, in turn; what is computed included."""
        return [state.outcome.value for state in self.shown.get(policy, ())]

    def recorded(self, policy: str) -> list[str]:
        """What of it is in the log."""
        decided = [data for event in self.log for data in decisions_of(event)]
        return [data["outcome"] for data in decided if data["policy"] == policy]

    def _show(self) -> None:
        for policy in self.account.policies:
            state = state_of(policy, self.unit, self.context)
            shown = self.shown.setdefault(policy.id, [])
            if state is None or (shown and shown[-1].outcome is state.outcome is Outcome.UNMATCHED):
                continue
            if not shown or msgspec.structs.replace(shown[-1], number=0) != msgspec.structs.replace(state, number=0):
                shown.append(state)

    def resolve(self, *, succeeded: bool, id: str = CANCELLATION) -> Any:
        return self.enter(Resolve(ACCOUNT, ORDER, self.at(None), id, succeeded, "ann", "they rang back"))

    @property
    def cancellation(self) -> Cancellation:
        """The first one there was, as it is now."""
        return self.moved[CANCELLATION]


MAY_HAVE_APPLIED = CancelResult(CancelOutcome.RETRY, "500", may_have_applied=True)
"""It failed, and may have taken effect all the same."""


CRASH = CancelResult(CancelOutcome.RETRY, "500.", may_have_applied=True, ambiguous=True)
"""It failed, and may mean that the order cannot be canceled."""


def opened(handler: Handler = PROBED, unknown_orders: str = "probe") -> Book:
    """A book whose order is open since T0."""
    book = Book(handler, unknown_orders)
    book.hear(phase("opened", 0, Phase.OPEN))
    return book


def due_s(book: Book) -> float:
    """Seconds until the job is due."""
    return (book.job().due_at - book.unit.now).total_seconds()


def unseen(handler: Handler = PROBED, *, deadline: float | None = None) -> Book:
    """A book with a request to cancel an order without events; the order is probed first where it can be."""
    book = Book(handler)
    book.request_cancel(10, deadline=deadline)
    return book


def sent(handler: Handler = PROBED, *, deadline: float | None = None, force: bool = False) -> Book:
    """A book with a cancel call on its way since second 10."""
    book = opened(handler)
    book.request_cancel(10, deadline=deadline, force=force)
    book.send()
    return book


def answered(result: CancelResult | CancelOutcome, handler: Handler = PROBED, *, deadline: float | None = None) -> Book:
    """A book whose cancel call was answered at second 11."""
    book = sent(handler, deadline=deadline)
    book.answer(result, 11)
    return book
