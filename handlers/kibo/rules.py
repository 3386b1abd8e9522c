"""When Kibo cancels an order, as far as it is known, and its limits on a cancel's arguments.

“Cancel Order” states no condition on the order; `restrictCancellation` on the order forbids it. In which statuses a
cancel works is not documented, so these are parameters: what they do not name is unknown, and not refused.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Self

from pydantic import Field, model_validator

from app.contract import UNDOCUMENTED, Cancelable, InvalidCancel, Order, Phase, Verdict
from app.contract import Rules as BaseRules
from app.kit.arguments import check_text
from app.kit.verdicts import ALREADY_CANCELED, COMPLETED
from handlers.kibo.payload import FULFILLMENT, RESTRICTED
from handlers.kibo.words import PARTIALLY_FULFILLED, plain

OTHER = "other"
"""The reason that wants an explanation."""
NOTE_CHARS_MAX = 255
REASON_CHARS_MAX = 100

STATUS_CANCELABLE = "status_cancelable"
STATUS_NOT_CANCELABLE = "status_not_cancelable"
RESTRICTED_BY_ORDER = "cancellation_restricted"
IS_PARTIALLY_FULFILLED = "partially_fulfilled"
STATUS_UNCLEAR = "status_unclear"


class Rules(BaseRules):
    """What decides at Kibo, and is not documented: set it as you find it."""

    cancelable_statuses: tuple[str, ...] = Field(
        ("Pending", "Submitted", "Validated", "Pending Review", "Accepted", "READY"),
        description="Statuses in which Kibo accepts a cancel.",
        json_schema_extra=UNDOCUMENTED,
    )
    not_cancelable_statuses: tuple[str, ...] = Field(
        (),
        description="Statuses in which it does not; in a status that neither list names, the answer is unknown.",
        json_schema_extra=UNDOCUMENTED,
    )
    partially_fulfilled: Literal["yes", "no", "unknown"] = Field(
        "unknown",
        description="Whether an order of which a part is fulfilled can be canceled as a whole.",
        json_schema_extra=UNDOCUMENTED,
    )
    disposition_reasons: tuple[str, ...] = Field(
        (),
        description="Words that Kibo accepts as dispositionReason, if you know them all; empty: any is sent.",
        json_schema_extra=UNDOCUMENTED,
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        both = _plain(self.cancelable_statuses) & _plain(self.not_cancelable_statuses)
        if both:
            raise ValueError(f"a status cannot be both cancelable and not cancelable: {', '.join(sorted(both))}")
        return self


def verdict(order: Order, rules: Rules, now: datetime) -> Verdict:  # noqa: ARG001 - no window closes by time alone
    """May the order be canceled? Total over phases and statuses."""
    match order.phase:
        case Phase.CANCELED:
            return _no(order, ALREADY_CANCELED, "The order is canceled already.", "phase")
        case Phase.COMPLETED:
            return _no(order, COMPLETED, "Kibo has fulfilled or closed the order.", "phase")
    if not _is_fresh(order):
        text = f"What happened last leaves open how the order stands{_in_words(order.provider_status)}; probe it."
        return _verdict(order, Cancelable.UNKNOWN, STATUS_UNCLEAR, text, "phase", "provider_status")
    return _by_flag(order) or _by_fulfillment(order, rules) or _by_status(order, rules)


def check(reason: str, note: str | None, rules: Rules) -> None:
    """Raise `InvalidCancel` where Kibo would refuse the arguments, or take no notice of them."""
    if not reason.strip():
        raise InvalidCancel("reason", "Kibo requires a dispositionReason, such as customer_changed_mind")
    if rules.disposition_reasons and reason not in rules.disposition_reasons:
        accepted = ", ".join(rules.disposition_reasons)
        raise InvalidCancel(
            "reason", f"by this account's rules Kibo accepts only these as dispositionReason: {accepted}"
        )
    if len(reason) > REASON_CHARS_MAX or not reason.isprintable():
        raise InvalidCancel("reason", f"a dispositionReason is one word of at most {REASON_CHARS_MAX} characters")
    if reason != OTHER:
        if note:
            raise InvalidCancel(
                "note",
                f"Kibo takes an explanation only with the reason {OTHER!r}: leave the note out, or give the reason "
                f"{OTHER!r} and say in the note what it is",
            )
        return
    if note is None or not note.strip():
        raise InvalidCancel(
            "note", f"with the reason {OTHER!r} Kibo wants an explanation: say why, in 1 to {NOTE_CHARS_MAX} characters"
        )
    if len(note) > NOTE_CHARS_MAX:
        raise InvalidCancel(
            "note",
            f"Kibo takes an explanation of 1 to {NOTE_CHARS_MAX} characters, and this has {len(note)}: shorten it",
        )
    check_text("note", note)


def _is_fresh(order: Order) -> bool:
    """Is Kibo's word on the whole order the last that was heard of how it stands?

    Only an answer of Kibo's states a status, so the phase and the status are then of the same event. What was known
    before a later event, of restrictions and fulfillment too, proves nothing.
    """
    return order.provider_status is not None and order.sources.get("phase") == order.sources.get("provider_status")


def _by_flag(order: Order) -> Verdict | None:
    if order.attributes.get(RESTRICTED) is not True:
        return None
    return _no(order, RESTRICTED_BY_ORDER, f"Kibo's order says {RESTRICTED}.", "phase", "attributes")


def _by_fulfillment(order: Order, rules: Rules) -> Verdict | None:
    status = order.attributes.get(FULFILLMENT)
    if type(status) is not str or plain(status) != PARTIALLY_FULFILLED:
        return None
    known = {
        "yes": "which does not hinder a cancel by this account's rules",
        "no": "and by this account's rules Kibo no longer cancels it",
        "unknown": "and whether Kibo still cancels the whole is not documented",
    }
    text = f"A part of the order is fulfilled, {known[rules.partially_fulfilled]}."
    return _verdict(order, Cancelable(rules.partially_fulfilled), IS_PARTIALLY_FULFILLED, text, "phase", "attributes")


def _by_status(order: Order, rules: Rules) -> Verdict:
    status = order.provider_status or ""
    if plain(status) in _plain(rules.cancelable_statuses):
        text = f"The status is {status}, one in which Kibo accepts a cancel."
        return _verdict(order, Cancelable.YES, STATUS_CANCELABLE, text, "provider_status")
    if plain(status) in _plain(rules.not_cancelable_statuses):
        text = f"The status is {status}, in which Kibo accepts no cancel by this account's rules."
        return _no(order, STATUS_NOT_CANCELABLE, text, "provider_status")
    text = f"Whether Kibo cancels an order{_in_words(status)} is not known; it would have to be tried."
    return _verdict(order, Cancelable.UNKNOWN, STATUS_UNCLEAR, text, "provider_status", "phase")


def _plain(statuses: tuple[str, ...]) -> frozenset[str]:
    return frozenset(map(plain, statuses))


def _in_words(status: str | None) -> str:
    return f" (status {status})" if status else ""


def _no(order: Order, reason: str, explanation: str, *fields: str) -> Verdict:
    return _verdict(order, Cancelable.NO, reason, explanation, *fields)


def _verdict(order: Order, cancelable: Cancelable, reason: str, explanation: str, *fields: str) -> Verdict:
    return Verdict(cancelable, reason, explanation, order.evidence(*fields))
