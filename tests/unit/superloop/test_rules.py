from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.superloop.support import CONFIG, observe

from app.contract import Appointment, Cancelable, InvalidCancel, Order, Phase, Source, Verdict, zone_of
from app.core.event import to_event
from app.core.order import fold
from app.core.verdict import judge
from handlers.superloop import HANDLER
from handlers.superloop.rules import Rules, check, verdict
from handlers.superloop.times import instant

START = datetime(2026, 3, 6, 2, tzinfo=UTC)
END = START + timedelta(hours=4)
CLOSES = START - timedelta(hours=26)
CLEARS = END + timedelta(hours=26)
TICK = timedelta(microseconds=1)
RULES = Rules()

YES, NO, UNKNOWN = Cancelable.YES, Cancelable.NO, Cancelable.UNKNOWN


def slot(
    status: str = "Booked", starts_at: datetime | None = START, ends_at: datetime | None = END, id: str = "583"
) -> Appointment:
    return Appointment(id, status, starts_at, ends_at)


def order(*appointments: Appointment, phase: Phase = Phase.OPEN, status: str | None = None) -> Order:
    sources = {"phase": "evt_p", "provider_status": "evt_s", "appointments": "evt_a"}
    if not appointments:
        del sources["appointments"]
    return Order("a", "10", phase=phase, provider_status=status, appointments=appointments, version=2, sources=sources)


def judged(known: Order, now: datetime, rules: Rules = RULES) -> tuple[Cancelable, str, datetime | None]:
    found = verdict(known, rules, now)
    return found.cancelable, found.reason, found.changes_at


# -- The first half: the order itself --------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "cancelable", "reason"),
    [
        (Phase.CANCELED, NO, "already_canceled"),
        (Phase.COMPLETED, NO, "completed"),
        (Phase.IN_PROGRESS, NO, "not_cancelable"),
        (Phase.UNKNOWN, UNKNOWN, "status_unclear"),
        (Phase.OPEN, YES, "no_active_appointment"),
    ],
)
def test_without_appointments_the_order_s_own_word_decides(phase: Phase, cancelable: Cancelable, reason: str) -> None:
    found = verdict(order(phase=phase, status="Field Work"), RULES, START)
    assert (found.cancelable, found.reason, found.changes_at) == (cancelable, reason, None)
    assert found.evidence[0] == "evt_p"


@pytest.mark.parametrize("phase", [Phase.CANCELED, Phase.COMPLETED, Phase.IN_PROGRESS])
def test_an_order_that_cannot_be_canceled_needs_no_appointment_for_it(phase: Phase) -> None:
    found = verdict(order(slot(), phase=phase), RULES, CLOSES - timedelta(days=9))
    assert (found.cancelable, found.changes_at, found.evidence) == (NO, None, ("evt_p",))


# -- The second half: 26 hours ---------------------------------------------------------------------


@pytest.mark.parametrize("status", ["Booked", "Reserved", "booked", "BOOKED"])
def test_the_window_closes_26_hours_before_an_active_appointment_to_the_microsecond(status: str) -> None:
    known = order(slot(status))
    assert judged(known, CLOSES - timedelta(days=30)) == (YES, "appointment_far", CLOSES)
    assert judged(known, CLOSES - TICK) == (YES, "appointment_far", CLOSES)
    assert judged(known, CLOSES) == (NO, "appointment_near", CLEARS)
    assert judged(known, START - TICK) == judged(known, START) == judged(known, END - TICK)
    assert judged(known, END - TICK) == (NO, "appointment_near", CLEARS)


def test_26_hours_of_now_are_also_those_behind_us() -> None:
    known = order(slot())
    assert judged(known, END) == judged(known, CLEARS - TICK) == (NO, "appointment_near", CLEARS)
    assert judged(known, CLEARS) == (UNKNOWN, "appointment_past", None)
    assert judged(known, END + timedelta(days=99)) == (UNKNOWN, "appointment_past", None)
    said = verdict(known, RULES, END).explanation
    assert "ended at 2026-03-06 06:00 UTC" in said
    assert "26 hours after its end" in said
    ends = Rules(cutoff_after_h=0)
    assert judged(known, END - TICK, ends) == (NO, "appointment_near", END)
    assert judged(known, END, ends) == (UNKNOWN, "appointment_past", None)
    assert judged(known, CLEARS - TICK, Rules(cutoff_h=1, cutoff_after_h=26)) == (NO, "appointment_near", CLEARS)


