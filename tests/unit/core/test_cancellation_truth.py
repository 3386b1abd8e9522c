"""Is it true, what a cancellation says in the end?

An honest provider, with delays and losses on the way to and from it: its webhooks come late, in any
order and more than once, answers are lost, the process dies, a backup is restored. Whatever
happens, a cancellation whose call took effect must not end as revoked, expired or refused, and one
that succeeded is of a canceled order. (`failed` says that nobody knows.)
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from dataclasses import replace as altered
from datetime import datetime, timedelta

from examples import examples
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from unit.core.book import Book
from unit.core.support import ACCOUNT, BLIND, IDEMPOTENT, LEASE_S, ORDER, PROBED, T0, phase

from app.contract import CancelOutcome, CancelResult, Facts, Handler, Phase
from app.core.aggregate import JobKind, job_for
from app.core.cancellation import Cancellation, State
from app.core.commands import ClaimJob, FireTimer, Granted, RecordEvents, RequestCancel, Restored, Revoke
from app.core.event import Event
from app.core.results import Interrupted, RecordProbe, RecordResult

O = CancelOutcome  # noqa: E741 - it stands at the head of a list
ODD = [O.THROTTLED, O.UNAUTHORIZED]
LOST = CancelResult(O.INDETERMINATE, "no answer")
deadlines_s = st.sampled_from([None, None, None, 5.0, 70.0])
NOT_CANCELED = {State.REVOKED, State.EXPIRED, State.REFUSED, State.REJECTED}


@dataclass
class Call:
    """A cancel call that has left."""

    attempt: str
    cancellation: str
    answer: CancelResult | None = None
    """What the provider said, once it has it."""


@dataclass
class Probe:
    """A probe that has left, and what the provider said."""

    asked_at: datetime
    found: Phase | None = None


class HonestProvider(RuleBasedStateMachine):
    @initialize(
        handler=st.sampled_from([PROBED, PROBED, BLIND, IDEMPOTENT, altered(BLIND, cancel_is_idempotent=True)]),
        seen=st.sampled_from([True, True, False]),
        deadline_s=deadlines_s,
    )
    def begins(self, handler: Handler, seen: bool, deadline_s: float | None) -> None:
        self.handler, self.book, self.now, self.count = handler, Book(handler), T0, 0
        self.order_phase, self.canceled_by = Phase.OPEN, ""
        self.queued = ""
        """The cancellation that the provider has accepted and not done yet."""
        self.mail: list[Event] = []
        """Webhooks that are on their way, or may come again."""
        self.undelivered: set[str] = set()
        self.backup: Book | None = None
        self.calls: list[Call] = []
        self.probes: list[Probe] = []
        self.write(Phase.OPEN)
        if seen:
            self.a_webhook_comes(0)
        self.request_cancel(force=False, deadline_s=deadline_s)

    def next(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}-{self.count}"

    # -- The provider.

    def write(self, order_phase: Phase) -> None:
        """It stands so from now on, and a webhook tells."""
        self.order_phase = order_phase
        self.mail.append(phase(self.next("mail"), (self.now - T0).total_seconds(), order_phase))
        self.undelivered.add(self.mail[-1].id)

    def cancel(self, by: str) -> None:
        self.canceled_by = by
        self.write(Phase.CANCELED)

    @rule(
        order_phase=st.sampled_from([Phase.IN_PROGRESS, Phase.COMPLETED, Phase.CANCELED]),
        really=st.sampled_from([True, False, False]),
    )
    def the_order_goes_on(self, order_phase: Phase, really: bool) -> None:
        after = {Phase.OPEN: 0, Phase.IN_PROGRESS: 1, Phase.COMPLETED: 2, Phase.CANCELED: 2}
        if really and not self.queued and after[order_phase] > after[self.order_phase]:
            self.cancel("somebody else") if order_phase is Phase.CANCELED else self.write(order_phase)

    @precondition(lambda self: self.queued)
    @rule(done=st.booleans())
    def what_was_queued_is_done_or_comes_too_late(self, done: bool) -> None:
        id, self.queued = self.queued, ""
        if done:
            self.cancel(id)
        else:
            self.write(Phase.COMPLETED)

    def arrive(self, call: Call, how: str) -> CancelResult:
        """What the provider does with a call, and says."""
        if how == "fails before":
            return CancelResult(O.RETRY, "503")
        if how in (O.THROTTLED, O.UNAUTHORIZED):
            return CancelResult(CancelOutcome(how), how)
        if self.order_phase is not Phase.OPEN or self.queued:
            again = self.canceled_by == call.cancellation and self.handler.cancel_is_idempotent
            return CancelResult(O.SUCCEEDED if again else O.REFUSED, "409")
        if how == "queued":
            self.queued = call.cancellation
            return CancelResult(O.ACCEPTED, "202")
        self.cancel(call.cancellation)
        if how == "fails after":
            return CancelResult(O.RETRY, "500", may_have_applied=True)
        return CancelResult(O.SUCCEEDED, "200")

    # -- The way between us.

    @precondition(lambda self: self.mail)
    @rule(which=st.integers(0, 9))
    def a_webhook_comes(self, which: int) -> None:
        event = self.mail[which % len(self.mail)]
        self.undelivered.discard(event.id)
        self.book.enter(RecordEvents(ACCOUNT, ORDER, self.now, (event,)))

    @precondition(lambda self: self.calls)
    @rule(
        how=st.sampled_from(["well", "queued", "fails after", "fails after", "fails before", *ODD]),
        then=st.sampled_from(["told", "told", "told", "lost", "lost before", "death", "later"]),
    )
    def a_call_goes_on(self, how: str, then: str) -> None:
        call = self.calls[0]
        if call.answer is None and then != "lost before":
            call.answer = self.arrive(call, how)
        if then == "later":
            return
        self.calls.clear()
        if then == "death":
            self.book.enter(Interrupted(ACCOUNT, ORDER, self.now))
        else:
            result = call.answer if call.answer and then == "told" else LOST
            self.book.enter(RecordResult(ACCOUNT, ORDER, self.now, call.attempt, call.cancellation, result))

    @precondition(lambda self: self.probes)
    @rule(which=st.integers(0, 3), then=st.sampled_from(["told", "told", "told", "fails", "later"]))
    def a_probe_goes_on(self, which: int, then: str) -> None:
        probe = self.probes[which % len(self.probes)]
        # What is queued shows, else nobody could know better than to send again.
        probe.found = probe.found or (Phase.UNKNOWN if self.queued else self.order_phase)
        if then == "later":
            return
        self.probes.remove(probe)
        snapshot = Facts(phase=probe.found) if then == "told" else None
        self.book.enter(RecordProbe(ACCOUNT, ORDER, self.now, self.next("prb"), probe.asked_at, snapshot, failure="no"))

    # -- We.

    @rule(pause_s=st.sampled_from([1.0, 7.0, 61.0, 90_000.0]))
    def time_passes(self, pause_s: float) -> None:
        self.now += timedelta(seconds=pause_s)

    @rule()
    def a_backup_is_taken(self) -> None:
        self.backup = deepcopy(self.book)

    @precondition(lambda self: self.backup is not None)
    @rule(really=st.sampled_from([True, False, False]))
    def the_backup_is_restored(self, really: bool) -> None:
        if really:
            self.book, self.backup = self.backup, None
            self.calls, self.probes = [], []
            self.undelivered = {event.id for event in self.mail}
            self.book.enter(Restored(ACCOUNT, ORDER, self.now))
            self.book.enter(Interrupted(ACCOUNT, ORDER, self.now))

    @precondition(lambda self: not self.book.aggregate.live)
    @rule(really=st.sampled_from([True, False, False]), force=st.booleans(), deadline_s=deadlines_s)
    def somebody_wants_it_canceled_again(self, really: bool, force: bool, deadline_s: float | None) -> None:
        if really:
            self.request_cancel(force, deadline_s)

    def request_cancel(self, force: bool, deadline_s: float | None) -> None:
        deadline = None if deadline_s is None else self.now + timedelta(seconds=deadline_s)
        asked = Cancellation(self.next("can"), ACCOUNT, ORDER, "so", self.now, self.now, deadline=deadline)
        self.book.enter(RequestCancel(ACCOUNT, ORDER, self.now, asked, force))

    @precondition(lambda self: self.book.aggregate.live)
    @rule(really=st.sampled_from([True, False, False]), what=st.sampled_from(["revoke", "clock"]))
    def it_is_given_up(self, really: bool, what: str) -> None:
        if really and what == "clock":
            self.book.enter(FireTimer(ACCOUNT, ORDER, self.now))
        elif really:
            self.book.enter(Revoke(ACCOUNT, ORDER, self.now, self.book.aggregate.live[0].id, "ann"))

    @precondition(lambda self: job_for(self.book.aggregate) is not None)
    @rule()
    def a_lane_claims_the_job(self) -> None:
        job, attempt = job_for(self.book.aggregate), self.next("att")
        assert job is not None
        self.now = max(self.now, job.due_at)
        claim = ClaimJob(ACCOUNT, ORDER, self.now, attempt, job.kind, job.cancellation, LEASE_S)
        granted = self.book.enter(claim)
        if isinstance(granted, Granted):
            if job.kind is JobKind.PROBE:
                self.probes.append(Probe(self.now))
            else:
                assert job.cancellation is not None
                self.calls.append(Call(attempt, job.cancellation))

    # -- The truth.

    @invariant()
    def what_is_final_is_true(self) -> None:
        for each in self.book.moved.values():
            took_effect = each.id in (self.canceled_by, self.queued)
            assert not (took_effect and each.state in NOT_CANCELED), "its call took effect"
            assert each.state is not State.SUCCEEDED or self.order_phase is Phase.CANCELED

    def teardown(self) -> None:
        if not hasattr(self, "book"):
            return
        if self.queued:
            self.what_was_queued_is_done_or_comes_too_late(done=True)
        for _ in range(60):
            self.let_it_end()
        for event in [each for each in self.mail if each.id in self.undelivered]:
            self.book.enter(RecordEvents(ACCOUNT, ORDER, self.now, (event,)))
        self.what_is_final_is_true()
        assert not self.book.aggregate.live
        assert self.book.aggregate.order.phase is self.order_phase

    def let_it_end(self) -> None:
        """The next thing, as it goes when nothing goes wrong."""
        if self.calls:
            self.a_call_goes_on("well", "told")
        elif self.probes:
            self.a_probe_goes_on(0, "told")
        elif self.book.aggregate.live:
            self.a_lane_claims_the_job()


HonestProvider.TestCase.settings = examples(250, stateful_step_count=40, deadline=None)
TestHonestProvider = HonestProvider.TestCase
