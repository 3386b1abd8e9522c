"""What comes through the one door, and what each entry decides.

An entry concerns one order. `decide` runs inside the ledger's transaction with that order's case
on the desk; it emits events and returns the answer for the caller. It is pure: the same case and
the same entry give the same events.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from app.contract import Cancelable, Order, Phase, Source
from app.core import cancellation
from app.core.admission import assess, expires, schedule
from app.core.aggregate import PROBE_ABANDONED, TAGGED, JobKind, job_for
from app.core.cancellation import Cancellation, Cause, State, Waiting
from app.core.event import Event, internal_event, not_before
from app.core.unit_of_work import UnitOfWork, stops


class Command(Struct, frozen=True):
    """Something that happened, about one order."""

    account: str
    order: str
    now: datetime

    def facts(self, latest: datetime | None = None) -> tuple[Event, ...]:  # noqa: ARG002 - most bring none
        """The events that the entry brings along, before any decision, received after `latest`."""
        return ()

    def decide(self, desk: UnitOfWork) -> Any:
        """Emit what follows; return the caller's answer."""
        raise NotImplementedError


class RecordEvents(Command, frozen=True):
    """Facts of one order, from a webhook."""

    events: tuple[Event, ...]
    again: bool = False
    """It was received long ago, and is only read again: its time of receipt stands."""

    def facts(self, latest: datetime | None = None) -> tuple[Event, ...]:
        return self.events if self.again else tuple(not_before(event, latest) for event in self.events)

    def decide(self, desk: UnitOfWork) -> None:
        for event in self.facts(desk.latest):
            desk.emit(event)


class Requested(Struct, frozen=True):
    """The answer to a wish: the cancellation as it began."""

    cancellation: Cancellation


class Conflict(Struct, frozen=True):
    """The wish cannot be, because of a cancellation that stands in the way."""

    cancellation: Cancellation


class RequestCancel(Command, frozen=True):
    """Somebody wants the order canceled."""

    asked: Cancellation
    force: bool = False

    def decide(self, desk: UnitOfWork) -> Requested | Conflict:
        desk.react()  # time alone may have ended the one that stands in the way
        if desk.aggregate.live:
            return Conflict(desk.aggregate.live[0])
        found = assess(desk, self.force)
        verdict = found.verdict
        asked = replace(self.asked, order=desk.aggregate.order.id, verdict=verdict)
        if found.cause is Cause.NOT_CANCELABLE:
            explained = {"detail": verdict.explanation, "evidence": verdict.evidence, "waiting": Waiting.NOTHING}
            desk.emit(cancellation.begin(asked, Cause.NOT_CANCELABLE, self.now, **explained))
        else:
            if self.force and verdict.cancelable is Cancelable.NO:
                asked = replace(asked, overridden_evidence=verdict.evidence)
            schedule(desk, asked, found.waiting)
        return Requested(desk.moved[asked.id])


class Approve(Command, frozen=True):
    """A person lets a policy have the order canceled."""

    cancellation: str
    by: str

    def decide(self, desk: UnitOfWork) -> Cancellation | Conflict | None:
        desk.react()
        known = desk.aggregate.cancellation(self.cancellation)
        if known is None:
            return desk.moved.get(self.cancellation)
        if known.waiting is not Waiting.APPROVAL:
            return Conflict(known)
        if expires(desk, known):
            return desk.moved[known.id]
        # From here on it is as if it had been wished now.
        waiting, deadline = assess(desk, force=False).waiting, self.now + desk.account.deadline
        changes: dict[str, Any] = {"waiting": waiting, "due_at": self.now, "deadline": deadline}
        return desk.step(known, Cause.APPROVED, Source.OPERATOR, detail=f"Approved by {self.by}.", **changes)


class Granted(Struct, frozen=True):
    """The job may be sent now; this commit was the moment of sending."""

    order: Order
    cancellation: Cancellation | None
    latest: datetime | None = None
    """When the latest of what the order is known by happened."""


