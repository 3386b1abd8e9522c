"""Commands: what the ledger records about one order, and what each of them decides.

`decide` runs inside the ledger's transaction, in the order's unit of work; it emits events and returns the caller's
result. It is pure: the same aggregate and the same command give the same events and the same result.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar, Generic, Self, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from app.contract import Cancelable, CancelRequest, Order, Phase, Source
from app.core.admission import admit, expire_if_late, schedule
from app.core.aggregate import Job, JobKind, job_for
from app.core.attempt import Attempt
from app.core.cancellation import TRANSITIONS, Cancellation, Cause, State, Waiting, begin
from app.core.event import Event, not_before
from app.core.event_types import PROBE_ABANDONED, TAGS_CHANGED, ProbeAbandoned, TagsChanged
from app.core.unit_of_work import UnitOfWork, forbids_sending

R = TypeVar("R")

PROBE_FRESH = timedelta(minutes=5)
"""How long a probe's result counts as the present state of an order that is probed before each cancel."""
_PROBED = (Cause.PROBED, Cause.PROBE_INCONCLUSIVE, Cause.STILL_CANCELABLE)
"""The causes of a step to `scheduled` that a probe's result leads to."""


class Command(Struct, Generic[R], frozen=True):
    """Something to record about one order; `R` is the type of its result."""

    account: str
    order: str
    now: datetime

    reviews_policies: ClassVar[bool] = False
    """Before it is decided, policies revoke their unsent cancels whose condition no longer holds."""
    triggers_policies: ClassVar[bool] = False
    """Policies decide after it even if it brought no facts."""
    forces_write: ClassVar[bool] = False
    """The order is stored even if no event was emitted: time alone may have changed its verdict."""

    is_claim: ClassVar[bool] = False
    """It lets a call be sent: it is decided while the account is this node's, and nothing is paused meanwhile."""
    uses_limits: ClassVar[bool] = False
    """Policies with limits may act after it; after another command they act at once, by a timer."""

    def facts(self, latest: datetime | None = None) -> tuple[Event, ...]:  # noqa: ARG002 - most bring none
        """The facts that the command brings, known before it is decided; received after `latest`."""
        return ()

    def decide(self, unit: UnitOfWork) -> R:
        """Emit the events that follow; return the caller's result."""
        raise NotImplementedError

    def attempt_after(self, result: R) -> Attempt | None:  # noqa: ARG002 - most are about no attempt
        """The attempt to store with it, once it was decided with `result`."""
        return None


class AttemptCommand(Command[R], Generic[R], frozen=True, kw_only=True):
    """A command about one attempt, which is stored in the same transaction."""

    record: Attempt | None = None
    """The attempt, begun or ended; None if it is not to be stored."""

    def attempt_after(self, result: R) -> Attempt | None:  # noqa: ARG002 - for `ClaimJob`
        return self.record

    def without_aliases(self) -> Self:
        """The command about the order under the name that the caller used, and no other."""
        return self

    def without_facts(self, problem: str) -> Self:  # noqa: ARG002 - most bring none
        """The command without the facts that it brings, which cannot be recorded because of `problem`."""
        return self


class RecordEvents(Command[None], frozen=True):
    """Facts of one order, from a webhook."""

    events: tuple[Event, ...]
    again: bool = False
    """The webhook was received before, and is parsed again: its time of receipt stays."""

    def facts(self, latest: datetime | None = None) -> tuple[Event, ...]:
        if not self.again and latest is not None:
            for event in self.events:
                if event.received_at < latest:
                    return tuple(not_before(each, latest) for each in self.events)
        return self.events

    def decide(self, unit: UnitOfWork) -> None:
        for event in self.facts(unit.latest):
            unit.emit(event)


class Requested(Struct, frozen=True):
    """The cancellation as it began."""

    cancellation: Cancellation


class Conflict(Struct, frozen=True):
    """Not possible because of this cancellation."""

    cancellation: Cancellation


class RequestCancel(Command[Requested | Conflict], frozen=True):
    """Request a cancel of the order."""

    request: Cancellation
    force: bool = False

    def decide(self, unit: UnitOfWork) -> Requested | Conflict:
        unit.react()  # time alone may have ended the one that is live
        if unit.aggregate.live:
            return Conflict(unit.aggregate.live[0])
        admission = admit(unit, self.force)
        verdict = admission.verdict
        request = replace(self.request, order=unit.aggregate.order.id, verdict=verdict)
        if admission.cause is Cause.NOT_CANCELABLE:
            explained = {"detail": verdict.explanation, "evidence": verdict.evidence, "waiting": Waiting.NOTHING}
            unit.emit(begin(request, Cause.NOT_CANCELABLE, self.now, **explained))
        else:
            if self.force and verdict.cancelable is Cancelable.NO:
                request = replace(request, overridden_evidence=verdict.evidence)
            schedule(unit, request, admission.waiting)
        return Requested(unit.moved[request.id])


