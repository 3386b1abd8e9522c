"""When deliveries are due, over changes of the clocks and of the process."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from app.core.outbound.schedule import QuietHours, Schedule

BERLIN = "Europe/Berlin"
NIGHT = QuietHours(time(22), time(7), BERLIN)
HOUR = timedelta(hours=1)


def berlin(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(BERLIN)).astimezone(UTC)


def ends(quiet: QuietHours, text: str) -> datetime | None:
    return quiet.end_at(berlin(text))


def test_a_night_ends_by_the_local_clock_whatever_the_offset():
    assert ends(NIGHT, "2026-01-10T21:59") is None
    assert ends(NIGHT, "2026-01-10T22:00") == berlin("2026-01-11T07:00")
    assert ends(NIGHT, "2026-01-11T06:59") == berlin("2026-01-11T07:00")
    assert ends(NIGHT, "2026-01-11T07:00") is None
    # The clocks go forward on 29 March 2026 and back on 25 October: the night has 8 hours, or 10.
    spring, autumn = ends(NIGHT, "2026-03-28T22:00"), ends(NIGHT, "2026-10-24T22:00")
    assert spring == datetime(2026, 3, 29, 5, tzinfo=UTC)
    assert autumn == datetime(2026, 10, 25, 6, tzinfo=UTC)
    assert spring - berlin("2026-03-28T22:00") == timedelta(hours=8)
    assert autumn - berlin("2026-10-24T22:00") == timedelta(hours=10)


def test_a_boundary_that_the_clocks_skip_or_repeat():
    # 02:30 does not exist on 29 March: it counts as 03:30 CEST.
    skipped = QuietHours(time(1), time(2, 30), BERLIN)
    assert ends(skipped, "2026-03-29T01:30") == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    # 02:30 occurs twice on 25 October: the first counts, and the second is not quiet.
    repeated = QuietHours(time(1), time(2, 30), BERLIN)
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert repeated.end_at(first - timedelta(minutes=1)) == first
    assert repeated.end_at(first) is None
    assert repeated.end_at(first + HOUR - timedelta(minutes=1)) is None
    # A period inside the hour that is skipped lasts as long as it would have; none lasts a negative time.
    inside = QuietHours(time(2, 10), time(3), BERLIN)
    assert inside.end_at(datetime(2026, 3, 29, 1, 5, tzinfo=UTC)) is None


def test_every_moment_of_a_year_is_quiet_until_an_end_that_is_not():
    for quiet in (
        NIGHT,
        QuietHours(time(0), time(0), BERLIN, frozenset({5, 6})),
        QuietHours(time(9), time(17), BERLIN),
    ):
        moment = datetime(2026, 1, 1, tzinfo=UTC)
        while moment.year == 2026:
            end = quiet.end_at(moment)
            if end is not None:
                assert moment < end <= moment + timedelta(hours=73)
                assert quiet.end_at(end) is None
            local = moment.astimezone(ZoneInfo(BERLIN))
            if quiet is NIGHT and not 1 <= local.hour <= 3:
                assert (end is not None) == (local.hour >= 22 or local.hour < 7), local
            moment += timedelta(minutes=97)


def test_days_that_meet_are_one_quiet_period():
    weekend = QuietHours(time(0), time(0), BERLIN, frozenset({5, 6}))
    assert ends(weekend, "2026-01-09T23:59") is None  # a Friday
    assert ends(weekend, "2026-01-10T00:00") == berlin("2026-01-12T00:00")
    assert ends(weekend, "2026-01-11T23:59") == berlin("2026-01-12T00:00")
    friday_night = QuietHours(time(22), time(7), BERLIN, frozenset({4}))
    assert ends(friday_night, "2026-01-10T03:00") == berlin("2026-01-10T07:00")
    assert ends(friday_night, "2026-01-09T03:00") is None


def test_a_digest_is_due_at_the_same_time_for_all_of_its_interval():
    hourly = Schedule(digest=HOUR)
    times = [datetime(2026, 5, 1, 9, minute, tzinfo=UTC) for minute in range(60)]
    assert {hourly.due_at(at, urgent=False) for at in times} == {datetime(2026, 5, 1, 10, tzinfo=UTC)}
    assert hourly.due_at(datetime(2026, 5, 1, 10, tzinfo=UTC), urgent=False) == datetime(2026, 5, 1, 11, tzinfo=UTC)
    assert all(hourly.due_at(at, urgent=True) == at for at in times)
    assert Schedule().due_at(times[3], urgent=False) == times[3]


def test_quiet_hours_hold_a_digest_until_they_end():
    both = Schedule(HOUR, NIGHT)
    assert both.due_at(berlin("2026-05-01T20:30"), urgent=False) == berlin("2026-05-01T21:00")
    # Its interval ends at 22:00, when the night has begun.
    assert both.due_at(berlin("2026-05-01T21:30"), urgent=False) == berlin("2026-05-02T07:00")
    assert both.due_at(berlin("2026-05-02T06:30"), urgent=False) == berlin("2026-05-02T07:00")
    assert both.due_at(berlin("2026-05-02T03:30"), urgent=True) == berlin("2026-05-02T03:30")


def test_what_is_urgent_can_be_overridden():
    assert Schedule().is_urgent("policy.proposed", by_default=True)
    assert not Schedule().is_urgent("policy.matched", by_default=False)
    own = Schedule(urgent=("breaker.*", "cancellation.failed"))
    assert own.is_urgent("breaker.opened", by_default=False)
    assert not own.is_urgent("policy.proposed", by_default=True)
    assert not Schedule(urgent=()).is_urgent("account.paused", by_default=True)
