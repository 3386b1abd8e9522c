"""Times of which nobody knows which moment they mean: they order no event, and open no window."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from app.contract import Appointment, Facts, ParsedEvent, Phase, Source, zone_of
from app.core.event import Event, has_naive_time, to_event
from app.core.order import fold
from app.kit.times import read_time

ASKED_AT = datetime(2026, 3, 2, 16, tzinfo=UTC)
DENVER = zone_of("America/Denver")


def event(phase: Phase, time: datetime | None, received_at: datetime, *, snapshot: bool = False) -> Event:
    seen = ParsedEvent("1", "order.told", str(received_at).encode(), Facts(phase=phase, snapshot=snapshot), time)
    return to_event(seen, "a", received_at, Source.PROVIDER if snapshot else Source.WEBHOOK, None)


def test_a_closing_event_is_never_put_before_a_probe_that_it_came_after() -> None:
    probe = event(Phase.OPEN, ASKED_AT, ASKED_AT, snapshot=True)
    for hours in (-12, -7, 0, 11):
        local = (ASKED_AT + timedelta(hours=hours)).replace(tzinfo=None).isoformat()
        closing = event(Phase.IN_PROGRESS, read_time(local, None), ASKED_AT + timedelta(minutes=5))
        assert closing.occurred_at == closing.received_at
        assert fold("a", "1", [probe, closing])[0].phase is Phase.IN_PROGRESS
    dated = event(Phase.IN_PROGRESS, read_time("2026-03-02", DENVER), ASKED_AT + timedelta(minutes=5))
    assert fold("a", "1", [probe, dated])[0].phase is Phase.IN_PROGRESS, "a date is no time"


def test_in_the_account_s_zone_it_is_a_moment_like_any_other() -> None:
    told = event(Phase.OPEN, read_time("2026-03-02T08:00:00", DENVER), ASKED_AT)
    assert told.occurred_at == datetime(2026, 3, 2, 15, tzinfo=UTC)


def test_of_a_time_that_the_clocks_repeat_an_opening_event_has_the_earlier_and_any_other_the_later() -> None:
    repeated, received_at = read_time("2026-11-01T01:30:00", DENVER), datetime(2026, 11, 2, tzinfo=UTC)
    earlier, later = datetime(2026, 11, 1, 7, 30, tzinfo=UTC), datetime(2026, 11, 1, 8, 30, tzinfo=UTC)
    for phase in Phase:
        assert event(phase, repeated, received_at).occurred_at == (earlier if phase is Phase.OPEN else later)
    closing = event(Phase.IN_PROGRESS, read_time("2026-11-01T01:10:00", DENVER), received_at + timedelta(1))
    opening = event(Phase.OPEN, read_time("2026-11-01T01:30:00", DENVER), received_at)
    assert fold("a", "1", [closing, opening])[0].phase is Phase.IN_PROGRESS
    skipped = event(Phase.IN_PROGRESS, read_time("2026-03-08T02:30:00", DENVER), received_at)
    assert skipped.occurred_at == datetime(2026, 3, 8, 9, 30, tzinfo=UTC)
    assert event(Phase.CANCELED, repeated, earlier).occurred_at == earlier, "nothing happens after it was heard of"


def test_other_times_without_an_offset_are_unknown() -> None:
    local = datetime(2026, 3, 4, 9)  # noqa: DTZ001 - that is the point
    appointments = (Appointment("1", "scheduled", local, local), Appointment("2", "scheduled", ASKED_AT, None))
    seen = ParsedEvent("1", "order.told", b"k", Facts(opened_at=local, appointments=appointments))
    facts = to_event(seen, "a", ASKED_AT, Source.WEBHOOK, None).facts
    assert (facts.opened_at, facts.unreadable) == (None, ("opened_at",)), "nor does the receipt stand in for it"
    assert facts.appointments == (Appointment("1", "scheduled"), Appointment("2", "scheduled", ASKED_AT))
    repeated = read_time("2026-11-01T01:30:00", DENVER)
    facts = Facts(opened_at=repeated, appointments=(Appointment("1", "scheduled", repeated, repeated),))
    settled = to_event(ParsedEvent("1", "order.told", b"k", facts), "a", ASKED_AT, Source.WEBHOOK, None).facts
    earlier, later = datetime(2026, 11, 1, 7, 30, tzinfo=UTC), datetime(2026, 11, 1, 8, 30, tzinfo=UTC)
    assert settled.opened_at == later, "a policy that waits since then is not early"
    assert settled.appointments == (Appointment("1", "scheduled", earlier, later),)
    assert all(moment.tzinfo is UTC for moment in (settled.opened_at, earlier, later))


def test_what_states_a_time_without_an_offset_is_known_as_such() -> None:
    local, moment = datetime(2026, 3, 4, 9), ASKED_AT  # noqa: DTZ001 - that is the point
    naive = [
        ParsedEvent("1", "t", b"k", Facts(), local),
        ParsedEvent("1", "t", b"k", Facts(opened_at=local), moment),
        ParsedEvent("1", "t", b"k", Facts(appointments=(Appointment("1", "s", moment, local),)), moment),
    ]
    assert all(map(has_naive_time, naive))
    certain = Facts(opened_at=moment, appointments=(Appointment("1", "s", moment, None),))
    assert not has_naive_time(ParsedEvent("1", "t", b"k", certain, moment))
    assert not has_naive_time(ParsedEvent("1", "t", b"k", Facts()))
