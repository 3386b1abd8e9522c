"""PlanOmatic's rule on cancelability, from “Cancel Order”, and its limits on a cancel's arguments.

While the status is one of a set that PlanOmatic's administrators keep, and no appointment is confirmed,
the order can be canceled. Time alone changes nothing.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from app.contract import UNDOCUMENTED, Cancelable, InvalidCancel, Order, Phase, Verdict
from app.contract import Rules as BaseRules
from app.core.payload import check_text
from app.core.verdict import ALREADY_CANCELED, COMPLETED
from handlers.planomatic.words import status_phase

NOTE_CHARS_MAX = 255

STATUS_CANCELABLE = "status_cancelable"
NOT_SCHEDULED = "not_scheduled"
STATUS_NOT_CANCELABLE = "status_not_cancelable"
APPOINTMENT_CONFIRMED = "appointment_confirmed"
IN_PROGRESS = "in_progress"
STATUS_UNCLEAR = "status_unclear"
APPOINTMENT_UNCLEAR = "appointment_unclear"


class Rules(BaseRules):
    """What PlanOmatic's administrators manage; override it where they set it otherwise for you."""

    cancelable_statuses: tuple[str, ...] = Field(
        ("new_request", "ordered", "scheduling"), description="Statuses in which PlanOmatic accepts a cancel."
    )
    confirmed_appointment_statuses: tuple[str, ...] = Field(
        ("scheduled", "confirmed"), description="Statuses of an appointment that stands in the way of a cancel."
    )
    cancelation_reasons: tuple[str, ...] = Field(
        ("duplicate_order", "client_requested_cancelation"), description="Words that PlanOmatic accepts as a reason."
    )
    duplicate_keys: tuple[str, ...] = Field(
        ("external_property_id", "services"),
        max_length=20,
        description="Attributes that are alike where two orders are the same: the same services for the same property. "
        "These are V3's; with V2 webhooks name property_info.address and primary_service.group_slug.",
        json_schema_extra=UNDOCUMENTED,
    )


def verdict(order: Order, rules: Rules, now: datetime) -> Verdict:  # noqa: ARG001 - no window closes by time alone
    """May the order be canceled? Total over phases and statuses."""
    match order.phase:
        case Phase.CANCELED:
            return _no(order, ALREADY_CANCELED, "The order is canceled already.", "phase")
        case Phase.COMPLETED:
            return _no(order, COMPLETED, "PlanOmatic has delivered the order.", "phase")
    return _by_appointment(order, rules) or _by_status(order, rules)


def check(reason: str, note: str | None, rules: Rules) -> None:
    """Raise `InvalidCancel` where PlanOmatic would answer with a validation error."""
    if reason not in rules.cancelation_reasons:
        accepted = ", ".join(rules.cancelation_reasons)
        raise InvalidCancel("reason", f"PlanOmatic accepts only these as cancelation_reason: {accepted}")
    if note is None or not note.strip():
        raise InvalidCancel("note", f"PlanOmatic requires notes: say why, in 1 to {NOTE_CHARS_MAX} characters")
    if len(note) > NOTE_CHARS_MAX:
        raise InvalidCancel(
            "note", f"PlanOmatic takes notes of 1 to {NOTE_CHARS_MAX} characters, and this has {len(note)}: shorten it"
        )
    check_text("note", note)


def _by_appointment(order: Order, rules: Rules) -> Verdict | None:
    confirmed = [each for each in order.appointments if each.status in rules.confirmed_appointment_statuses]
    if not confirmed:
        return None
    reopened = order.phase in (Phase.OPEN, Phase.UNKNOWN)
    if reopened and order.sources.get("appointments") != order.sources.get("phase"):
        # Every event of PlanOmatic's sets the phase, so this one is newer than the appointment and contradicts it.
        return _verdict(
            order,
            Cancelable.UNKNOWN,
            APPOINTMENT_UNCLEAR,
            "A confirmed appointment was known, but a later event says that the order is not settled; probe it.",
            "phase",
            "appointments",
        )
    starts_at = confirmed[0].starts_at
    when = f" for {starts_at:%Y-%m-%d %H:%M} UTC" if starts_at else ""
    return _no(
        order,
        APPOINTMENT_CONFIRMED,
        f"An appointment is confirmed{when}; PlanOmatic cancels scheduled orders only by its staff.",
        "appointments",
    )


def _by_status(order: Order, rules: Rules) -> Verdict:
    status = order.provider_status
    listed = status is not None and status in rules.cancelable_statuses
    if listed and (order.phase is Phase.OPEN or _is_set_by_status(order)):
        text = f"The status is {status}, one in which PlanOmatic accepts a cancel, and no appointment is confirmed."
        return _verdict(order, Cancelable.YES, STATUS_CANCELABLE, text, "provider_status", "phase")
    match order.phase:
        case Phase.OPEN:
            return _open(order)
        case Phase.IN_PROGRESS:
            text = f"The order is scheduled or being worked on{_in_words(status)}; PlanOmatic no longer cancels it."
            return _no(order, IN_PROGRESS, text, "phase")
    text = f"What is known of the order{_in_words(status)} does not tell whether PlanOmatic still cancels it; probe it."
    return _verdict(order, Cancelable.UNKNOWN, STATUS_UNCLEAR, text, "phase", "provider_status")


def _open(order: Order) -> Verdict:
    """The phase is open, and the status is none of the cancelable ones."""
    status = order.provider_status
    if status is None:
        text = "The order is not scheduled yet: no status was named, and no appointment is confirmed."
        return _verdict(order, Cancelable.YES, NOT_SCHEDULED, text, "phase")
    if _is_of_one_event(order) or status_phase(status) is Phase.OPEN:
        text = f"The status is {status}, in which PlanOmatic accepts no cancel by this account's rules."
        return _no(order, STATUS_NOT_CANCELABLE, text, "provider_status", "phase")
    text = f"The last status named was {status}, but a later event without a status says that the order is open."
    return _verdict(order, Cancelable.UNKNOWN, STATUS_UNCLEAR, text, "phase", "provider_status")


def _is_of_one_event(order: Order) -> bool:
    return order.sources.get("phase") == order.sources.get("provider_status")


def _is_set_by_status(order: Order) -> bool:
    """Did the phase follow from the status, rather than from an event's name that says more?"""
    status = order.provider_status
    return status is not None and _is_of_one_event(order) and status_phase(status) is order.phase


def _in_words(status: str | None) -> str:
    return f" (status {status})" if status else ""


def _no(order: Order, reason: str, explanation: str, *fields: str) -> Verdict:
    return _verdict(order, Cancelable.NO, reason, explanation, *fields)


def _verdict(order: Order, cancelable: Cancelable, reason: str, explanation: str, *fields: str) -> Verdict:
    return Verdict(cancelable, reason, explanation, order.evidence(*fields))
