"""Admission of a cancel request: whether it is sent, probed first or rejected, and when it is too late."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct

from app.contract import Cancelable, Verdict
from app.core.cancellation import Cancellation, Cause, State, Waiting, begin
from app.core.unit_of_work import UnitOfWork
from app.core.verdict import NEVER_SEEN
from app.kit.verdicts import ALREADY_CANCELED


class Admission(Struct, frozen=True):
    """What becomes of a cancel request."""

    cause: Cause
    waiting: Waiting
    verdict: Verdict


def admit(unit: UnitOfWork, force: bool) -> Admission:
    """Whether a cancel of the order would be sent, probed first, or rejected."""
    verdict = unit.verdict()
    policy = unit.account.unknown_orders if verdict.reason == NEVER_SEEN else "probe"
    if verdict.cancelable is Cancelable.NO and (not force or verdict.reason == ALREADY_CANCELED):
        return Admission(Cause.NOT_CANCELABLE, Waiting.NOTHING, verdict)
    if policy == "reject" and not force:
        return Admission(Cause.NOT_CANCELABLE, Waiting.NOTHING, verdict)
    pending = unit.aggregate.pending_probe
    # After a refusal that no verdict foresaw, what is known is outdated, whatever the verdict makes of it.
    outdated = pending is not None and pending.after_refusal
    probe_first = (verdict.cancelable is Cancelable.UNKNOWN or outdated) and policy == "probe" and not force
    if probe_first and unit.account.handler.probe is not None:
        return Admission(Cause.REQUESTED, Waiting.PROBE, verdict)
    return Admission(Cause.REQUESTED, Waiting.SEND_SLOT, verdict)


def schedule(unit: UnitOfWork, request: Cancellation, waiting: Waiting) -> None:
    """Begin a cancellation that waits to be sent, or for a probe."""
    closing = unit.closing_times(request)
    unit.emit(begin(request, Cause.REQUESTED, unit.now, waiting=waiting, due_at=unit.now, **closing))


def propose(unit: UnitOfWork, request: Cancellation, until: datetime) -> None:
    """Begin a cancellation that waits for a person's approval, at most until `until`."""
    waits = {"waiting": Waiting.APPROVAL, "due_at": until, "deadline": until, **unit.closing_times(request)}
    unit.emit(begin(request, Cause.PROPOSED, unit.now, **waits))


def expire_if_late(unit: UnitOfWork, cancel: Cancellation) -> bool:
    """End a cancellation whose deadline has passed, or whose call would arrive after the window has closed."""
    if cancel.deadline is not None and cancel.deadline <= unit.now:
        by_whom = "a person approved it" if cancel.waiting is Waiting.APPROVAL else "it could be sent"
        unit.end_unsent(cancel, Cause.DEADLINE_PASSED, f"The deadline passed before {by_whom}.")
        return True
    if cancel.state is not State.SCHEDULED or cancel.send_by is None or cancel.closes_at is None:
        return False
    # Once the window has closed, that says more.
    if cancel.send_by <= unit.now < cancel.closes_at:
        takes_s = (cancel.closes_at - cancel.send_by) / timedelta(seconds=1)
        detail = f"The window closes at {cancel.closes_at:%Y-%m-%dT%H:%M:%SZ}, and recent calls took {takes_s:.1f} s."
        unit.end_unsent(cancel, Cause.DEADLINE_PASSED, f"{detail} It would have come too late.")
        return True
    return False
