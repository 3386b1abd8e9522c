"""The rule on cancelability, and the limits on a cancel's arguments.

Shoplazza documents how to cancel an order, and not when it refuses to. The rule is therefore ours, with parameters
for each of the three statuses: what is canceled, finished or deleted is over; what has left the warehouse is too late;
of an order of which a part has left, nobody knows; anything else can be canceled.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from app.contract import UNDOCUMENTED, Cancelable, InvalidCancel, Order, Phase, Verdict
from app.contract import Rules as BaseRules
from app.kit.arguments import check_no_note, check_text
from app.kit.verdicts import ALREADY_CANCELED, COMPLETED
from handlers.shoplazza.words import FULFILLMENT_STATUSES, ORDER_STATUSES

DELETED = "deleted"
STATUS_NOT_CANCELABLE = "status_not_cancelable"
FULFILLMENT_NOT_CANCELABLE = "fulfillment_not_cancelable"
PAYMENT_NOT_CANCELABLE = "payment_not_cancelable"
PARTIALLY_FULFILLED = "partially_fulfilled"
STATUS_UNCLEAR = "status_unclear"
NOT_SHIPPED = "not_shipped"


class Rules(BaseRules):
    """When this shop's orders can no longer be canceled. Shoplazza documents no condition: these are assumptions."""

    not_cancelable_statuses: tuple[str, ...] = Field(
        (),
        description="Statuses of an order in which no cancel is sent, besides finished, canceled and cancelled, "
        "which are the end whatever stands here. Empty: opened (unpaid) and placed (paid) are canceled.",
        json_schema_extra=UNDOCUMENTED,
    )
    not_cancelable_fulfillment_statuses: tuple[str, ...] = Field(
        ("shipped", "finished", "returning", "partially_returned", "returned"),
        description="Fulfillment statuses in which no cancel is sent: all has left, and what comes back is a return.",
        json_schema_extra=UNDOCUMENTED,
    )
    unclear_fulfillment_statuses: tuple[str, ...] = Field(
        ("partially_shipped", "partially_finished"),
        description="Fulfillment statuses in which nobody knows: a part has left, and a cancel is of the whole order.",
        json_schema_extra=UNDOCUMENTED,
    )
    not_cancelable_financial_statuses: tuple[str, ...] = Field(
        (),
        description="Financial statuses in which no cancel is sent. Empty: neither payment nor refund is in the way.",
        json_schema_extra=UNDOCUMENTED,
    )
    reason_chars_max: int = Field(
        255,
        ge=1,
        le=10_000,
        description="How long a cancel's reason may be.",
        json_schema_extra=UNDOCUMENTED,
    )


def verdict(order: Order, rules: Rules, now: datetime) -> Verdict:  # noqa: ARG001 - no window closes by time alone
    """May the order be canceled? Total over phases and statuses."""
    match order.phase:
        case Phase.CANCELED:
            return _no(order, ALREADY_CANCELED, "The order is canceled already.")
        case Phase.COMPLETED if order.attributes.get("deleted_at"):
            return _no(order, DELETED, "The order was deleted from the shop.")
        case Phase.COMPLETED:
            return _no(order, COMPLETED, f"The order is finished{_in_words(order)}, or was deleted.")
        case Phase.UNKNOWN:
            return _by_listed_word(order, rules) or _unclear(order)
    return _by_lists(order, rules) or _by_phase(order, rules)


def check(reason: str, note: str | None, rules: Rules) -> None:
    """Raise `InvalidCancel` for what Shoplazza's cancel cannot carry. A reason is not required there."""
    if len(reason) > rules.reason_chars_max:
        raise InvalidCancel(
            "reason", f"a reason may have {rules.reason_chars_max} characters, and this has {len(reason)}: shorten it"
        )
    check_text("reason", reason)
    check_no_note("Shoplazza", note)


def _by_lists(order: Order, rules: Rules) -> Verdict | None:
    """A `no` by the lists of this account."""
    fulfillment, payment = _attribute(order, "fulfillment_status"), _attribute(order, "financial_status")
    if order.provider_status in rules.not_cancelable_statuses:
        text = f"The status is {order.provider_status}, in which this account's rules allow no cancel."
        return _no(order, STATUS_NOT_CANCELABLE, text)
    if fulfillment in rules.not_cancelable_fulfillment_statuses:
        text = f"The fulfillment status is {fulfillment}: what was ordered has left already."
        return _no(order, FULFILLMENT_NOT_CANCELABLE, text)
    if payment in rules.not_cancelable_financial_statuses:
        text = f"The financial status is {payment}, in which this account's rules allow no cancel."
        return _no(order, PAYMENT_NOT_CANCELABLE, text)
    return None


def _by_listed_word(order: Order, rules: Rules) -> Verdict | None:
    """A `no` although the phase is not known: of a word that no document has, but the account's rules."""
    status, fulfillment = order.provider_status, _attribute(order, "fulfillment_status")
    is_new = status not in ORDER_STATUSES if status else False
    is_new = is_new or (fulfillment is not None and fulfillment not in FULFILLMENT_STATUSES)
    return _by_lists(order, rules) if is_new and _is_of_one_event(order) else None


def _by_phase(order: Order, rules: Rules) -> Verdict:
    fulfillment = _attribute(order, "fulfillment_status")
    if fulfillment in rules.unclear_fulfillment_statuses:
        text = (
            f"The fulfillment status is {fulfillment}: a part has left, "
            "and Shoplazza does not say whether it cancels the rest."
        )
        return _verdict(order, Cancelable.UNKNOWN, PARTIALLY_FULFILLED, text)
    if order.phase is Phase.IN_PROGRESS and fulfillment is None:
        return _unclear(order)
    if fulfillment is None:
        return _verdict(order, Cancelable.YES, NOT_SHIPPED, f"The order is open{_in_words(order)}, nothing has left.")
    text = f"The fulfillment status is {fulfillment}{_in_words(order)}, in which a cancel is sent."
    return _verdict(order, Cancelable.YES, NOT_SHIPPED, text)


def _unclear(order: Order) -> Verdict:
    text = f"What is known of the order{_in_words(order)} does not tell whether Shoplazza still cancels it; probe it."
    return _verdict(order, Cancelable.UNKNOWN, STATUS_UNCLEAR, text)


def _is_of_one_event(order: Order) -> bool:
    """Is the status that of the event that set the phase?"""
    return order.sources.get("phase") == order.sources.get("provider_status")


def _attribute(order: Order, name: str) -> str | None:
    value = order.attributes.get(name)
    return value if isinstance(value, str) and value else None


def _in_words(order: Order) -> str:
    return f" (status {order.provider_status})" if order.provider_status else ""


def _no(order: Order, reason: str, explanation: str) -> Verdict:
    return _verdict(order, Cancelable.NO, reason, explanation)


def _verdict(order: Order, cancelable: Cancelable, reason: str, explanation: str) -> Verdict:
    return Verdict(cancelable, reason, explanation, order.evidence("phase", "provider_status", "attributes"))