def test_an_order_of_which_nothing_else_is_known_is_closed_by_its_appointment_all_the_same() -> None:
    known = order(slot(), phase=Phase.UNKNOWN)
    assert judged(known, CLOSES - TICK) == (UNKNOWN, "status_unclear", CLOSES)
    assert judged(known, CLOSES) == (NO, "appointment_near", CLEARS)
    assert judged(known, CLEARS) == (UNKNOWN, "status_unclear", None)


@pytest.mark.parametrize("status", ["cancelled", "Canceled", "completed", "Complete", "INCOMPLETE"])
def test_an_appointment_that_has_ended_does_not_count(status: str) -> None:
    for now in (CLOSES - TICK, CLOSES, START, END):
        assert judged(order(slot(status)), now) == (YES, "no_active_appointment", None)


@pytest.mark.parametrize("starts_at", [START, None])
def test_an_appointment_under_way_closes_whatever_the_time(starts_at: datetime | None) -> None:
    for now in (CLOSES - timedelta(days=9), CLOSES, END, END + timedelta(days=9)):
        for phase in (Phase.OPEN, Phase.UNKNOWN):
            known = order(slot("In Progress", starts_at), phase=phase)
            assert judged(known, now) == (NO, "appointment_under_way", None)


def test_an_active_appointment_without_a_time_leaves_it_open() -> None:
    assert judged(order(slot("Reserved", None, None)), CLOSES) == (UNKNOWN, "appointment_time_unknown", None)
    assert judged(order(slot("Booked", None, END)), CLOSES) == (UNKNOWN, "appointment_time_unknown", None)


@pytest.mark.parametrize("status", ["Rescheduled", "", "Pending Customer"])
def test_a_status_never_heard_of_is_unclear_only_when_it_matters(status: str) -> None:
    assert judged(order(slot(status)), CLOSES - TICK) == (YES, "appointment_far", CLOSES)
    assert judged(order(slot(status)), CLOSES) == (UNKNOWN, "appointment_status_unclear", None)
    assert judged(order(slot(status)), END) == (UNKNOWN, "appointment_status_unclear", None)
    assert judged(order(slot(status, None, None)), CLOSES) == (UNKNOWN, "appointment_status_unclear", None)


@pytest.mark.parametrize("ends_at", [None, START, START - timedelta(hours=1)])
def test_an_appointment_without_an_end_lasts_a_slot(ends_at: datetime | None) -> None:
    known = order(slot(ends_at=ends_at))
    assert judged(known, CLOSES) == (NO, "appointment_near", START + timedelta(hours=4 + 26))
    assert judged(known, CLOSES, Rules(slot_h=0.5)) == (NO, "appointment_near", START + timedelta(hours=26.5))


def test_several_appointments_count_each() -> None:
    later = slot(starts_at=START + timedelta(days=2), ends_at=END + timedelta(days=2), id="584")
    known = order(slot("cancelled"), later)
    closes_later = CLOSES + timedelta(days=2)
    assert judged(known, START) == (YES, "appointment_far", closes_later)
    clears_later = CLEARS + timedelta(days=2)
    assert judged(known, closes_later) == (NO, "appointment_near", clears_later)
    known = order(later, slot(id="900"))
    assert judged(known, CLOSES - TICK) == (YES, "appointment_far", CLOSES)
    assert "900" in verdict(known, RULES, CLOSES - TICK).explanation, "the one that comes first"
    assert judged(known, CLOSES) == (NO, "appointment_near", clears_later), "before the first clears, the other is near"
    ends = Rules(cutoff_after_h=0)
    assert judged(known, CLOSES, ends) == (NO, "appointment_near", END)
    assert judged(known, END, ends) == (UNKNOWN, "appointment_past", closes_later)
    assert judged(known, closes_later, ends) == (NO, "appointment_near", END + timedelta(days=2))
    overlapping = slot(starts_at=START + timedelta(hours=2), ends_at=END + timedelta(hours=2), id="585")
    assert judged(order(slot(), overlapping), CLOSES) == (NO, "appointment_near", CLEARS + timedelta(hours=2))


@pytest.mark.parametrize("unclear", [slot("Reserved", None, None, "1"), slot("Rescheduled", id="1")])
def test_what_is_known_to_close_outranks_what_is_unclear(unclear: Appointment) -> None:
    assert judged(order(unclear, slot()), CLOSES)[:2] == (NO, "appointment_near")
    assert judged(order(unclear, slot("In Progress")), CLOSES)[:2] == (NO, "appointment_under_way")


def test_evidence_names_the_events_that_the_verdict_rests_on() -> None:
    known = order(slot())
    assert verdict(known, RULES, CLOSES).evidence == ("evt_a",)
    assert verdict(known, RULES, CLOSES - TICK).evidence == ("evt_p", "evt_a")
    assert verdict(known, RULES, END).evidence == ("evt_a",)
    assert verdict(known, RULES, CLEARS).evidence == ("evt_p", "evt_a")
    assert verdict(order(), RULES, END).evidence == ("evt_p",)


