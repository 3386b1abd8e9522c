"""The rule on cancelability, and the limits on a cancel's arguments.

Shoplazza documents how to cancel an order, and not when it refuses to. The rule is therefore ours, with parameters
for each of the three statuses: no for an order that is canceled, finished, deleted, or has left the warehouse; unknown
for one of which a part has left; yes for any other.
"""

from __future__ import annotations

from datetime import datetime

from app.contract import Order, Phase, Verdict
from app.contract import Rules as BaseRules
from app.kit.arguments import check_length, check_no_note
from app.kit.clauses import clause
from app.kit.config import undocumented
from app.kit.verdicts import (
    STATUS_NOT_CANCELABLE,
    STATUS_UNCLEAR,
    final,
    in_parentheses,
    no,
    status_is_current,
    unknown,
    yes,
)
from handlers.shoplazza.words import FULFILLMENT_STATUSES, ORDER_STATUSES

DELETED = "deleted"
FULFILLMENT_NOT_CANCELABLE = "fulfillment_not_cancelable"
PAYMENT_NOT_CANCELABLE = "payment_not_cancelable"
PARTIALLY_FULFILLED = "partially_fulfilled"
NOT_SHIPPED = "not_shipped"

_FINANCIAL = "not_cancelable_financial_statuses"
_STATED = ("phase", "provider_status", "attributes")
"""The evidence of a verdict by statuses: every webhook and response shows the whole order."""


class Rules(BaseRules):
    """When this shop's orders can no longer be canceled. Shoplazza documents no condition: these are assumptions."""

    not_cancelable_statuses: tuple[str, ...] = undocumented(
        (),
        "Statuses of an order in which no cancel is sent, besides finished, canceled and cancelled, "
        "which are the end whatever stands here. Empty: opened (unpaid) and placed (paid) are canceled.",
    )
    not_cancelable_fulfillment_statuses: tuple[str, ...] = undocumented(
        ("shipped", "finished", "returning", "partially_returned", "returned"),
        "Fulfillment statuses in which no cancel is sent: all has left, and what comes back is a return.",
    )
    unclear_fulfillment_statuses: tuple[str, ...] = undocumented(
        ("partially_shipped", "partially_finished"),
        "Fulfillment statuses in which nobody knows: a part has left, and a cancel is of the whole order.",
    )
    not_cancelable_financial_statuses: tuple[str, ...] = undocumented(
        (), "Financial statuses in which no cancel is sent. Empty: neither payment nor refund is in the way."
    )
    reason_chars_max: int = undocumented(255, "How long a cancel's reason may be.", ge=1, le=10_000)


def verdict(order: Order, rules: Rules, now: datetime) -> Verdict:  # noqa: ARG001 - no window closes by time alone
    """May the order be canceled? Total over phases and statuses."""
    is_deleted = order.phase is Phase.COMPLETED and bool(order.attributes.get("deleted_at"))
    if clause(DELETED, "The order was deleted from the shop.", is_deleted, "phase", "attributes.deleted_at"):
        return no(order, DELETED, "The order was deleted from the shop.", *_STATED)
    finished = f"The order is finished{in_parentheses(order.provider_status)}, or was deleted."
    return final(order, finished) or _by_lists(order, rules) or _by_phase(order, rules)


def check(reason: str, note: str | None, rules: Rules) -> None:
    """Raise `InvalidCancel` for what Shoplazza's cancel cannot carry. A reason is not required there."""
    check_length("reason", reason, rules.reason_chars_max, f"a reason may have {rules.reason_chars_max} characters")
    check_no_note("Shoplazza", note)


def _by_lists(order: Order, rules: Rules) -> Verdict | None:
    """No, where a status is on one of the account's lists; while the phase is unknown, only by an undocumented word."""
    status, fulfillment = order.provider_status, _attribute(order, "fulfillment_status")
    payment = _attribute(order, "financial_status")
    is_documented = status in (*ORDER_STATUSES, None) and fulfillment in (*FULFILLMENT_STATUSES, None)
    is_uncertain = order.phase is Phase.UNKNOWN and (is_documented or not status_is_current(order))
    condition = "The phase is unknown, and no undocumented status is the last word on the order."
    if clause("phase_uncertain", condition, is_uncertain, "phase", "provider_status"):
        return None
    condition, is_closed = (
        "The account's rules allow no cancel in this status.",
        status in rules.not_cancelable_statuses,
    )
    if clause(STATUS_NOT_CANCELABLE, condition, is_closed, "provider_status", setting="not_cancelable_statuses"):
        text = f"The status is {status}, in which this account's rules allow no cancel."
        return no(order, STATUS_NOT_CANCELABLE, text, *_STATED)
    condition, setting = "What was ordered has left already.", "not_cancelable_fulfillment_statuses"
    has_left = fulfillment in rules.not_cancelable_fulfillment_statuses
    if clause(FULFILLMENT_NOT_CANCELABLE, condition, has_left, "attributes.fulfillment_status", setting=setting):
        text = f"The fulfillment status is {fulfillment}: what was ordered has left already."
        return no(order, FULFILLMENT_NOT_CANCELABLE, text, *_STATED)
    condition, setting = "The account's rules allow no cancel in this state of payment.", _FINANCIAL
    is_barred = payment in rules.not_cancelable_financial_statuses
    if clause(PAYMENT_NOT_CANCELABLE, condition, is_barred, "attributes.financial_status", setting=setting):
        text = f"The financial status is {payment}, in which this account's rules allow no cancel."
        return no(order, PAYMENT_NOT_CANCELABLE, text, *_STATED)
    return None


def _by_phase(order: Order, rules: Rules) -> Verdict:
    fulfillment, status = _attribute(order, "fulfillment_status"), in_parentheses(order.provider_status)
    is_unclear = order.phase is Phase.UNKNOWN
    condition, setting = "A part of what was ordered has left.", "unclear_fulfillment_statuses"
    has_partly_left = fulfillment in rules.unclear_fulfillment_statuses and not is_unclear
    if clause(PARTIALLY_FULFILLED, condition, has_partly_left, "attributes.fulfillment_status", setting=setting):
        text = (
            f"The fulfillment status is {fulfillment}: a part has left, "
            "and Shoplazza does not say whether it cancels the rest."
        )
        return unknown(order, PARTIALLY_FULFILLED, text, *_STATED)
    is_unclear = is_unclear or (order.phase is Phase.IN_PROGRESS and fulfillment is None)
    condition = "What is known of the order does not tell whether it was shipped."
    if clause(STATUS_UNCLEAR, condition, is_unclear, "phase", "attributes.fulfillment_status"):
        text = f"What is known of the order{status} does not tell whether Shoplazza still cancels it; probe it."
        return unknown(order, STATUS_UNCLEAR, text, *_STATED)
    if fulfillment is None:
        return yes(order, NOT_SHIPPED, f"The order is open{status}, nothing has left.", *_STATED)
    text = f"The fulfillment status is {fulfillment}{status}, in which a cancel is sent."
    return yes(order, NOT_SHIPPED, text, *_STATED)


def _attribute(order: Order, name: str) -> str | None:
    value = order.attributes.get(name)
    return value if isinstance(value, str) and value else None
