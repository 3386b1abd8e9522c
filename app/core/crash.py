"""Failures that may also mean “not cancelable”: after the second one a probe decides, or else what is known.

Providers document a 500 for both, or for nothing in particular. Where one order always gets it, trying for hours is in
vain; where it met a provider in trouble, it is not. Which of the two it is, the account's other orders tell.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from app.contract import Cancelable, CancelResult, Source
from app.core.cancellation import Cancellation, Cause, State, Waiting
from app.core.lane.pacing import RetrySchedule
from app.core.unit_of_work import UnitOfWork

PROBED_FROM = 2
"""From so many crashes on a probe decides what is next."""
TRIES_OF_CANCELABLE = 5
"""So often it is tried where all that is known says that it can be canceled, and others' cancels were answered."""
TRIES_ALONE = 12
"""So often where nothing that is known says so, and nobody else's cancel was answered either: most of an hour."""


def crashed(unit: UnitOfWork, known: Cancellation, result: CancelResult, others_at: datetime | None) -> dict[str, Any]:
    """What changes with one more crash. `others_at`: when a cancel of another order was last answered."""
    since = known.ambiguous_since or unit.now
    alone = known.others_unanswered and (others_at is None or others_at <= since)
    return {
        "ambiguous_failures": known.ambiguous_failures + 1,
        "ambiguous_since": since,
        "others_unanswered": alone,
        "detail": result.detail,
    }


def decides(known: Cancellation) -> bool:
    """Is it for this module to say what is next, where a probe cannot tell? Calls that were lost are not sent again."""
    return known.ambiguous_failures >= PROBED_FROM and not known.lost_calls and not known.revoke_requested


def is_in_vain(unit: UnitOfWork, known: Cancellation) -> bool:
    """Is it of no use to try again, by what is known of the order now?"""
    if known.deadline is not None and known.deadline <= unit.now:
        return True
    if unit.verdict().cancelable is Cancelable.YES:
        return known.ambiguous_failures >= TRIES_OF_CANCELABLE and not known.others_unanswered
    return known.ambiguous_failures >= (TRIES_ALONE if known.others_unanswered else PROBED_FROM)


def settle(unit: UnitOfWork, known: Cancellation, schedule: RetrySchedule, detail: str) -> None:
    """No probe can tell: try again, or end it by what is known."""
    if not is_in_vain(unit, known):
        due_at = unit.later(schedule.delay_s(known.ambiguous_failures, unit.chance))
        unit.step(known, Cause.RETRY, waiting=Waiting.RETRY, due_at=due_at, detail=detail, may_have_applied=True)
        return
    end(unit, known, detail)


def end(unit: UnitOfWork, known: Cancellation, detail: str) -> None:
    """End what was tried in vain, by the verdict on the order."""
    verdict = unit.verdict()
    others = "" if known.others_unanswered else ", while those of others were answered"
    told = f"{known.ambiguous_failures} cancels of this order failed at the provider{others}; the last: {detail}"
    if verdict.cancelable is Cancelable.YES:
        text = f"{told} By all that is known the order can be canceled: ask the provider."
        unit.step(known, Cause.ATTEMPTS_USED_UP, detail=text, evidence=verdict.evidence)
    else:
        text = f"{told} Nothing says that the order can be canceled: {verdict.explanation}"
        source = Source.PROVIDER if known.state is State.SENDING else Source.CLOCK
        unit.step(known, Cause.REFUSED, source, detail=text, evidence=verdict.evidence)
