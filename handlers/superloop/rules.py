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
from enum import IntEnum
from functools import lru_cache

from msgspec import Struct
from pydantic import Field

from app.contract import UNDOCUMENTED, Appointment, Cancelable, Order, Phase, Verdict
from app.contract import Rules as BaseRules
from app.kit.arguments import check_no_note, check_text
from app.kit.verdicts import ALREADY_CANCELED, COMPLETED
from handlers.superloop.words import ACTIVE_STATUSES, ENDED_STATUSES, UNDER_WAY_STATUSES, plain

NOT_CANCELABLE = "not_cancelable"
APPOINTMENT_UNDER_WAY = "appointment_under_way"
APPOINTMENT_NEAR = "appointment_near"
APPOINTMENT_PAST = "appointment_past"
APPOINTMENT_TIME_UNKNOWN = "appointment_time_unknown"
APPOINTMENT_STATUS_UNCLEAR = "appointment_status_unclear"
APPOINTMENT_FAR = "appointment_far"
NO_ACTIVE_APPOINTMENT = "no_active_appointment"
STATUS_UNCLEAR = "status_unclear"

_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


class Rules(BaseRules):
    """The documented rule's parameters. Statuses are compared without regard to case, spaces and underscores."""

    cutoff_h: float = Field(
        26.0,
        ge=0,
        le=8760,
        allow_inf_nan=False,
        description="From how many hours before an appointment on the order cannot be canceled.",
    )
    cutoff_after_h: float | None = Field(
        None,
        ge=0,
        le=8760,
        allow_inf_nan=False,
        description="Until how many hours after an appointment's end the order cannot be canceled, while the "
        "appointment is still active; cutoff_h if not set.",
        json_schema_extra=UNDOCUMENTED,
    )
    slot_h: float = Field(
        4.0,
        gt=0,
        le=720,
        allow_inf_nan=False,
        description="How many hours an appointment without an end is taken to last; the documented example lasts 4.",
        json_schema_extra=UNDOCUMENTED,
    )
    active_statuses: tuple[str, ...] = Field(
        ACTIVE_STATUSES, description="Statuses of an appointment that stands in the way of a cancel when it is near."
    )
    under_way_statuses: tuple[str, ...] = Field(
        UNDER_WAY_STATUSES, description="Statuses of an appointment that stands in the way whatever the time."
    )
    ended_statuses: tuple[str, ...] = Field(
        ENDED_STATUSES,
        description="Statuses of an appointment that no longer counts. Any other status is unclear.",
        json_schema_extra=UNDOCUMENTED,
    )
    duplicate_keys: tuple[str, ...] = Field(
        ("locId", "type"),
        max_length=20,
        description="Attributes that are alike where two orders are the same: the same kind of order for the same "
        "location.",
        json_schema_extra=UNDOCUMENTED,
    )

    @property
    def after_h(self) -> float:
        """Hours after an appointment's end in which it still counts as near."""
        return self.cutoff_h if self.cutoff_after_h is None else self.cutoff_after_h


class Standing(IntEnum):
    """How an appointment bears on a cancel. Of several the highest decides: what is known outranks what is not."""

    ENDED = 0
    FAR = 1
    STATUS_UNCLEAR = 2
    TIME_UNKNOWN = 3
    PAST = 4
    NEAR = 5
    UNDER_WAY = 6


_UNCLEAR = {
    Standing.STATUS_UNCLEAR: APPOINTMENT_STATUS_UNCLEAR,
    Standing.TIME_UNKNOWN: APPOINTMENT_TIME_UNKNOWN,
    Standing.PAST: APPOINTMENT_PAST,
}


class _Judged(Struct, frozen=True):
    appointment: Appointment
    active: bool
    under_way: bool
    closes_at: datetime | None
    """When it comes within the cut-off; None if its start is not known."""
    ends_at: datetime | None
    clears_at: datetime | None
    """When it leaves the cut-off, after its end; None as above."""

    def standing(self, now: datetime) -> Standing:
        if self.under_way:
            return Standing.UNDER_WAY
        if self.closes_at is None or self.clears_at is None:
            return Standing.TIME_UNKNOWN if self.active else Standing.STATUS_UNCLEAR
        if now < self.closes_at:
            return Standing.FAR
        if not self.active:
            return Standing.STATUS_UNCLEAR
        return Standing.NEAR if now < self.clears_at else Standing.PAST


def verdict(order: Order, rules: Rules, now: datetime) -> Verdict:
    """May the order be canceled? Total over phases and statuses."""
    match order.phase:
        case Phase.CANCELED:
            return _of_phase(order, ALREADY_CANCELED, "The order is canceled or rejected already.")
        case Phase.COMPLETED:
            return _of_phase(order, COMPLETED, "Superloop has completed the order.")
        case Phase.IN_PROGRESS:
            status = f" (status {order.provider_status})" if order.provider_status else ""
            text = f"Superloop's last word on the order{status} is that it is not cancelable."
            return _of_phase(order, NOT_CANCELABLE, text)
    judged = sorted(_judge(order, rules), key=lambda each: each.closes_at or _LAST)
    found = _at(order, judged, rules, now)
    moments = sorted(at for each in judged for at in (each.closes_at, each.clears_at) if at is not None and at > now)
    for at in moments:
        then = _at(order, judged, rules, at)
        if (then.cancelable, then.reason) != (found.cancelable, found.reason):
            return Verdict(found.cancelable, found.reason, found.explanation, found.evidence, at)
    return found