def test_an_explanation_names_the_appointment_and_its_time() -> None:
    found = verdict(order(slot()), RULES, CLOSES)
    assert "583" in found.explanation
    assert "2026-03-06 02:00 UTC" in found.explanation
    assert "26 hours" in found.explanation


# -- Overrides --------------------------------------------------------------------------------------


def test_the_hours_may_be_others() -> None:
    for hours in (0, 0.5, 48, 8760):
        closes = START - timedelta(hours=hours)
        rules = Rules(cutoff_h=hours)
        assert judged(order(slot()), closes - TICK, rules) == (YES, "appointment_far", closes)
        assert judged(order(slot()), closes, rules) == (NO, "appointment_near", END + timedelta(hours=hours))


def test_the_statuses_may_be_others() -> None:
    assert judged(order(slot("Reserved", None, None)), CLOSES, Rules(active_statuses=("Booked",)))[0] is UNKNOWN
    ended = Rules(active_statuses=("Booked",), ended_statuses=("Reserved",))
    assert judged(order(slot("Reserved", None, None)), CLOSES, ended)[0] is YES
    assert judged(order(slot("Rescheduled")), CLOSES, Rules(active_statuses=("rescheduled",)))[0] is NO
    assert judged(order(slot("En Route")), CLOSES - TICK, Rules(under_way_statuses=("en_route",)))[0] is NO
    both = Rules(active_statuses=("Done",), ended_statuses=("Done",))
    assert judged(order(slot("Done")), CLOSES, both)[0] is NO, "the safe side"


@pytest.mark.parametrize("bad", [{"cutoff_h": -1}, {"cutoff_h": "inf"}, {"slot_h": 0}, {"cutoff": 26}])
def test_bad_rules_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"cutoff|slot"):
        Rules.model_validate(bad)


# -- Time ---------------------------------------------------------------------------------------------


statuses = st.sampled_from(["Booked", "Reserved", "In Progress", "cancelled", "Rescheduled", "completed", ""])
hours = st.integers(-60, 60)
slots = st.builds(
    lambda status, start, length: slot(
        status,
        None if start is None else START + timedelta(hours=start),
        None if start is None or length is None else START + timedelta(hours=start + length),
    ),
    statuses,
    st.none() | hours,
    st.none() | st.integers(-2, 9),
)


@given(st.lists(slots, max_size=4), hours, st.sampled_from(Phase), st.floats(0, 0.999))
def test_time_changes_a_verdict_exactly_when_it_says(
    listed: list[Appointment], hour: int, phase: Phase, part: float
) -> None:
    known, now = order(*listed, phase=phase), START + timedelta(hours=hour)

    def seen(at: datetime) -> tuple[Cancelable, str]:
        return judged(known, at)[:2]

    changes_at = judged(known, now)[2]
    if changes_at is None:
        for later in range(200):
            assert seen(now + timedelta(hours=later)) == seen(now)
        return
    assert changes_at > now
    assert seen(changes_at) != seen(now)
    assert seen(changes_at - TICK) == seen(now)
    assert seen(now + (changes_at - now) * part) == seen(now)


@given(st.lists(slots, max_size=4), hours, st.sampled_from([Phase.OPEN, Phase.UNKNOWN]))
def test_no_order_is_called_cancelable_while_an_active_appointment_is_near(
    listed: list[Appointment], hour: int, phase: Phase
) -> None:
    known, now = order(*listed, phase=phase), START + timedelta(hours=hour)
    near = [
        each
        for each in listed
        if each.status == "In Progress"
        or (
            each.status in ("Booked", "Reserved")
            and (each.starts_at is None or each.starts_at - now <= timedelta(hours=26))
        )
    ]
    found = verdict(known, RULES, now)
    assert found.explanation.endswith(".")
    if near:
        assert found.cancelable is not YES
    if found.cancelable is NO:
        assert near
        assert found.evidence


zones = st.sampled_from(["Australia/Sydney", "Australia/Lord_Howe", "UTC"])
turns = st.sampled_from([datetime(2026, 4, 4, 15, tzinfo=UTC), datetime(2026, 10, 3, 16, tzinfo=UTC)])


