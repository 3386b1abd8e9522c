"""Whether Kibo cancels an order, as far as its documents say, and its limits on a cancel's arguments.

“Cancel Order” states no condition on the order; `restrictCancellation` on the order forbids it. In which statuses a
cancel works is not documented, so these are parameters: what they do not name is unknown, and not refused.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Self

from pydantic import model_validator

from app.contract import InvalidCancel, Order, Verdict
from app.contract import Rules as BaseRules
from app.kit.arguments import check_choice, check_length
from app.kit.clauses import clause
from app.kit.config import undocumented
from app.kit.verdicts import (
    STATUS_CANCELABLE,
    STATUS_NOT_CANCELABLE,
    STATUS_UNCLEAR,
    final,
    in_parentheses,
    no,
    status_is_current,
    unknown,
    yes,
)
from handlers.kibo.payload import FULFILLMENT, RESTRICTED
from handlers.kibo.words import PARTIALLY_FULFILLED, plain

OTHER = "other"
"""The reason that wants an explanation."""
NOTE_CHARS_MAX = 255
REASON_CHARS_MAX = 100

RESTRICTED_BY_ORDER = "cancellation_restricted"
IS_PARTIALLY_FULFILLED = "partially_fulfilled"


class Rules(BaseRules):
    """What decides at Kibo, and is not documented: set it as you find it."""

    cancelable_statuses: tuple[str, ...] = undocumented(
        ("Pending", "Submitted", "Validated", "Pending Review", "Accepted", "READY"),
        "Statuses in which Kibo accepts a cancel.",
    )
    not_cancelable_statuses: tuple[str, ...] = undocumented(
        (), "Statuses in which it does not; in a status that neither list names, the answer is unknown."
    )
    partially_fulfilled: Literal["yes", "no", "unknown"] = undocumented(
        "unknown", "Whether an order of which a part is fulfilled can be canceled as a whole."
    )
    disposition_reasons: tuple[str, ...] = undocumented(
        (), "Words that Kibo accepts as dispositionReason, if you know them all; empty: any is sent."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        both = _plain(self.cancelable_statuses) & _plain(self.not_cancelable_statuses)
        if both:
            raise ValueError(f"a status cannot be both cancelable and not cancelable: {', '.join(sorted(both))}")
        return self


def verdict(order: Order, rules: Rules, now: datetime) -> Verdict:  # noqa: ARG001 - no window closes by time alone
    """May the order be canceled? Total over phases and statuses."""
    return (
        final(order, "Kibo has fulfilled or closed the order.")
        or _unsettled(order)
        or _by_flag(order)
        or _by_fulfillment(order, rules)
        or _by_status(order, rules)
    )


def check(reason: str, note: str | None, rules: Rules) -> None:
    """Raise `InvalidCancel` where Kibo would refuse the arguments, or take no notice of them."""
    if not reason.strip():
        raise InvalidCancel("reason", "Kibo requires a dispositionReason, such as customer_changed_mind")
    accepted = "by this account's rules Kibo accepts only these as dispositionReason"
    check_choice("reason", reason, rules.disposition_reasons or (reason,), accepted)
    if len(reason) > REASON_CHARS_MAX or not reason.isprintable():
        raise InvalidCancel("reason", f"a dispositionReason is one word of at most {REASON_CHARS_MAX} characters")
    if reason != OTHER and note:
        text = f"leave the note out, or give the reason {OTHER!r} and say in the note what it is"
        raise InvalidCancel("note", f"Kibo takes an explanation only with the reason {OTHER!r}: {text}")
    if reason == OTHER and (note is None or not note.strip()):
        text = f"with the reason {OTHER!r} Kibo wants an explanation: say why, in 1 to {NOTE_CHARS_MAX} characters"
        raise InvalidCancel("note", text)
    check_length("note", note or "", NOTE_CHARS_MAX, f"Kibo takes an explanation of 1 to {NOTE_CHARS_MAX} characters")


def _unsettled(order: Order) -> Verdict | None:
    """Unknown, where an event came after Kibo's last response with the order.

    Only a response states a status. After a later event it proves nothing, nor do restrictions and fulfillment.
    """
    condition = "The last event does not state the order's status."
    is_unsettled = order.provider_status is None or not status_is_current(order)
    if not clause("status_not_current", condition, is_unsettled, "provider_status", "phase"):
        return None
    text = f"The last event does not state the order's status{in_parentheses(order.provider_status)}; probe it."
    return unknown(order, STATUS_UNCLEAR, text, "phase", "provider_status")


def _by_flag(order: Order) -> Verdict | None:
    is_restricted = order.attributes.get(RESTRICTED) is True
    condition = "Kibo restricts the order's cancellation."
    if not clause(RESTRICTED_BY_ORDER, condition, is_restricted, f"attributes.{RESTRICTED}"):
        return None
    return no(order, RESTRICTED_BY_ORDER, f"Kibo's order says {RESTRICTED}.", "phase", "attributes")


def _by_fulfillment(order: Order, rules: Rules) -> Verdict | None:
    status = order.attributes.get(FULFILLMENT)
    is_partial = type(status) is str and plain(status) == PARTIALLY_FULFILLED
    condition, field = "A part of the order is fulfilled.", f"attributes.{FULFILLMENT}"
    if not clause(IS_PARTIALLY_FULFILLED, condition, is_partial, field, setting="partially_fulfilled"):
        return None
    verdict_of, text = {
        "yes": (yes, "which does not hinder a cancel by this account's rules"),
        "no": (no, "and by this account's rules Kibo no longer cancels it"),
        "unknown": (unknown, "and whether Kibo still cancels the whole is not documented"),
    }[rules.partially_fulfilled]
    return verdict_of(
        order, IS_PARTIALLY_FULFILLED, f"A part of the order is fulfilled, {text}.", "phase", "attributes"
    )


def _by_status(order: Order, rules: Rules) -> Verdict:
    status = order.provider_status or ""
    is_cancelable = plain(status) in _plain(rules.cancelable_statuses)
    condition = "The status is one in which Kibo accepts a cancel."
    if clause(STATUS_CANCELABLE, condition, is_cancelable, "provider_status", setting="cancelable_statuses"):
        text = f"The status is {status}, one in which Kibo accepts a cancel."
        return yes(order, STATUS_CANCELABLE, text, "provider_status")
    is_closed = plain(status) in _plain(rules.not_cancelable_statuses)
    condition = "The status is one in which Kibo accepts no cancel."
    if clause(STATUS_NOT_CANCELABLE, condition, is_closed, "provider_status", setting="not_cancelable_statuses"):
        text = f"The status is {status}, in which Kibo accepts no cancel by this account's rules."
        return no(order, STATUS_NOT_CANCELABLE, text, "provider_status")
    text = f"Whether Kibo cancels an order{in_parentheses(status)} is not known; it would have to be tried."
    return unknown(order, STATUS_UNCLEAR, text, "provider_status", "phase")


def _plain(statuses: tuple[str, ...]) -> frozenset[str]:
    return frozenset(map(plain, statuses))
