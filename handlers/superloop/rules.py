"""Superloop's rule on cancelability, from “Cancel an order”.

An order can be canceled if it is cancelable itself (the provider says so: `isCancellable`, which the phase carries),
and if none of its active appointments is within 26 hours of now. Those hours are elapsed time: a change of daylight
saving time between now and the appointment makes no difference.

The document does not say whether an appointment that has passed is within 26 hours of now. It counts as such, because
a cancel that is sent in vain costs more than one that waits.

For each appointment time runs from *far* (more than the cut-off ahead: the order can be canceled) through *near* (from
exactly the cut-off before its start until the cut-off after its end: it cannot) to *past* (it is over for longer, and
its status still is an active one: nobody knows).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated

from msgspec.structs import replace
from pydantic import Field

from app.contract import Appointment, Order, Phase, Verdict
from app.contract import Rules as BaseRules
from app.kit.arguments import check_no_note, check_text
from app.kit.clauses import clause, untraced
from app.kit.config import undocumented
from app.kit.verdicts import STATUS_UNCLEAR, final, in_parentheses, is_in, no, unknown, yes
from handlers.superloop.words import ACTIVE_STATUSES, ENDED_STATUSES, UNDER_WAY_STATUSES, plain

NOT_CANCELABLE = "not_cancelable"
NO_ACTIVE_APPOINTMENT = "no_active_appointment"
APPOINTMENT_FAR = "appointment_far"
APPOINTMENT_STATUS_UNCLEAR = "appointment_status_unclear"
APPOINTMENT_TIME_UNKNOWN = "appointment_time_unknown"
APPOINTMENT_PAST = "appointment_past"
APPOINTMENT_NEAR = "appointment_near"
APPOINTMENT_UNDER_WAY = "appointment_under_way"

_RANKS = (
    NO_ACTIVE_APPOINTMENT,
    APPOINTMENT_FAR,
    APPOINTMENT_STATUS_UNCLEAR,
    APPOINTMENT_TIME_UNKNOWN,
    APPOINTMENT_PAST,
    APPOINTMENT_NEAR,
    APPOINTMENT_UNDER_WAY,
)
"""The reasons that appointments give. Of several the last one here decides: what is known outranks what is not."""

_UNCLEAR = frozenset({APPOINTMENT_STATUS_UNCLEAR, APPOINTMENT_TIME_UNKNOWN, APPOINTMENT_PAST})

_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)

Timeline = list[tuple[datetime, str]]
Hours = Annotated[float, Field(ge=0, le=8760, allow_inf_nan=False)]


class Rules(BaseRules):
    """The documented rule's parameters. Statuses are compared without regard to case, spaces and underscores."""

    cutoff_h: Hours = Field(
        26.0, description="From how many hours before an appointment on the order cannot be canceled."
    )
    cutoff_after_h: Hours | None = undocumented(
        None,
        "Until how many hours after an appointment's end the order cannot be canceled, while the "
        "appointment is still active; cutoff_h if not set.",
    )
    slot_h: float = undocumented(
        4.0,
        "How many hours an appointment without an end is taken to last; the documented example lasts 4.",
        gt=0,
        le=720,
        allow_inf_nan=False,
    )
    active_statuses: tuple[str, ...] = Field(
        ACTIVE_STATUSES, description="Statuses of an appointment that stands in the way of a cancel when it is near."
    )
    under_way_statuses: tuple[str, ...] = Field(
        UNDER_WAY_STATUSES, description="Statuses of an appointment that stands in the way whatever the time."
    )
    ended_statuses: tuple[str, ...] = undocumented(
        ENDED_STATUSES, "Statuses of an appointment that no longer counts. Any other status is unclear."
    )
    duplicate_keys: tuple[str, ...] = undocumented(
        ("locId", "type"),
        "Attributes that are equal where two orders are the same: the same kind of order for the same location.",
        max_length=20,
    )

    @property
    def after_h(self) -> float:
        """Hours after an appointment's end in which it still counts as near."""
        return self.cutoff_h if self.cutoff_after_h is None else self.cutoff_after_h


def verdict(order: Order, rules: Rules, now: datetime) -> Verdict:
    """May the order be canceled? Total over phases and statuses."""
    ended = final(order, "Superloop has completed the order.", "The order is canceled or rejected already.")
    if ended is not None:
        return ended
    if is_in(order, Phase.IN_PROGRESS, NOT_CANCELABLE):
        status = in_parentheses(order.provider_status)
        return no(
            order, NOT_CANCELABLE, f"Superloop's last word on the order{status} is that it is not cancelable.", "phase"
        )
    by_start = sorted(order.appointments, key=lambda appointment: appointment.starts_at or _LAST)
    timelines = [(appointment, _timeline(appointment, rules)) for appointment in by_start]
    current = _at(order, timelines, rules, now)
    for moment in sorted({time for _, timeline in timelines for time, _ in timeline if time > now}):
        later = untraced(_at, order, timelines, rules, moment)
        if (later.cancelable, later.reason) != (current.cancelable, current.reason):
            return replace(current, changes_at=moment)
    return current


