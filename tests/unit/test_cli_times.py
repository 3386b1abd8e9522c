from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from app.cli.times import ago, ahead, rfc3339, shown, shown_with_distance

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def test_a_span_counts_from_now_on_or_back():
    before = datetime.now(UTC)
    assert before + timedelta(hours=2) <= ahead("2h") <= datetime.now(UTC) + timedelta(hours=2)
    assert before - timedelta(hours=2) <= ago("2h") <= datetime.now(UTC) - timedelta(hours=2)


@pytest.mark.parametrize("text", ["2030-01-31T16:00:00Z", "2030-01-31T17:00:00+01:00", "2030-01-31 16:00:00Z"])
def test_times_are_sent_in_utc(text: str):
    assert rfc3339(ahead(text)) == rfc3339(ago(text)) == "2030-01-31T16:00:00Z"


@pytest.mark.parametrize(
    "text", ["yesterday", "2030-01-31", "2030-01-31T16:00:00", "0001-01-01T00:00:00+14:00", "", "999999999w"]
)
def test_what_is_no_time_is_said_with_the_cure(text: str):
    with pytest.raises(typer.BadParameter, match="2030-01-31T16:00:00Z"):
        ahead(text)


def test_times_are_shown_in_utc():
    assert shown("2026-03-01T13:00:00.987654+01:00") == "2026-03-01T12:00:00Z"
    assert shown(None) == shown_with_distance(None) == ""


@pytest.mark.parametrize(
    ("offset_s", "said"),
    [
        (0, "in 0 s"),
        (61, "in 1 min 1 s"),
        (-59.9, "59 s ago"),
        (7200, "in 2 h"),
        (90_061, "in 1 d 1 h"),
        (86_400 + 59, "in 1 d"),
        (-7260, "2 h 1 min ago"),
    ],
)
def test_how_far_off_a_time_is(offset_s: float, said: str):
    text = rfc3339(NOW + timedelta(seconds=offset_s))
    assert shown_with_distance(text, NOW) == f"{shown(text)} ({said})"


@given(st.datetimes(timezones=st.just(UTC)))
def test_what_is_shown_can_be_given(moment: datetime):
    assert ahead(shown(rfc3339(moment))) == moment.replace(microsecond=0)
