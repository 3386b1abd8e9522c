from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.contract import zone_of
from app.kit.payload import decode
from handlers.superloop.times import instant, offset_of

SYDNEY, LORD_HOWE = zone_of("Australia/Sydney"), zone_of("Australia/Lord_Howe")
SHIFTS = {"Australia/Sydney": timedelta(hours=1), "Australia/Lord_Howe": timedelta(minutes=30), "UTC": timedelta()}
# The clocks of 2026: April 5 back, October 4 forward, at 2 or 3 o'clock local time.
TURNS = (datetime(2026, 4, 4, 15, 30, tzinfo=UTC), datetime(2026, 10, 3, 15, 45, tzinfo=UTC))

zones = st.sampled_from(sorted(SHIFTS))
near_a_turn = st.builds(
    lambda turn, minutes: turn + timedelta(minutes=minutes), st.sampled_from(TURNS), st.integers(-300, 300)
)


def z(*when: int) -> datetime:
    return datetime(*when, tzinfo=UTC)  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("local", "zone", "earliest", "latest"),
    [
        ("2026-03-06T13:00:00", SYDNEY, z(2026, 3, 6, 2), z(2026, 3, 6, 2)),
        ("2026-07-06T13:00:00", SYDNEY, z(2026, 7, 6, 3), z(2026, 7, 6, 3)),
        ("2026-04-05T02:30:00", SYDNEY, z(2026, 4, 4, 15, 30), z(2026, 4, 4, 16, 30)),
        ("2026-10-04T02:30:00", SYDNEY, z(2026, 10, 3, 15, 30), z(2026, 10, 3, 16, 30)),
        ("2026-04-05T01:45:00", LORD_HOWE, z(2026, 4, 4, 14, 45), z(2026, 4, 4, 15, 15)),
        ("2026-10-04T02:15:00", LORD_HOWE, z(2026, 10, 3, 15, 15), z(2026, 10, 3, 15, 45)),
        ("2026-04-05T02:30:00", UTC, z(2026, 4, 5, 2, 30), z(2026, 4, 5, 2, 30)),
        ("2026-03-06", SYDNEY, z(2026, 3, 5, 13), z(2026, 3, 5, 13)),
    ],
)
def test_a_local_time_means_the_earlier_or_the_later_instant(
    local: str, zone: tzinfo, earliest: datetime, latest: datetime
) -> None:
    assert (instant(local, (zone,)), instant(local, (zone,), latest=True)) == (earliest, latest)


@given(zones, near_a_turn)
@example("Australia/Lord_Howe", TURNS[0])
@example("Australia/Sydney", TURNS[1])
def test_the_instant_that_was_meant_is_never_outside(name: str, meant: datetime) -> None:
    zone = zone_of(name)
    local = meant.astimezone(zone).replace(tzinfo=None).isoformat()
    earliest, latest = instant(local, (zone,)), instant(local, (zone,), latest=True)
    assert earliest is not None
    assert latest is not None
    assert earliest <= meant <= latest
    assert latest - earliest in (timedelta(), SHIFTS[name])


@given(zones, st.integers(0, 12 * 60))
def test_a_local_time_that_never_was_is_read_all_the_same(name: str, minutes: int) -> None:
    zone, local = zone_of(name), z(2026, 10, 3, 20).replace(tzinfo=None) + timedelta(minutes=minutes)
    earliest, latest = instant(local.isoformat(), (zone,)), instant(local.isoformat(), (zone,), latest=True)
    assert earliest is not None
    assert latest is not None
    assert latest - earliest in (timedelta(), SHIFTS[name])


@given(zones, near_a_turn)
def test_an_offset_leaves_nothing_open(name: str, meant: datetime) -> None:
    zone = zone_of(name)
    local = meant.astimezone(zone)
    assert instant(local.isoformat(), (SYDNEY,)) == meant == instant(local.isoformat(), (), latest=True)
    offset = offset_of(local.isoformat()[-6:])
    assert offset is not None
    assert instant(local.replace(tzinfo=None).isoformat(), (offset,)) == meant


@pytest.mark.parametrize(
    "value", ["soon", "", None, True, [], {}, "2026-13-01T00:00:00Z", "0001-01-01T00:00:00", 1e300]
)
def test_what_is_no_time_is_none(value: Any) -> None:
    assert instant(value, (SYDNEY,)) is None


def test_unix_times_are_read() -> None:
    assert instant(1772467446, (SYDNEY,)) == instant("1772467446000", ()) == z(2026, 3, 2, 16, 4, 6)


def test_a_local_time_of_an_unknown_zone_is_unknown() -> None:
    assert instant("2026-03-06T13:00:00", ()) is None


@pytest.mark.parametrize(
    ("given_offset", "minutes"),
    [
        ("+10:00", 600),
        ("+11:00", 660),
        ("-03:30", -210),
        ("\u221203:30", -210),
        ("10:30", 630),
        ("+9:30", 570),
        ("+1030", 630),
        ("0930", 570),
        ("Z", 0),
        ("UTC", 0),
        ("+0", 0),
        ("10", 600),
        (10, 600),
        ("10.5", 630),
        (-3, -180),
        (14, 840),
        (15, 15),
        (600, 600),
        ("630", 630),
        ("-210", -210),
        ("+14:00", 840),
    ],
)
def test_offsets_in_any_likely_spelling(given_offset: Any, minutes: int) -> None:
    zone = offset_of(given_offset)
    assert zone is not None
    assert zone.utcoffset(None) == timedelta(minutes=minutes)


@pytest.mark.parametrize(
    "bad", [None, "", True, "AEST", "+14:30", "10:60", 1000, -841, "10:00:00", "+-10:00", [], {}, "٣", "9" * 5000]
)
def test_what_is_no_offset_is_none(bad: Any) -> None:
    assert offset_of(bad) is None


def test_a_fraction_in_json_is_an_offset() -> None:
    raw = msgspec.json.encode({"timezoneOffset": 10.5})
    zone = offset_of(decode(raw, "Superloop")["timezoneOffset"])
    assert zone is not None
    assert zone.utcoffset(None) == timedelta(hours=10.5)


@given(
    st.one_of(st.text(max_size=8), st.integers(), st.floats(), st.from_regex(r"[+-]?\d{1,2}:?\d{2}", fullmatch=True))
)
def test_no_offset_makes_it_fail(value: Any) -> None:
    zone = offset_of(value)
    assert zone is None or abs(zone.utcoffset(None) or timedelta()) <= timedelta(hours=14)


@given(st.text(max_size=30) | st.datetimes().map(datetime.isoformat), zones)
def test_no_time_makes_it_fail(value: str, name: str) -> None:
    found = instant(value, (zone_of(name),))
    assert found is None or found.tzinfo is UTC