class Approve(Command[Cancellation | Conflict | None], frozen=True):
    """A person approves the cancel that a policy proposed."""

    reviews_policies = True

    cancellation: str
    by: str

    def decide(self, unit: UnitOfWork) -> Cancellation | Conflict | None:
        unit.react()
        cancel = unit.aggregate.cancellation(self.cancellation)
        if cancel is None:
            return unit.moved.get(self.cancellation)
        if cancel.waiting is not Waiting.APPROVAL:
            return Conflict(cancel)
        if expire_if_late(unit, cancel):
            return unit.moved[cancel.id]
        # From here on it is as if it had been requested now.
        waiting, deadline = admit(unit, force=False).waiting, self.now + unit.account.deadline
        changes: dict[str, Any] = {"waiting": waiting, "due_at": self.now, "deadline": deadline}
        detail = f"Approved by {self.by}."
        approved = unit.advance(cancel, Cause.APPROVED, Source.OPERATOR, detail=detail, **changes)
        # In a backup it was not approved yet; after the backup it may have been, and sent.
        return _ask_first(unit, approved) if approved.may_have_applied and _must_ask(unit) else approved


class Restored(Command[None], frozen=True):
    """The order comes from a backup: what was unsent there may have been sent after the backup was taken.

    So it counts as a call that was out when a process ended: it is not sent again blindly (guarantee I4).
    """

    def decide(self, unit: UnitOfWork) -> None:
        for cancel in unit.aggregate.live:
            if cancel.state is not State.SCHEDULED:
                continue
            if _must_ask(unit) and cancel.waiting is not Waiting.APPROVAL:
                _ask_first(unit, cancel)
            elif not cancel.may_have_applied:
                same: dict[str, Any] = {"waiting": cancel.waiting, "due_at": cancel.due_at, "detail": cancel.detail}
                unit.advance(cancel, Cause.RESTORED, may_have_applied=True, **same)


def _must_ask(unit: UnitOfWork) -> bool:
    return not unit.account.handler.cancel_is_idempotent


def _ask_first(unit: UnitOfWork, cancel: Cancellation) -> Cancellation:
    detail = "It comes from a backup: whether it was sent after the backup was taken is not known."
    changes: dict[str, Any] = {"lost_calls": cancel.lost_calls + 1, "refusal_distrusted": False}
    return unit.mark_indeterminate(cancel, Cause.OUTCOME_UNCERTAIN, detail, **changes)


class Granted(Struct, frozen=True):
    """The job may be sent now; this commit is the moment of sending."""

    order: Order
    cancellation: Cancellation | None
    latest: datetime | None = None
    """When the latest known fact of the order happened."""
    probed: bool = False
    """The cancel waited for a probe, whose result was recorded within `PROBE_FRESH`, and for nothing since."""

    @property
    def request(self) -> CancelRequest | None:
        """What the handler is asked to cancel; None for a probe that is about no cancellation."""
        cancel = self.cancellation
        if cancel is None:
            return None
        return CancelRequest(self.order, cancel.reason, cancel.note, cancel.id, cancel.attempts, self.probed)


class ClaimJob(AttemptCommand[Granted | None], frozen=True):
    """A lane is about to send the order's job: the fence (guarantee I3). None: it may not."""

    reviews_policies = True
    is_claim = True

    attempt: str
    kind: JobKind
    cancellation: str | None
    lease_s: float
    poll: bool = False
    """A poll, without a job: nothing was heard of the order for a while."""

    def attempt_after(self, result: Granted | None) -> Attempt | None:
        return None if result is None else self.record

    def decide(self, unit: UnitOfWork) -> Granted | None:
        if unit.is_held(self.cancellation):
            return None
        # Before `react`: time alone may move when its window closes, which is no news of the order.
        probed = self._is_probed(unit)
        unit.react()
        job = job_for(unit.aggregate)
        return self._poll(unit, job) if self.poll else self._claim(unit, job, probed)

    def _is_probed(self, unit: UnitOfWork) -> bool:
        cancel = unit.aggregate.cancellation(self.cancellation) if self.cancellation else None
        return cancel is not None and cancel.cause in _PROBED and self.now - cancel.updated_at <= PROBE_FRESH

    def _poll(self, unit: UnitOfWork, job: Job | None) -> Granted | None:
        is_open = unit.aggregate.order.phase not in (Phase.CANCELED, Phase.COMPLETED)
        return Granted(unit.aggregate.order, None, unit.aggregate.latest) if job is None and is_open else None

    def _claim(self, unit: UnitOfWork, job: Job | None, probed: bool) -> Granted | None:
        if job is None or job.sending or (job.kind, job.cancellation) != (self.kind, self.cancellation):
            return None
        if job.due_at > self.now:
            return None
        cancel = unit.aggregate.cancellation(self.cancellation) if self.cancellation else None
        if cancel is not None and not self._may_go_on(unit, cancel):
            return None
        if cancel is None and unit.account.handler.probe is None:
            unit.record(PROBE_ABANDONED, self.attempt, Source.CLOCK, ProbeAbandoned())
            return None
        if cancel is not None and self.kind is JobKind.CANCEL:
            due_at = unit.later(self.lease_s)
            sent: dict[str, Any] = {"attempts": cancel.attempts + 1, "last_attempt": self.attempt}
            cancel = unit.advance(cancel, Cause.CLAIMED, waiting=Waiting.RESULT, due_at=due_at, **sent)
        return Granted(unit.aggregate.order, cancel, unit.aggregate.latest, probed)

    def _may_go_on(self, unit: UnitOfWork, cancel: Cancellation) -> bool:
        if self.kind is JobKind.CANCEL:
            return _may_be_sent(unit, cancel)
        if cancel.state is State.SCHEDULED and expire_if_late(unit, cancel):
            return False
        if unit.account.handler.probe is None:
            detail = "The provider cannot be asked how the order stands; settle it by hand."
            unit.advance(cancel, Cause.ATTEMPTS_USED_UP, detail=detail)
            return False
        return True