def check(reason: str, note: str | None, rules: Rules) -> None:  # noqa: ARG001 - Superloop has no list of reasons
    """Raise `InvalidCancel` for a note: Superloop takes an order's id alone; a reason stays in the log."""
    check_text("reason", reason)
    check_no_note("Superloop", note)


def _timeline(appointment: Appointment, rules: Rules) -> Timeline:
    """From when on the appointment gives which reason, in order; empty for one that has ended."""
    status, ends_at = plain(appointment.status), _ends_at(appointment, rules)
    is_active = status in _plain(rules.active_statuses)
    if status in _plain(rules.under_way_statuses):
        return [(_FIRST, APPOINTMENT_UNDER_WAY)]
    if not is_active and status in _plain(rules.ended_statuses):
        return []
    if appointment.starts_at is None or ends_at is None:
        return [(_FIRST, APPOINTMENT_TIME_UNKNOWN if is_active else APPOINTMENT_STATUS_UNCLEAR)]
    far, closes_at = (_FIRST, APPOINTMENT_FAR), _shift(appointment.starts_at, -rules.cutoff_h)
    if not is_active:
        return [far, (closes_at, APPOINTMENT_STATUS_UNCLEAR)]
    return [far, (closes_at, APPOINTMENT_NEAR), (_shift(ends_at, rules.after_h), APPOINTMENT_PAST)]


def _ends_at(appointment: Appointment, rules: Rules) -> datetime | None:
    """When it ends, by its own word or else by the usual length; None if its start is not known."""
    starts_at, ends_at = appointment.starts_at, appointment.ends_at
    if starts_at is None:
        return None
    return ends_at if ends_at is not None and ends_at > starts_at else _shift(starts_at, rules.slot_h)


@lru_cache(maxsize=64)
def _plain(statuses: tuple[str, ...]) -> frozenset[str]:
    return frozenset(map(plain, statuses))


def _at(order: Order, timelines: list[tuple[Appointment, Timeline]], rules: Rules, now: datetime) -> Verdict:
    """The verdict on an order that has not ended, without when it changes."""
    reason, decisive = NO_ACTIVE_APPOINTMENT, None
    for appointment, timeline in timelines:
        reached = [own for time, own in timeline if time <= now]
        if reached and _RANKS.index(reached[-1]) > _RANKS.index(reason):
            reason, decisive = reached[-1], appointment
    said = "no appointment of it is active" if decisive is None else _describe(decisive, rules, now)
    is_under_way = reason == APPOINTMENT_UNDER_WAY
    condition = "An appointment is under way."
    if clause(APPOINTMENT_UNDER_WAY, condition, is_under_way, "appointments", setting="under_way_statuses"):
        under_way = "" if decisive is None else f" {decisive.id} is under way (status {decisive.status})"
        text = f"Appointment{under_way}."
        return no(order, reason, text, "appointments")
    is_near = reason == APPOINTMENT_NEAR
    condition = "An active appointment is within the cut-off of now."
    if clause(APPOINTMENT_NEAR, condition, is_near, "appointments", "now", setting="cutoff_h"):
        text = f"Superloop cancels no order with an active appointment within {rules.cutoff_h:g} hours of now: {said}."
        return no(order, reason, text, "appointments")
    if not is_in(order, Phase.OPEN, "open"):
        text = "What is known of the order does not tell whether Superloop still cancels it; probe it."
        return unknown(order, STATUS_UNCLEAR, text, "phase", "provider_status", "appointments")
    is_unclear = reason in _UNCLEAR
    condition = "Whether an active appointment is near is not known."
    if clause("appointment_unclear", condition, is_unclear, "appointments", "now", setting="active_statuses"):
        text = f"Whether an active appointment is near is not known: {said}. Probe the order."
        return unknown(order, reason if is_unclear else APPOINTMENT_STATUS_UNCLEAR, text, "phase", "appointments")
    reason = reason if reason == NO_ACTIVE_APPOINTMENT else APPOINTMENT_FAR
    return yes(order, reason, f"Superloop calls the order cancelable, and {said}.", "phase", "appointments")


def _describe(appointment: Appointment, rules: Rules, now: datetime) -> str:
    """The appointment and its time, as the end of a sentence."""
    name = f"appointment {appointment.id} ({appointment.status or 'without a status'})"
    starts_at, ends_at = appointment.starts_at, _ends_at(appointment, rules)
    if starts_at is None or ends_at is None:
        return f"{name} has no known time"
    if ends_at <= now:
        return (
            f"{name} ended at {ends_at:%Y-%m-%d %H:%M} UTC, and no event says that it is over; it counts for "
            f"{rules.after_h:g} hours after its end"
        )
    closes_at = _shift(starts_at, -rules.cutoff_h)
    hours = f"{rules.cutoff_h:g} hours after {closes_at:%Y-%m-%d %H:%M} UTC"
    return f"{name} starts at {starts_at:%Y-%m-%d %H:%M} UTC, {hours}"


def _shift(time: datetime, hours: float) -> datetime:
    try:
        return time + timedelta(hours=hours)
    except OverflowError:
        return _FIRST if hours < 0 else _LAST
