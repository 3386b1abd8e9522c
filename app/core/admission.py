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


def assess(desk: UnitOfWork, force: bool) -> Assessment:
    """Would a cancel of the order on the desk be sent, probed first, or rejected?"""
    verdict = desk.verdict()
    policy = desk.account.unknown_orders if verdict.reason == NEVER_SEEN else "probe"
    if verdict.cancelable is Cancelable.NO and (not force or verdict.reason == ALREADY_CANCELED):
        return Assessment(Cause.NOT_CANCELABLE, Waiting.NOTHING, verdict)
    if policy == "reject" and not force:
        return Assessment(Cause.NOT_CANCELABLE, Waiting.NOTHING, verdict)
    # A refusal that nobody had foreseen: what is known is behind, whatever the verdict says by it.
    behind = desk.aggregate.pending_probe is not None and desk.aggregate.pending_probe.after_refusal
    ask_first = (verdict.cancelable is Cancelable.UNKNOWN or behind) and policy == "probe" and not force
    if ask_first and desk.account.handler.probe is not None:
        return Assessment(Cause.REQUESTED, Waiting.PROBE, verdict)
    return Assessment(Cause.REQUESTED, Waiting.SEND_SLOT, verdict)


def schedule(desk: UnitOfWork, asked: Cancellation, waiting: Waiting) -> None:
    """The wish begins, and waits for its turn or for a probe."""
    closing = desk.closing(asked)
    desk.emit(cancellation.begin(asked, Cause.REQUESTED, desk.now, waiting=waiting, due_at=desk.now, **closing))


def propose(desk: UnitOfWork, asked: Cancellation, until: datetime) -> None:
    """The wish begins, and waits for a person's approval, until then at the longest."""
    waits = {"waiting": Waiting.APPROVAL, "due_at": until, "deadline": until, **desk.closing(asked)}
    desk.emit(cancellation.begin(asked, Cause.PROPOSED, desk.now, **waits))


def expires(desk: UnitOfWork, known: Cancellation) -> bool:
    """End what comes too late: its deadline has passed, or a call sent now would arrive after the window has closed."""
    if known.deadline is not None and known.deadline <= desk.now:
        by_whom = "a person approved it" if known.waiting is Waiting.APPROVAL else "it could be sent"
        desk.give_up(known, Cause.DEADLINE_PASSED, f"The deadline passed before {by_whom}.")
        return True
    if known.state is not State.SCHEDULED or known.send_by is None or known.closes_at is None:
        return False
    # From then on that the window has closed says more.
    if known.send_by <= desk.now < known.closes_at:
        takes_s = (known.closes_at - known.send_by) / timedelta(seconds=1)
        detail = f"The window closes at {known.closes_at:%Y-%m-%dT%H:%M:%SZ}, and a call takes {takes_s:.1f} s of late."
        desk.give_up(known, Cause.DEADLINE_PASSED, f"{detail} It would have come too late.")
        return True
    return False
