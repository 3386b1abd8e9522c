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

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated

from msgspec import Struct
from msgspec.structs import replace
from pydantic import Field

from app.contract import Appointment, Order, Phase, Verdict
from app.contract import Rules as BaseRules
from app.kit.arguments import check_no_note, check_text
from app.kit.config import undocumented
from app.kit.verdicts import STATUS_UNCLEAR, final, in_parentheses, no, unknown, yes
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
    APPOINTMENT_FAR,
    APPOINTMENT_STATUS_UNCLEAR,
    APPOINTMENT_TIME_UNKNOWN,
    APPOINTMENT_PAST,
    APPOINTMENT_NEAR,
    APPOINTMENT_UNDER_WAY,
)
"""The reasons that an appointment gives. Of several the last one here decides: what is known outranks what is not."""

_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)

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
        "Attributes that are alike where two orders are the same: the same kind of order for the same location.",
        max_length=20,
    )

    @property
    def after_h(self) -> float:
        """Hours after an appointment's end in which it still counts as near."""
        return self.cutoff_h if self.cutoff_after_h is None else self.cutoff_after_h


class _Slot(Struct, frozen=True):
    """An appointment that has not ended, and when it stands in the way."""

    appointment: Appointment
    is_active: bool
    is_under_way: bool
    closes_at: datetime | None = None
    """When it comes within the cut-off; None if its start is not known."""
    ends_at: datetime | None = None
    clears_at: datetime | None = None
    """When it leaves the cut-off, after its end; None as above."""

    def reason(self, now: datetime) -> str:
        """How it bears on a cancel: one of `_RANKS`."""
        if self.is_under_way:
            return APPOINTMENT_UNDER_WAY
        if self.closes_at is None or self.clears_at is None:
            return APPOINTMENT_TIME_UNKNOWN if self.is_active else APPOINTMENT_STATUS_UNCLEAR
        if now < self.closes_at:
            return APPOINTMENT_FAR
        if not self.is_active:
            return APPOINTMENT_STATUS_UNCLEAR
        return APPOINTMENT_NEAR if now < self.clears_at else APPOINTMENT_PAST

    def describe(self, rules: Rules, now: datetime) -> str:
        """The appointment and its time, as the end of a sentence."""
        name = f"appointment {self.appointment.id} ({self.appointment.status or 'without a status'})"
        if self.closes_at is None:
            return f"{name} has no known time"
        if self.ends_at is not None and self.ends_at <= now:
            return (
                f"{name} ended at {self.ends_at:%Y-%m-%d %H:%M} UTC, and no event says that it is over; it counts for "
                f"{rules.after_h:g} hours after its end"
            )
        return (
            f"{name} starts at {self.appointment.starts_at:%Y-%m-%d %H:%M} UTC, "
            f"{rules.cutoff_h:g} hours after {self.closes_at:%Y-%m-%d %H:%M} UTC"
        )


def verdict(order: Order, rules: Rules, now: datetime) -> Verdict:
    """May the order be canceled? Total over phases and statuses."""
    ended = final(order, "Superloop has completed the order.", "The order is canceled or rejected already.")
    if ended is not None:
        return ended
    if order.phase is Phase.IN_PROGRESS:
        status = in_parentheses(order.provider_status)
        return no(
            order, NOT_CANCELABLE, f"Superloop's last word on the order{status} is that it is not cancelable.", "phase"
        )
    slots = sorted(_slots(order, rules), key=lambda slot: slot.closes_at or _LAST)
    current = _at(order, slots, rules, now)
    for moment in sorted(time for slot in slots for time in (slot.closes_at, slot.clears_at) if time and time > now):
        later = _at(order, slots, rules, moment)
        if (later.cancelable, later.reason) != (current.cancelable, current.reason):
            return replace(current, changes_at=moment)
    return current


def check(reason: str, note: str | None, rules: Rules) -> None:  # noqa: ARG001 - Superloop has no list of reasons
    """Raise `InvalidCancel` for a note: Superloop takes an order's id alone; a reason stays in the log."""
    check_text("reason", reason)
    check_no_note("Superloop", note)


def _slots(order: Order, rules: Rules) -> Iterator[_Slot]:
    """The appointments that have not ended."""
    for appointment in order.appointments:
        status, starts_at, ends_at = plain(appointment.status), appointment.starts_at, appointment.ends_at
        is_active, is_under_way = status in _plain(rules.active_statuses), status in _plain(rules.under_way_statuses)
        if not is_active and not is_under_way and status in _plain(rules.ended_statuses):
            continue
        if starts_at is None:
            yield _Slot(appointment, is_active, is_under_way)
            continue
        if ends_at is None or ends_at <= starts_at:
            ends_at = _shift(starts_at, rules.slot_h)
        closes_at, clears_at = _shift(starts_at, -rules.cutoff_h), _shift(ends_at, rules.after_h)
        yield _Slot(appointment, is_active, is_under_way, closes_at, ends_at, clears_at)


@lru_cache(maxsize=64)
def _plain(statuses: tuple[str, ...]) -> frozenset[str]:
    return frozenset(map(plain, statuses))


def _at(order: Order, slots: list[_Slot], rules: Rules, now: datetime) -> Verdict:
    """The verdict on an order that has not ended, without when it changes."""
    slot = max(slots, key=lambda slot: _RANKS.index(slot.reason(now)), default=None)
    reason = NO_ACTIVE_APPOINTMENT if slot is None else slot.reason(now)
    said = "no appointment of it is active" if slot is None else slot.describe(rules, now)
    if slot is not None and reason == APPOINTMENT_UNDER_WAY:
        text = f"Appointment {slot.appointment.id} is under way (status {slot.appointment.status})."
        return no(order, reason, text, "appointments")
    if reason == APPOINTMENT_NEAR:
        text = f"Superloop cancels no order with an active appointment within {rules.cutoff_h:g} hours of now: {said}."
        return no(order, reason, text, "appointments")
    if order.phase is not Phase.OPEN:
        text = "What is known of the order does not tell whether Superloop still cancels it; probe it."
        return unknown(order, STATUS_UNCLEAR, text, "phase", "provider_status", "appointments")
    if reason in (NO_ACTIVE_APPOINTMENT, APPOINTMENT_FAR):
        return yes(order, reason, f"Superloop calls the order cancelable, and {said}.", "phase", "appointments")
    text = f"Whether an active appointment is near is not known: {said}. Probe the order."
    return unknown(order, reason, text, "phase", "appointments")


def _shift(time: datetime, hours: float) -> datetime:
    try:
        return time + timedelta(hours=hours)
    except OverflowError:
        return _FIRST if hours < 0 else _LAST
