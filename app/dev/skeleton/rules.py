"""Until when the provider cancels an order, and what it asks of a cancel's arguments."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from app.contract import Cancelable, InvalidCancel, Order, Phase, Verdict
from app.contract import Rules as BaseRules
from app.dev.skeleton.words import TITLE
from app.kit.arguments import check_text
from app.kit.verdicts import ALREADY_CANCELED, COMPLETED


class Rules(BaseRules):
    """The provider's parameters, as documented; an account overrides them where they differ for it."""

    # Replace: what the rule on canceling depends on.
    cancelable_statuses: tuple[str, ...] = Field(
        ("received",), description="Statuses in which the provider accepts a cancel."
    )
    reasons: tuple[str, ...] = Field(
        ("customer_request", "duplicate"), description="Words that the provider accepts as a reason."
    )
    note_chars_max: int = Field(200, ge=0, description="How long the note of a cancel may be.")


def verdict(order: Order, rules: Rules, now: datetime) -> Verdict:  # noqa: ARG001 - no window closes by time alone
    """May the order be canceled? Total over phases and statuses; a `no` names the events that it rests on."""
    status = order.provider_status
    if order.phase is Phase.CANCELED:
        return _verdict(order, Cancelable.NO, ALREADY_CANCELED, "The order is canceled already.")
    if order.phase is Phase.COMPLETED:
        return _verdict(order, Cancelable.NO, COMPLETED, "The order is done.")
    if order.phase is Phase.UNKNOWN or status is None:
        # What is not known is never a no.
        text = f"The status {status or 'is not known, which'} does not tell whether {TITLE} still cancels the order."
        return _verdict(order, Cancelable.UNKNOWN, "status_unclear", text)
    # Replace: the rule. If time alone closes the window, say when in the Verdict's changes_at.
    if status in rules.cancelable_statuses:
        text = f"The status is {status}, in which {TITLE} accepts a cancel."
        return _verdict(order, Cancelable.YES, "status_cancelable", text)
    text = f"The status is {status}, in which {TITLE} accepts no cancel."
    return _verdict(order, Cancelable.NO, "status_not_cancelable", text)


def check(reason: str, note: str | None, rules: Rules) -> None:
    """Raise `InvalidCancel` where the provider would not take the arguments of a cancel."""
    # Replace: the documented limits; without any, let everything pass.
    if reason not in rules.reasons:
        raise InvalidCancel("reason", f"{TITLE} accepts only these reasons: {', '.join(rules.reasons)}")
    if note is not None and len(note) > rules.note_chars_max:
        allowed = f"{TITLE} takes notes of at most {rules.note_chars_max} characters"
        raise InvalidCancel("note", f"{allowed}, and this has {len(note)}: shorten it")
    check_text("note", note)


def _verdict(order: Order, cancelable: Cancelable, reason: str, explanation: str) -> Verdict:
    return Verdict(cancelable, reason, explanation, order.evidence("phase", "provider_status"))
