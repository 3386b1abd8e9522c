"""PlanOmatic's rule on cancelability, from “Cancel Order”, and its limits on a cancel's arguments.

Only while the status is one of a set that PlanOmatic's administrators keep, and no appointment is confirmed,
the order can be canceled. So any other status of V3 means no, whatever the word. V2 has words of its own, of which the
document says nothing: they are unknown, and a probe, which is V3's, decides. Time alone changes nothing.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from app.contract import Appointment, InvalidCancel, Order, Phase, Verdict
from app.contract import Rules as BaseRules
from app.kit.arguments import check_choice, check_length
from app.kit.clauses import clause
from app.kit.config import undocumented
from app.kit.verdicts import (
    IN_PROGRESS,
    STATUS_CANCELABLE,
    STATUS_NOT_CANCELABLE,
    STATUS_UNCLEAR,
    final,
    in_parentheses,
    is_in,
    no,
    status_is_current,
    unknown,
    yes,
)
from handlers.planomatic.words import STATUS_VERSION, V3, status_phase

NOTE_CHARS_MAX = 255

NOT_SCHEDULED = "not_scheduled"
APPOINTMENT_CONFIRMED = "appointment_confirmed"
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
    duplicate_keys: tuple[str, ...] = undocumented(
        ("external_property_id", "services"),
        "Attributes that are equal where two orders are the same: the same services for the same property. "
        "These are V3's; with V2 webhooks name property_info.address and primary_service.group_slug.",
        max_length=20,
    )


def verdict(order: Order, rules: Rules, now: datetime) -> Verdict:  # noqa: ARG001 - no window closes by time alone
    """May the order be canceled? Total over phases and statuses."""
    return (
        final(order, "PlanOmatic has delivered the order.")
        or _by_appointment(order, rules)
        or _by_closed_set(order, rules)
        or _by_former_appointment(order, rules)
        or _by_status(order, rules)
    )


def check(reason: str, note: str | None, rules: Rules) -> None:
    """Raise `InvalidCancel` where PlanOmatic would answer with a validation error."""
    check_choice("reason", reason, rules.cancelation_reasons, "PlanOmatic accepts only these as cancelation_reason")
    if note is None or not note.strip():
        raise InvalidCancel("note", f"PlanOmatic requires notes: say why, in 1 to {NOTE_CHARS_MAX} characters")
    check_length("note", note, NOTE_CHARS_MAX, f"PlanOmatic takes notes of 1 to {NOTE_CHARS_MAX} characters")


def _by_appointment(order: Order, rules: Rules) -> Verdict | None:
    confirmed = _confirmed(order, rules)
    is_confirmed = bool(confirmed) and not _is_reopened(order)
    condition = "An appointment is confirmed, and no later event contradicts it."
    if not clause(
        APPOINTMENT_CONFIRMED, condition, is_confirmed, "appointments", setting="confirmed_appointment_statuses"
    ):
        return None
    starts_at = confirmed[0].starts_at if confirmed else None
    when = f" for {starts_at:%Y-%m-%d %H:%M} UTC" if starts_at else ""
    text = f"An appointment is confirmed{when}; PlanOmatic cancels scheduled orders only by its staff."
    return no(order, APPOINTMENT_CONFIRMED, text, "appointments")


def _by_closed_set(order: Order, rules: Rules) -> Verdict | None:
    """No, where the last word on the order is a status of V3's outside of the set."""
    status = order.provider_status
    is_v3 = order.attributes.get(STATUS_VERSION) == V3 and status_is_current(order)
    is_current = status is not None and is_v3 and order.phase is not Phase.IN_PROGRESS
    condition = "PlanOmatic's last word on the order is a status of V3 in which it accepts no cancel."
    is_outside = is_current and status not in rules.cancelable_statuses
    if not clause("status_outside", condition, is_outside, "provider_status", "phase", setting="cancelable_statuses"):
        return None
    accepted = ", ".join(rules.cancelable_statuses) or "no status by this account's rules"
    text = f"The status is {status}, and PlanOmatic accepts a cancel only in {accepted}."
    return no(order, STATUS_NOT_CANCELABLE, text, "provider_status", "phase")


def _by_former_appointment(order: Order, rules: Rules) -> Verdict | None:
    condition = "A confirmed appointment was known, and a later event contradicts it."
    if not clause(APPOINTMENT_UNCLEAR, condition, bool(_confirmed(order, rules)), "appointments", "phase"):
        return None
    text = "A confirmed appointment was known, but a later event says that the order is not settled; probe it."
    return unknown(order, APPOINTMENT_UNCLEAR, text, "phase", "appointments")


def _by_status(order: Order, rules: Rules) -> Verdict:
    status = order.provider_status
    # An event's name may say more than the status that came with it.
    is_told_by_status = status is not None and status_is_current(order) and status_phase(status) is order.phase
    is_cancelable = status in rules.cancelable_statuses and (order.phase is Phase.OPEN or is_told_by_status)
    condition = "The status is one in which PlanOmatic accepts a cancel, and the order's phase agrees with it."
    fields = ("provider_status", "phase")
    if clause(STATUS_CANCELABLE, condition, is_cancelable, *fields, setting="cancelable_statuses"):
        text = f"The status is {status}, one in which PlanOmatic accepts a cancel, and no appointment is confirmed."
        return yes(order, STATUS_CANCELABLE, text, "provider_status", "phase")
    if is_in(order, Phase.OPEN, "open"):
        return _open(order)
    if is_in(order, Phase.IN_PROGRESS, IN_PROGRESS):
        text = "The order is scheduled or being worked on"
        return no(order, IN_PROGRESS, f"{text}{in_parentheses(status)}; PlanOmatic no longer cancels it.", "phase")
    text = f"What is known of the order{in_parentheses(status)} does not tell whether PlanOmatic still cancels it"
    return unknown(order, STATUS_UNCLEAR, f"{text}; probe it.", "phase", "provider_status")


def _open(order: Order) -> Verdict:
    """The phase is open, and the status is none of the cancelable ones."""
    status = order.provider_status
    if clause("status_missing", "No event has named a status.", status is None, "provider_status") or status is None:
        text = "The order is not scheduled yet: no status was named, and no appointment is confirmed."
        return yes(order, NOT_SCHEDULED, text, "phase")
    is_current = status_is_current(order) or status_phase(status) is Phase.OPEN
    condition = "No later event contradicts the last status, which is none in which PlanOmatic accepts a cancel."
    if clause(STATUS_NOT_CANCELABLE, condition, is_current, "provider_status", "phase", setting="cancelable_statuses"):
        text = f"The status is {status}, in which PlanOmatic accepts no cancel by this account's rules."
        return no(order, STATUS_NOT_CANCELABLE, text, "provider_status", "phase")
    text = f"The last status named was {status}, but a later event without a status says that the order is open."
    return unknown(order, STATUS_UNCLEAR, text, "phase", "provider_status")


def _confirmed(order: Order, rules: Rules) -> list[Appointment]:
    return [
        appointment for appointment in order.appointments if appointment.status in rules.confirmed_appointment_statuses
    ]


def _is_reopened(order: Order) -> bool:
    """Does a later event contradict what is known of appointments? Every event of PlanOmatic's sets the phase."""
    is_open = order.phase in (Phase.OPEN, Phase.UNKNOWN)
    return is_open and order.sources.get("appointments") != order.sources.get("phase")
