"""Until when the provider cancels an order, and what it asks of a cancel's arguments."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from app.contract import Order, Phase, Verdict
from app.contract import Rules as BaseRules
from app.kit import verdicts
from app.kit.arguments import check_choice, check_length
from app.kit.clauses import clause
from app.dev.skeleton.words import TITLE


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
    # Replace: the rule, each condition of it tested by `clause`, so that explanations show it. If time alone closes
    # the window, give changes_at. What is not known is never a no.
    status, evidence = order.provider_status, ("phase", "provider_status")
    if (ended := verdicts.final(order, "The order is done.")) is not None:
        return ended
    is_unclear = order.phase is Phase.UNKNOWN or status is None
    if clause(verdicts.STATUS_UNCLEAR, "The order's status is not known.", is_unclear, *evidence):
        text = f"What is known of the order{verdicts.in_parentheses(status)} does not tell whether it can be canceled."
        return verdicts.unknown(order, verdicts.STATUS_UNCLEAR, text, *evidence)
    is_cancelable, condition = status in rules.cancelable_statuses, f"{TITLE} accepts a cancel in this status."
    if clause(verdicts.STATUS_CANCELABLE, condition, is_cancelable, *evidence, setting="cancelable_statuses"):
        text = f"The status is {status}, in which {TITLE} accepts a cancel."
        return verdicts.yes(order, verdicts.STATUS_CANCELABLE, text, *evidence)
    text = f"The status is {status}, in which {TITLE} accepts no cancel."
    return verdicts.no(order, verdicts.STATUS_NOT_CANCELABLE, text, *evidence)


def check(reason: str, note: str | None, rules: Rules) -> None:
    """Raise `InvalidCancel` where the provider would not take the arguments of a cancel."""
    # Replace: the documented limits; without any, let everything pass.
    check_choice("reason", reason, rules.reasons, f"{TITLE} accepts only these reasons")
    check_length("note", note or "", rules.note_chars_max, f"{TITLE} takes {rules.note_chars_max} characters at most")
