"""PlanOmatic's rule on cancelability, from “Cancel Order”, and its limits on a cancel's arguments.

Only while the status is one of a set that PlanOmatic's administrators keep, and no appointment is confirmed,
the order can be canceled. So any other status of V3 means no, whatever the word. V2 has words of its own, of which the
document says nothing: they are unknown, and a probe, which is V3's, decides. Time alone changes nothing.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from app.contract import UNDOCUMENTED, Appointment, Cancelable, InvalidCancel, Order, Phase, Verdict
from app.contract import Rules as BaseRules
from app.kit.arguments import check_text
from app.kit.verdicts import ALREADY_CANCELED, COMPLETED
from handlers.planomatic.words import STATUS_VERSION, V3, status_phase

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
    return (
        _by_appointment(order, rules)
        or _by_closed_set(order, rules)
        or _by_former_appointment(order, rules)
        or _by_status(order, rules)
    )


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
    confirmed = _confirmed(order, rules)
    if not confirmed or _is_reopened(order):
        return None
    starts_at = confirmed[0].starts_at
    when = f" for {starts_at:%Y-%m-%d %H:%M} UTC" if starts_at else ""
    return _no(
        order,
        APPOINTMENT_CONFIRMED,
        f"An appointment is confirmed{when}; PlanOmatic cancels scheduled orders only by its staff.",
        "appointments",
    )


def _by_closed_set(order: Order, rules: Rules) -> Verdict | None:
    """No, where the last word on the order is a status of V3's outside of the set."""
    status = order.provider_status
    of_v3 = order.attributes.get(STATUS_VERSION) == V3 and _is_of_one_event(order)
    if status is None or not of_v3 or order.phase is Phase.IN_PROGRESS or status in rules.cancelable_statuses:
        return None
    accepted = ", ".join(rules.cancelable_statuses) or "no status by this account's rules"
    text = f"The status is {status}, and PlanOmatic accepts a cancel only in {accepted}."
    return _no(order, STATUS_NOT_CANCELABLE, text, "provider_status", "phase")


def _by_former_appointment(order: Order, rules: Rules) -> Verdict | None:
    if not _confirmed(order, rules) or not _is_reopened(order):
        return None
    text = "A confirmed appointment was known, but a later event says that the order is not settled; probe it."
    return _verdict(order, Cancelable.UNKNOWN, APPOINTMENT_UNCLEAR, text, "phase", "appointments")


def _confirmed(order: Order, rules: Rules) -> list[Appointment]:
    return [each for each in order.appointments if each.status in rules.confirmed_appointment_statuses]


def _is_reopened(order: Order) -> bool:
    """Does a later event contradict what is known of appointments? Every event of PlanOmatic's sets the phase."""
    is_open = order.phase in (Phase.OPEN, Phase.UNKNOWN)
    return is_open and order.sources.get("appointments") != order.sources.get("phase")


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