class CheckFence(Command[bool], frozen=True):
    """A claimed cancel is about to be sent, after connecting or other calls: the fence once more. True if it may."""

    reviews_policies = True
    is_claim = True

    attempt: str
    cancellation: str

    def decide(self, unit: UnitOfWork) -> bool:
        if unit.is_held(self.cancellation):
            return False
        cancel = unit.aggregate.cancellation(self.cancellation)
        return cancel is not None and cancel.is_out(self.attempt) and _may_be_sent(unit, cancel)


class ReleaseClaim(AttemptCommand[None], frozen=True):
    """A claimed cancel was not sent after all, through no fault of its own: it waits to be sent again."""

    attempt: str
    cancellation: str

    def decide(self, unit: UnitOfWork) -> None:
        cancel = unit.aggregate.cancellation(self.cancellation)
        if cancel is not None and cancel.is_out(self.attempt):
            detail = "It was held back before it was sent."
            unsent = cancel.attempts - 1
            unit.advance(
                cancel, Cause.RETRY, waiting=Waiting.SEND_SLOT, due_at=self.now, detail=detail, attempts=unsent
            )


def _may_be_sent(unit: UnitOfWork, cancel: Cancellation) -> bool:
    """The fence itself: a cancellation that may not be sent ends here."""
    if expire_if_late(unit, cancel):
        return False
    verdict = unit.verdict()
    if forbids_sending(cancel, verdict):
        unit.end_unsent(cancel, Cause.WINDOW_CLOSED, verdict.explanation, verdict.evidence)
        return False
    return True


class FireTimer(Command[None], frozen=True):
    """A time of the order has come: a deadline of its cancellations, or a change of its verdict by time alone."""

    triggers_policies = True
    forces_write = True
    uses_limits = True

    def decide(self, unit: UnitOfWork) -> None:
        for cancel in unit.aggregate.live:
            if cancel.state is State.SCHEDULED:
                expire_if_late(unit, cancel)


class ChangeTags(Command[tuple[str, ...]], frozen=True):
    """A person adds tags to the order, or removes some. The result is all tags that it has then."""

    triggers_policies = True

    add: tuple[str, ...]
    remove: tuple[str, ...]
    by: str
    key: str
    """Identifies this change."""

    def decide(self, unit: UnitOfWork) -> tuple[str, ...]:
        tags = tuple(sorted({*unit.aggregate.tags, *self.add} - set(self.remove)))
        if tags != unit.aggregate.tags:
            unit.record(TAGS_CHANGED, self.key, Source.OPERATOR, TagsChanged(self.add, self.remove, tags, self.by))
        return tags


class Revoke(Command[Cancellation | Conflict | None], frozen=True):
    """Revoke a cancellation, as long as nothing was sent."""

    cancellation: str
    by: str

    def decide(self, unit: UnitOfWork) -> Cancellation | Conflict | None:
        cancel = unit.aggregate.cancellation(self.cancellation)
        if cancel is None:
            return None
        if cancel.state is not State.SCHEDULED:
            return Conflict(cancel)
        return unit.end_unsent(
            cancel,
            Cause.REVOKE_REQUESTED,
            f"Revoked by {self.by}.",
            source=Source.OPERATOR,
            revoke_requested=True,
        )


class Resolve(Command[Cancellation | Conflict | None], frozen=True):
    """A person says what came of a cancel whose outcome was unknown."""

    cancellation: str
    succeeded: bool
    by: str
    note: str

    def decide(self, unit: UnitOfWork) -> Cancellation | Conflict | None:
        cancel = unit.aggregate.cancellation(self.cancellation)
        if cancel is None:
            return None
        cause = Cause.RESOLVED_SUCCEEDED if self.succeeded else Cause.RESOLVED_REFUSED
        if (cancel.state, cause) not in TRANSITIONS:
            return Conflict(cancel)
        return unit.advance(cancel, cause, Source.OPERATOR, detail=f"Settled by {self.by}: {self.note}")