@given(zones, turns, st.integers(-48 * 60, 48 * 60))
def test_26_hours_are_elapsed_time_across_changes_of_the_clock(name: str, turn: datetime, minutes: int) -> None:
    meant = turn + timedelta(minutes=minutes)
    local = meant.astimezone(zone_of(name)).replace(tzinfo=None).isoformat()
    starts_at = instant(local, (zone_of(name),))
    assert starts_at is not None
    known = order(slot(starts_at=starts_at, ends_at=None))
    assert judged(known, meant - timedelta(hours=26))[0] is NO, "never too late"
    slack = timedelta(hours=1) if meant != starts_at else timedelta()
    assert judged(known, meant - timedelta(hours=26) - slack - TICK)[0] is YES, "and not early without need"


@pytest.mark.parametrize("when", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_the_ends_of_time_do_no_harm(when: datetime) -> None:
    for now in (datetime.min.replace(tzinfo=UTC), START, datetime.max.replace(tzinfo=UTC)):
        assert verdict(order(slot(starts_at=when, ends_at=None)), Rules(cutoff_h=8760), now).reason


# -- Through the fold -----------------------------------------------------------------------------------


def story(*webhooks: tuple[str, dict[str, Any]], now: datetime = CLOSES) -> Verdict:
    """The verdict after these webhooks, received a minute apart."""
    events = []
    for number, (event, body) in enumerate(webhooks):
        received_at = CLOSES - timedelta(days=2) + timedelta(minutes=number)
        events.append(to_event(observe(event, body, CONFIG), "a", received_at, Source.WEBHOOK, None))
    known, _ = fold("a", "10", reversed(events))
    return judge(HANDLER, RULES, known, now)


def body_of(status: str, id: int = 583, **more: Any) -> dict[str, Any]:
    return {"orderId": 10, "id": id, "status": status, "startTime": "2026-03-06T02:00:00Z", **more}


CREATED = ("order.created", {"id": 10, "isCancellable": True})
BOOKED = ("appointment.booked", body_of("Booked"))


def test_an_order_closes_and_opens_with_its_appointments() -> None:
    canceled = ("appointment.cancelled", body_of("cancelled", cancelledOn="2026-03-02T06:06:33Z"))
    moved = ("appointment.rescheduled", body_of("Booked", startTime="2026-03-20T02:00:00Z"))
    another = ("appointment.booked", body_of("Booked", 584))
    assert story(CREATED).reason == "no_active_appointment"
    assert story(CREATED, ("appointment.reserved", body_of("Reserved", startTime=None))).cancelable is UNKNOWN
    assert story(CREATED, BOOKED).reason == "appointment_near"
    assert story(CREATED, BOOKED, canceled).reason == "no_active_appointment"
    assert story(CREATED, BOOKED, moved).reason == "appointment_far"
    assert story(CREATED, BOOKED, canceled, another).reason == "appointment_near"
    assert story(CREATED, BOOKED, ("appointment.in-progress", body_of("In Progress"))).reason == "appointment_under_way"
    assert story(BOOKED).cancelable is NO
    assert story(BOOKED, now=CLOSES - TICK).reason == "status_unclear"


def test_a_stale_word_decides_nothing() -> None:
    # The first event's isCancellable is still among the attributes; the phase is not taken from there.
    assert story(CREATED, ("order.delayed", {"id": 10})).reason == "status_unclear"
    assert story(CREATED, ("order.modified", {"id": 10, "isCancellable": False})).reason == "not_cancelable"
    rejected = ("order.rejected", {"id": 10, "isCancellable": True, "rejectedOn": "2026-03-02"})
    assert story(CREATED, rejected).reason == "already_canceled"
    assert story(rejected, CREATED).reason == "already_canceled", "whatever comes late"
    assert story(CREATED, ("order.completed", {"id": 10, "isCancellable": True})).reason == "completed"


def test_a_cancel_that_is_told_late_outranks_the_booking_before_it() -> None:
    # Its cancelledOn lies before the receipt of the booking, whose webhook was delayed.
    early = (CLOSES - timedelta(days=2, hours=1)).isoformat()
    assert story(CREATED, BOOKED, ("appointment.cancelled", body_of("cancelled", cancelledOn=early))).cancelable is YES


# -- The arguments of a cancel ------------------------------------------------------------------------


@pytest.mark.parametrize(("reason", "note"), [("anything", None), ("x" * 5000, ""), ("ü\n😀", " ")])
def test_a_reason_is_free(reason: str, note: str | None) -> None:
    check(reason, note, RULES)


@pytest.mark.parametrize(
    ("reason", "note", "field"), [("a\0", None, "reason"), ("\ud800", None, "reason"), ("a", "b", "note")]
)
def test_what_no_store_can_hold_and_superloop_has_no_place_for_is_refused(
    reason: str, note: str | None, field: str
) -> None:
    with pytest.raises(InvalidCancel) as caught:
        check(reason, note, RULES)
    assert caught.value.field == field
