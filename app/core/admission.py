"""A wish: what would become of it, how it begins, and when it comes too late."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct

from app.contract import Cancelable, Verdict
from app.core import cancellation
from app.core.cancellation import Cancellation, Cause, State, Waiting
from app.core.unit_of_work import UnitOfWork
from app.core.verdict import NEVER_SEEN
from app.kit.verdicts import ALREADY_CANCELED


class Assessment(Struct, frozen=True):
    """What would become of a wish."""

    cause: Cause
    waiting: Waiting
    verdict: Verdict


def assess(unit: UnitOfWork, force: bool) -> Assessment:
    """Would a cancel of the order on the desk be sent, probed first, or rejected?"""
    verdict = unit.verdict()
    policy = unit.account.unknown_orders if verdict.reason == NEVER_SEEN else "probe"
    if verdict.cancelable is Cancelable.NO and (not force or verdict.reason == ALREADY_CANCELED):
        return Assessment(Cause.NOT_CANCELABLE, Waiting.NOTHING, verdict)
    if policy == "reject" and not force:
        return Assessment(Cause.NOT_CANCELABLE, Waiting.NOTHING, verdict)
    # A refusal that nobody had foreseen: what is known is behind, whatever the verdict says by it.
    behind = unit.aggregate.pending_probe is not None and unit.aggregate.pending_probe.after_refusal
    ask_first = (verdict.cancelable is Cancelable.UNKNOWN or behind) and policy == "probe" and not force
    if ask_first and unit.account.handler.probe is not None:
        return Assessment(Cause.REQUESTED, Waiting.PROBE, verdict)
    return Assessment(Cause.REQUESTED, Waiting.SEND_SLOT, verdict)


def schedule(unit: UnitOfWork, asked: Cancellation, waiting: Waiting) -> None:
    """The wish begins, and waits for its turn or for a probe."""
    closing = unit.closing(asked)
    unit.emit(cancellation.begin(asked, Cause.REQUESTED, unit.now, waiting=waiting, due_at=unit.now, **closing))


def propose(unit: UnitOfWork, asked: Cancellation, until: datetime) -> None:
    """The wish begins, and waits for a person's approval, until then at the longest."""
    waits = {"waiting": Waiting.APPROVAL, "due_at": until, "deadline": until, **unit.closing(asked)}
    unit.emit(cancellation.begin(asked, Cause.PROPOSED, unit.now, **waits))


def expires(unit: UnitOfWork, known: Cancellation) -> bool:
    """End what comes too late: its deadline has passed, or a call sent now would arrive after the window has closed."""
    if known.deadline is not None and known.deadline <= unit.now:
        by_whom = "a person approved it" if known.waiting is Waiting.APPROVAL else "it could be sent"
        unit.give_up(known, Cause.DEADLINE_PASSED, f"The deadline passed before {by_whom}.")
        return True
    if known.state is not State.SCHEDULED or known.send_by is None or known.closes_at is None:
        return False
    # From then on that the window has closed says more.
    if known.send_by <= unit.now < known.closes_at:
        takes_s = (known.closes_at - known.send_by) / timedelta(seconds=1)
        detail = f"The window closes at {known.closes_at:%Y-%m-%dT%H:%M:%SZ}, and a call takes {takes_s:.1f} s of late."
        unit.give_up(known, Cause.DEADLINE_PASSED, f"{detail} It would have come too late.")
        return True
    return False