class ClaimJob(Command, frozen=True):
    """A lane is about to send the order's job: the fence (guarantee I3)."""

    attempt: str
    kind: JobKind
    cancellation: str | None
    lease_s: float
    poll: bool = False
    """No job asks for it: the order was not heard of for a while."""

    def decide(self, desk: UnitOfWork) -> Granted | None:
        desk.react()
        job = job_for(desk.aggregate)
        if self.poll:
            known_open = desk.aggregate.order.phase not in (Phase.CANCELED, Phase.COMPLETED)
            return Granted(desk.aggregate.order, None, desk.aggregate.latest) if job is None and known_open else None
        if job is None or job.sending or (job.kind, job.cancellation) != (self.kind, self.cancellation):
            return None
        if job.due_at > self.now:
            return None
        known = desk.aggregate.cancellation(self.cancellation) if self.cancellation else None
        if known is not None and not self._may_go_on(desk, known):
            return None
        if known is None and desk.account.handler.probe is None:
            order = desk.aggregate.order.id
            desk.emit(internal_event(self.account, order, PROBE_ABANDONED, self.attempt, self.now, Source.CLOCK, {}))
            return None
        if known is not None and self.kind is JobKind.CANCEL:
            due_at = desk.later(self.lease_s)
            sent: dict[str, Any] = {"attempts": known.attempts + 1, "last_attempt": self.attempt}
            known = desk.step(known, Cause.CLAIMED, waiting=Waiting.RESULT, due_at=due_at, **sent)
        return Granted(desk.aggregate.order, known, desk.aggregate.latest)

    def _may_go_on(self, desk: UnitOfWork, known: Cancellation) -> bool:
        if self.kind is JobKind.CANCEL:
            return _may_be_sent(desk, known)
        if known.state is State.SCHEDULED and expires(desk, known):
            return False
        if desk.account.handler.probe is None:
            detail = "The provider cannot be asked how the order stands; settle it by hand."
            desk.step(known, Cause.ATTEMPTS_USED_UP, detail=detail)
            return False
        return True


class CheckFence(Command, frozen=True):
    """A claimed cancel is about to leave, after other calls that it needed: the fence once more. True if it may."""

    attempt: str
    cancellation: str

    def decide(self, desk: UnitOfWork) -> bool:
        known = desk.aggregate.cancellation(self.cancellation)
        return known is not None and known.is_out(self.attempt) and _may_be_sent(desk, known)


class ReleaseClaim(Command, frozen=True):
    """A claimed cancel did not leave after all, through no fault of its own: it waits for its turn again."""

    attempt: str
    cancellation: str

    def decide(self, desk: UnitOfWork) -> None:
        known = desk.aggregate.cancellation(self.cancellation)
        if known is not None and known.is_out(self.attempt):
            detail = "It was held back before it was sent."
            unsent = known.attempts - 1
            desk.step(known, Cause.RETRY, waiting=Waiting.SEND_SLOT, due_at=self.now, detail=detail, attempts=unsent)


def _may_be_sent(desk: UnitOfWork, known: Cancellation) -> bool:
    """The fence itself: if it may not, the cancellation ends here."""
    if expires(desk, known):
        return False
    verdict = desk.verdict()
    if stops(known, verdict):
        desk.give_up(known, Cause.WINDOW_CLOSED, verdict.explanation, verdict.evidence)
        return False
    return True


class FireTimer(Command, frozen=True):
    """The clock: a deadline of this order's cancellations has passed, or its verdict has changed by time alone."""

    def decide(self, desk: UnitOfWork) -> None:
        for each in desk.aggregate.live:
            if each.state is State.SCHEDULED:
                expires(desk, each)


class ChangeTags(Command, frozen=True):
    """A person puts tags on the order, or takes some off. Gives all that it has then."""

    add: tuple[str, ...]
    remove: tuple[str, ...]
    by: str
    key: str
    """What tells this change from others."""

    def decide(self, desk: UnitOfWork) -> tuple[str, ...]:
        tags = tuple(sorted({*desk.aggregate.tags, *self.add} - set(self.remove)))
        if tags != desk.aggregate.tags:
            change = {"add": list(self.add), "remove": list(self.remove)}
            data: dict[str, Any] = {**change, "tags": list(tags), "by": self.by}
            order = desk.aggregate.order.id
            desk.emit(internal_event(self.account, order, TAGGED, self.key, self.now, Source.OPERATOR, data))
        return tags


class Revoke(Command, frozen=True):
    """Somebody takes the wish back. Possible as long as nothing was sent."""

    cancellation: str
    by: str

    def decide(self, desk: UnitOfWork) -> Cancellation | Conflict | None:
        known = desk.aggregate.cancellation(self.cancellation)
        if known is None:
            return None
        if known.state is not State.SCHEDULED:
            return Conflict(known)
        return desk.give_up(
            known, Cause.REVOKE_REQUESTED, f"Revoked by {self.by}.", source=Source.OPERATOR, revoke_requested=True
        )


class Resolve(Command, frozen=True):
    """A person found out what became of a cancel whose outcome was unknown."""

    cancellation: str
    succeeded: bool
    by: str
    note: str

    def decide(self, desk: UnitOfWork) -> Cancellation | Conflict | None:
        known = desk.aggregate.cancellation(self.cancellation)
        if known is None:
            return None
        cause = Cause.RESOLVED_SUCCEEDED if self.succeeded else Cause.RESOLVED_REFUSED
        if (known.state, cause) not in cancellation.TRANSITIONS:
            return Conflict(known)
        return desk.step(known, cause, Source.OPERATOR, detail=f"Settled by {self.by}: {self.note}")