def check(reason: str, note: str | None, rules: Rules) -> None:  # noqa: ARG001 - Superloop has no list of reasons
    """Raise `InvalidCancel` for a note: Superloop takes an order's id alone; a reason stays in the log."""
    check_text("reason", reason)
    check_no_note("Superloop", note)


def _judge(order: Order, rules: Rules) -> Iterator[_Judged]:
    """The appointments that have not ended."""
    if not order.appointments:
        return
    active, under_way = _plain(rules.active_statuses), _plain(rules.under_way_statuses)
    ended = _plain(rules.ended_statuses)
    for each in order.appointments:
        status = plain(each.status)
        if status in under_way or status in active or status not in ended:
            starts_at, ends_at = each.starts_at, each.ends_at
            if starts_at is not None and (ends_at is None or ends_at <= starts_at):
                ends_at = _shifted(starts_at, rules.slot_h)
            closes_at = None if starts_at is None else _shifted(starts_at, -rules.cutoff_h)
            clears_at = None if starts_at is None or ends_at is None else _shifted(ends_at, rules.after_h)
            yield _Judged(each, status in active, status in under_way, closes_at, ends_at, clears_at)


@lru_cache(maxsize=64)
def _plain(statuses: tuple[str, ...]) -> frozenset[str]:
    return frozenset(map(plain, statuses))


def _at(order: Order, judged: list[_Judged], rules: Rules, now: datetime) -> Verdict:
    """The verdict on an order that has not ended, without when it changes."""
    standing, decisive = Standing.ENDED, None
    for each in judged:
        if each.standing(now) > standing:
            standing, decisive = each.standing(now), each
    told = _told(decisive, rules, now)
    if standing is Standing.UNDER_WAY and decisive is not None:
        text = f"Appointment {decisive.appointment.id} is under way (status {decisive.appointment.status})."
        return Verdict(Cancelable.NO, APPOINTMENT_UNDER_WAY, text, order.evidence("appointments"))
    if standing is Standing.NEAR:
        text = f"{told}; Superloop cancels no order with an active appointment within {rules.cutoff_h:g} hours of now."
        return Verdict(Cancelable.NO, APPOINTMENT_NEAR, text, order.evidence("appointments"))
    if order.phase is not Phase.OPEN:
        text = "What is known of the order does not tell whether Superloop still cancels it; probe it."
        evidence = order.evidence("phase", "provider_status", "appointments")
        return Verdict(Cancelable.UNKNOWN, STATUS_UNCLEAR, text, evidence)
    evidence = order.evidence("phase", "appointments")
    if standing in _UNCLEAR:
        text = f"{told}, so whether an active appointment is near is not known; probe the order."
        return Verdict(Cancelable.UNKNOWN, _UNCLEAR[standing], text, evidence)
    if standing is Standing.FAR:
        text = f"Superloop calls the order cancelable, and {told[0].lower()}{told[1:]}."
        return Verdict(Cancelable.YES, APPOINTMENT_FAR, text, evidence)
    text = "Superloop calls the order cancelable, and no appointment of it is active."
    return Verdict(Cancelable.YES, NO_ACTIVE_APPOINTMENT, text, evidence)


def _told(decisive: _Judged | None, rules: Rules, now: datetime) -> str:
    if decisive is None:
        return ""
    appointment = decisive.appointment
    status = appointment.status or "without a status"
    if appointment.starts_at is None:
        return f"Appointment {appointment.id} ({status}) has no known time"
    if decisive.ends_at is not None and decisive.ends_at <= now:
        return (
            f"Appointment {appointment.id} ({status}) ended at {decisive.ends_at:%Y-%m-%d %H:%M} UTC, and no event "
            f"says that it is over; it counts for {rules.after_h:g} hours after its end"
        )
    closes_at = _shifted(appointment.starts_at, -rules.cutoff_h)
    return (
        f"Appointment {appointment.id} ({status}) starts at {appointment.starts_at:%Y-%m-%d %H:%M} UTC, "
        f"{rules.cutoff_h:g} hours after {closes_at:%Y-%m-%d %H:%M} UTC"
    )


def _of_phase(order: Order, reason: str, explanation: str) -> Verdict:
    return Verdict(Cancelable.NO, reason, explanation, order.evidence("phase"))


def _shifted(moment: datetime, hours: float) -> datetime:
    try:
        return moment + timedelta(hours=hours)
    except OverflowError:
        return _FIRST if hours < 0 else _LAST
