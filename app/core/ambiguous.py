"""Ambiguous failures, which may also mean "not cancelable": after the second, a probe decides, or what is known does.

Providers document a 500 for both, or for nothing in particular. For an order that always gets it, retrying for hours is
in vain; for an order that met a provider in trouble, it is not. The account's other orders tell which of the two it is.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from app.contract import Cancelable, CancelResult, Source
from app.core.cancellation import Cancellation, Cause, State, Waiting
from app.core.lane.pacing import RetrySchedule
from app.core.unit_of_work import UnitOfWork

PROBED_FROM = 2
"""From this many ambiguous failures on, a probe decides what is next."""
TRIES_OF_CANCELABLE = 5
"""Tries of an order that is cancelable by all that is known, if other orders' cancels were answered."""
TRIES_ALONE = 12
"""Tries of an order that is not known to be cancelable, if no other cancel was answered either: most of an hour."""


def after_ambiguous_failure(
    unit: UnitOfWork, cancel: Cancellation, result: CancelResult, others_at: datetime | None
) -> dict[str, Any]:
    """What changes with one more ambiguous failure. `others_at`: when another order's cancel was last answered."""
    since = cancel.ambiguous_since or unit.now
    return {
        "ambiguous_failures": cancel.ambiguous_failures + 1,
        "ambiguous_since": since,
        "others_unanswered": cancel.others_unanswered and (others_at is None or others_at <= since),
        "detail": result.detail,
    }


def decides_without_probe(cancel: Cancellation) -> bool:
    """Whether `retry_or_end` decides if a probe cannot tell. Calls that were lost are not sent again."""
    return cancel.ambiguous_failures >= PROBED_FROM and not cancel.lost_calls and not cancel.revoke_requested


def is_in_vain(unit: UnitOfWork, cancel: Cancellation) -> bool:
    """Whether one more try is of no use, by what is known of the order now."""
    if cancel.deadline is not None and cancel.deadline <= unit.now:
        return True
    if unit.verdict().cancelable is Cancelable.YES:
        return cancel.ambiguous_failures >= TRIES_OF_CANCELABLE and not cancel.others_unanswered
    return cancel.ambiguous_failures >= (TRIES_ALONE if cancel.others_unanswered else PROBED_FROM)


def retry_or_end(unit: UnitOfWork, cancel: Cancellation, schedule: RetrySchedule, detail: str) -> None:
    """No probe can tell: retry, or end it by what is known."""
    if is_in_vain(unit, cancel):
        end_in_vain(unit, cancel, detail)
        return
    due_at = unit.later(schedule.delay_s(cancel.ambiguous_failures, unit.chance))
    unit.advance(cancel, Cause.RETRY, waiting=Waiting.RETRY, due_at=due_at, detail=detail, may_have_applied=True)


def end_in_vain(unit: UnitOfWork, cancel: Cancellation, detail: str) -> None:
    """End a cancellation that was tried in vain, by the verdict on the order."""
    verdict = unit.verdict()
    others = "" if cancel.others_unanswered else ", while those of others were answered"
    failed = f"{cancel.ambiguous_failures} cancels of this order failed at the provider{others}; the last: {detail}"
    if verdict.cancelable is Cancelable.YES:
        text = f"{failed} By all that is known the order can be canceled: ask the provider."
        unit.advance(cancel, Cause.ATTEMPTS_USED_UP, detail=text, evidence=verdict.evidence)
    else:
        text = f"{failed} Nothing says that the order can be canceled: {verdict.explanation}"
        source = Source.PROVIDER if cancel.state is State.SENDING else Source.CLOCK
        unit.advance(cancel, Cause.REFUSED, source, detail=text, evidence=verdict.evidence)
