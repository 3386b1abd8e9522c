"""Random histories of one order, through the unit of work, against the guarantees (I3, I4, I5, I8).

What the order stands at is computed here once more, in a few lines that share nothing with the
fold; and the machine knows by itself which calls are out and which of them were lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
from examples import examples
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from unit.core.book import Book
from unit.core.evidence import closing_evidence
from unit.core.support import (
    ACCOUNT,
    BLIND,
    CUTOFF_S,
    IDEMPOTENT,
    LEASE_S,
    ORDER,
    PROBED,
    T0,
    appointment,
    decoded,
    fact,
    rebuilt,
)

from app.contract import Appointment, CancelOutcome, CancelResult, Facts, Handler, Phase
from app.core import cancellation
from app.core.aggregate import JobKind, job_for
from app.core.cancellation import Cancellation, State, Waiting, cancellation_of
from app.core.commands import (
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
    Revoke,
)
from app.core.event import Event
from app.core.folding import replay
from app.core.results import Interrupted, RecordProbe, RecordResult

O = CancelOutcome  # noqa: E741 - it stands at the head of a list

pauses_s = st.sampled_from([0.0, 0.0, 1.0, 7.0, 61.0, 4000.0, 90_000.0])
phases = st.sampled_from([*[Phase.OPEN] * 5, *Phase])
seldom = st.sampled_from([False, False, False, True])
starts_s = st.sampled_from([None, None, None, None, 10**6, 10**6, CUTOFF_S + 5000, CUTOFF_S + 5, CUTOFF_S])
"""When an appointment starts, from now, if there is one."""
stated = st.builds(lambda *drawn: drawn, st.none() | phases, seldom, starts_s, pauses_s)
"""A fact of a webhook: phase, is it a snapshot, when does the appointment start, how long ago did it happen."""


@dataclass
class Call:
    """A cancel call that is out."""

    attempt: str
    cancellation: str


class Dealings(RuleBasedStateMachine):
    """Everything that can come through the door about one order, in any sequence."""

    @initialize(
        handler=st.sampled_from([PROBED, PROBED, BLIND, IDEMPOTENT]),
        policy=st.sampled_from(["probe", "send", "reject"]),
        seen=st.booleans(),
    )
    def begins(self, handler: Handler, policy: str, seen: bool) -> None:
        self.book, self.now = Book(handler, policy), T0
        self.handler, self.policy = handler, policy
        self.entered: list[tuple[bool, float, Command]] = []
        self.calls: list[Call] = []
        self.probes: list[datetime] = []
        """When each probe that is out was asked for."""
        self.lost_at: dict[str, datetime] = {}
        """Cancellations with a call whose outcome nobody has learned since."""
        self.ended: dict[str, Cancellation] = {}
        self.count = 0
        if seen:
            self.hear(self.event(Phase.OPEN, snapshot=False, starts_s=None, ago_s=0.0))

    def enter(self, entry: Command[Any], chance: float = 0.5) -> Any:
        self.entered.append((self.book.batching, chance, entry))
        return self.book.enter(entry, chance)

    def next(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}-{self.count}"

    # -- Webhooks and the clock.

    @property
    def now_s(self) -> float:
        return (self.now - T0).total_seconds()

    def event(self, order_phase: Phase | None, snapshot: bool, starts_s: float | None, ago_s: float) -> Event:
        facts = Facts(phase=order_phase, appointments=self.booked(starts_s), snapshot=snapshot)
        return fact(self.next("fact"), self.now_s - ago_s, facts, heard=self.now_s)

    def booked(self, starts_s: float | None) -> tuple[Appointment, ...]:
        return () if starts_s is None else (appointment(self.now_s + starts_s),)

    def hear(self, *events: Event) -> None:
        self.enter(RecordEvents(ACCOUNT, ORDER, self.now, events))

    @rule(drawn=st.lists(stated, min_size=1, max_size=2), again=st.none() | st.integers(0, 99))
    def a_webhook_comes(self, drawn: list[tuple[Any, ...]], again: int | None) -> None:
        events, known = [self.event(*each) for each in drawn], self.book.facts()
        if again is not None and known:
            events.append(known[again % len(known)])
        count = len(known)
        self.hear(*events)
        assert len(self.book.facts()) == count + len(drawn)

    @rule(what=st.sampled_from(["time", "time", "batch", "clock", "death"]), pause_s=pauses_s)
    def it_goes_on(self, what: str, pause_s: float) -> None:
        match what:
            case "time":
                self.now += timedelta(seconds=pause_s)
            case "batch":
                self.book.batching = not self.book.batching
            case "clock":
                self.enter(FireTimer(ACCOUNT, ORDER, self.now))
                for each in self.book.aggregate.live:
                    assert each.state is not State.SCHEDULED or each.deadline is None or each.deadline > self.now
            case "death":
                self.enter(Interrupted(ACCOUNT, ORDER, self.now))
                for call in self.calls:
                    self.lose(call.cancellation)
                self.calls = []

    # -- People.

    @precondition(lambda self: not self.book.aggregate.live)
    @rule(force=seldom, deadline_s=st.sampled_from([None, None, 0.0, 5.0, 5000.0]))
    def somebody_wants_it_canceled(self, force: bool, deadline_s: float | None) -> None:
        closing = closing_evidence(self.book.facts(), self.now)
        answer = self.request_cancel(force, deadline_s)
        assert isinstance(answer, Requested)
        if closing is not None and not force:
            assert answer.cancellation.state is State.REJECTED
            assert set(answer.cancellation.evidence) == closing
        if answer.cancellation.overridden_evidence is not None:
            assert force
            assert set(answer.cancellation.overridden_evidence) == closing

    def request_cancel(self, force: bool, deadline_s: float | None) -> Any:
        deadline = None if deadline_s is None else self.now + timedelta(seconds=deadline_s)
        asked = Cancellation(self.next("can"), ACCOUNT, ORDER, "so", self.now, self.now, deadline=deadline)
        return self.enter(RequestCancel(ACCOUNT, ORDER, self.now, asked, force))

    @precondition(lambda self: self.book.moved)
    @rule(data=st.data(), what=st.sampled_from(["request_cancel", "request_cancel", "revoke", "succeeded", "refused"]))
    def somebody_meddles(self, data: st.DataObject, what: str) -> None:
        if what == "request_cancel":
            if self.book.aggregate.live:
                live_id = self.book.aggregate.live[0].id
                answer = self.request_cancel(data.draw(st.booleans()), None)
                still = self.book.aggregate.cancellation(live_id)
                # Time alone may have ended it; then the request is judged like any other.
                assert isinstance(answer, Requested) if still is None else answer == Conflict(still)
            return
        id = data.draw(st.sampled_from(sorted(self.book.moved)))
        known = self.book.aggregate.cancellation(id)
        if what == "revoke":
            allowed = {State.SCHEDULED}
            answer = self.enter(Revoke(ACCOUNT, ORDER, self.now, id, "ann"))
        else:
            allowed = {State.INDETERMINATE, State.ACCEPTED}
            answer = self.enter(Resolve(ACCOUNT, ORDER, self.now, id, what == "succeeded", "ann", "so"))
        if known is None:
            assert answer is None
        elif known.state in allowed:
            assert self.book.moved[id].step == known.step + 1
        else:
            assert answer == Conflict(known)

    # -- Lanes.

    @precondition(lambda self: job_for(self.book.aggregate) is not None)
    @rule()
    def a_lane_claims_the_job(self) -> None:
        job = job_for(self.book.aggregate)
        assert job is not None
        self.now = max(self.now, job.due_at)
        self.claim(job.kind, job.cancellation)

    @rule(data=st.data(), kind=st.none() | st.sampled_from(JobKind))
    def a_lane_claims_too_soon_or_what_is_not_the_job(self, data: st.DataObject, kind: JobKind | None) -> None:
        job = job_for(self.book.aggregate)
        if kind is None and job is not None:
            self.claim(job.kind, job.cancellation)
        elif kind is not None:
            self.claim(kind, data.draw(st.none() | st.sampled_from([*sorted(self.book.moved), "can-unheard-of"])))

    def claim(self, kind: JobKind, id: str | None) -> None:
        job, attempt = job_for(self.book.aggregate), self.next("att")
        granted = self.enter(ClaimJob(ACCOUNT, ORDER, self.now, attempt, kind, id, LEASE_S))
        if granted is None:
            return
        assert isinstance(granted, Granted)
        assert granted.order == self.book.aggregate.order
        assert job is not None
        assert job.due_at <= self.now
        if kind is JobKind.PROBE:
            assert self.handler.probe is not None, "the provider cannot be asked"
            self.probes.append(self.now)
            return
        assert id is not None
        self.check_fence(granted, id)
        self.calls.append(Call(attempt, id))

    def check_fence(self, granted: Granted, id: str) -> None:
        """A cancel call may leave."""
        known = granted.cancellation
        assert known is not None
        assert (known.id, known.state, known) == (id, State.SENDING, self.book.aggregate.cancellation(id))
        assert not self.calls, "another is out (I4)"
        assert id not in self.lost_at, "nobody has learned what became of the last one (I4)"
        assert known.deadline is None or known.deadline > self.now
        closing = closing_evidence(self.book.facts(), self.now)
        assert closing is None or closing <= set(known.overridden_evidence or ()), "the window is closed (I3)"

    @precondition(lambda self: self.calls)
    @rule()
    def a_call_that_needed_another_first_is_about_to_leave(self) -> None:
        [call] = self.calls
        before = self.book.moved[call.cancellation]
        may = self.enter(CheckFence(ACCOUNT, ORDER, self.now, call.attempt, call.cancellation))
        known = self.book.moved[call.cancellation]
        closing = closing_evidence(self.book.facts(), self.now)
        closed = closing is not None and not closing <= set(before.overridden_evidence or ())
        late = before.deadline is not None and before.deadline <= self.now
        assert may == (not closed and not late), "the fence holds here too (I3)"
        if not may:
            self.calls.clear()
            took_effect = before.may_have_applied and self.book.aggregate.order.phase is Phase.CANCELED
            assert known.state in (State.REVOKED, State.EXPIRED, State.INDETERMINATE) or took_effect
            if known.state is State.INDETERMINATE:
                assert before.may_have_applied
                self.lose(call.cancellation)

    @precondition(lambda self: self.calls)
    @rule()
    def a_claimed_call_is_held_back(self) -> None:
        call = self.calls.pop()
        before = self.book.moved[call.cancellation]
        self.enter(ReleaseClaim(ACCOUNT, ORDER, self.now, call.attempt, call.cancellation))
        assert (
            self.book.moved[call.cancellation].may_have_applied == before.may_have_applied
            or self.book.moved[call.cancellation].final
        )

    @precondition(lambda self: self.calls)
    @rule(
        outcome=st.sampled_from([*CancelOutcome, CancelOutcome.RETRY]),
        may_have_applied=st.booleans(),
        after_s=st.sampled_from([None, 0.0, 30.0]),
        order_phase=st.none() | phases,
        chance=st.sampled_from([0.0, 0.9]),
    )
    def the_provider_answers(
        self,
        outcome: CancelOutcome,
        may_have_applied: bool,
        after_s: float | None,
        order_phase: Phase | None,
        chance: float,
    ) -> None:
        call = self.calls.pop()
        stated = None if order_phase is None or outcome is CancelOutcome.SUCCEEDED else Facts(phase=order_phase)
        may_have_applied &= outcome is CancelOutcome.RETRY
        result = CancelResult(outcome, "so it says", after_s, stated, may_have_applied)
        self.enter(RecordResult(ACCOUNT, ORDER, self.now, call.attempt, call.cancellation, result), chance)
        if outcome is CancelOutcome.INDETERMINATE:
            self.lose(call.cancellation)
        assert (self.book.unit.pause_reason is not None) == (outcome is CancelOutcome.UNAUTHORIZED)

    def lose(self, id: str) -> None:
        if not self.handler.cancel_is_idempotent:
            self.lost_at[id] = self.now

    @precondition(lambda self: self.probes)
    @rule(which=st.integers(0, 9), order_phase=phases, starts_s=starts_s)
    def a_probe_tells(self, which: int, order_phase: Phase, starts_s: float | None) -> None:
        asked_at = self.probes.pop(which % len(self.probes))
        snapshot = Facts(phase=order_phase, appointments=self.booked(starts_s))
        self.enter(RecordProbe(ACCOUNT, ORDER, self.now, self.next("prb"), asked_at, snapshot))
        self.lost_at = {id: lost_at for id, lost_at in self.lost_at.items() if lost_at > asked_at}

    @precondition(lambda self: self.probes)
    @rule(outcome=st.sampled_from([O.RETRY, O.RETRY, O.THROTTLED, O.UNAUTHORIZED, O.REFUSED, O.INDETERMINATE]))
    def a_probe_fails(self, outcome: CancelOutcome) -> None:
        now, id = self.now, self.next("prb")
        self.enter(RecordProbe(ACCOUNT, ORDER, now, id, self.probes.pop(), failure="no", outcome=outcome, after_s=3.0))
        assert (self.book.unit.pause_reason is not None) == (outcome is CancelOutcome.UNAUTHORIZED)

    # -- What holds at any time.

    @invariant()
    def at_most_one_is_live_and_it_waits_for_something_with_a_due_time(self) -> None:
        live = self.book.aggregate.live
        assert len(live) <= 1
        assert live == tuple(each for each in self.book.moved.values() if not each.final)
        for each in live:
            job = job_for(self.book.aggregate)
            assert job is not None, "it dangles (I5)"
            assert (job.cancellation, job.due_at) == (each.id, each.due_at)
            assert each.waiting is not Waiting.NOTHING
            assert job.sending == (each.state is State.SENDING) == bool(self.calls)

    @invariant()
    def what_is_final_stays_as_it_is_and_has_a_reason(self) -> None:
        self.ended |= {each.id: each for each in self.book.moved.values() if each.final and each.id not in self.ended}
        for id, known in self.ended.items():
            assert self.book.moved[id] is known or self.book.moved[id] == known
        assert all(each.state is State.SUCCEEDED or each.detail for each in self.ended.values())

    def teardown(self) -> None:
        if not hasattr(self, "book"):
            return
        log = self.book.log
        assert len({each.id for each in log}) == len(log), "every id is unique"
        self.check_replay()
        again = Book(self.handler, self.policy)
        for again.batching, chance, entry in self.entered:
            again.enter(entry, chance)
        assert again.log == log, "the same entries give the same events"
        self.check_end()
        self.check_replay()

    def check_replay(self) -> None:
        """The log alone gives the same case, and the same cancellations (I8)."""
        assert msgspec.json.encode(rebuilt(self.book.log)) == msgspec.json.encode(self.book.aggregate)
        replayed_all = replay(map(decoded, self.book.log))
        assert replayed_all is None or (replayed_all.aggregate, replayed_all.cancellations) == (
            self.book.aggregate,
            self.book.moved,
        )
        for id, known in self.book.moved.items():
            replayed = None
            for event in self.book.log:
                if cancellation_of(event) == id:
                    replayed = cancellation.apply(replayed, event)
            assert replayed == known

    def check_end(self) -> None:
        """Even if the provider never helps again, every cancellation comes to an end by itself (I5)."""
        failed = CancelResult(CancelOutcome.RETRY, "503")
        for _ in range(250):
            job = job_for(self.book.aggregate)
            if job is None or job.cancellation is None:
                break
            self.now = max(self.now, job.due_at)
            attempt = self.next("att")
            claim = ClaimJob(ACCOUNT, ORDER, self.now, attempt, job.kind, job.cancellation, LEASE_S)
            if not job.sending and self.book.enter(claim) is None:
                continue
            if job.kind is JobKind.CANCEL:
                out = self.book.moved[job.cancellation].last_attempt
                self.book.enter(RecordResult(ACCOUNT, ORDER, self.now, out, job.cancellation, failed))
            else:
                self.book.enter(RecordProbe(ACCOUNT, ORDER, self.now, attempt, self.now, failure="no"))
        assert not self.book.aggregate.live


Dealings.TestCase.settings = examples(300, stateful_step_count=40, deadline=None)
TestDealings = Dealings.TestCase
