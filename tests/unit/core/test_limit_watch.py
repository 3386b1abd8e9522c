"""When it is said that a limit is nearly used up."""

from __future__ import annotations

from datetime import timedelta

from unit.core.support import at

from app.core.limit_watch import LimitWatch

HOUR = timedelta(hours=1)


def test_it_is_said_once_until_the_use_was_lower_for_a_period() -> None:
    watch = LimitWatch()
    uses = [(0, 7), (1, 8), (2, 9), (30, 8), (89, 8), (149, 8), (150, 7), (210, 9), (211, 10)]
    said = [minute for minute, used in uses if watch.note("a", used, 10, HOUR, at(60 * minute))]
    assert said == [1, 210]


def test_limits_are_apart_and_short_periods_are_not_told_at_every_turn() -> None:
    watch, minute = LimitWatch(), timedelta(minutes=1)
    assert watch.note("a", 10, 10, minute, at(0))
    assert watch.note("b", 10, 10, minute, at(0))
    assert not watch.note("a", 10, 10, minute, at(600)), "ten minutes at least"
    assert watch.note("a", 10, 10, minute, at(1201))


def test_a_limit_of_a_few_is_a_pace() -> None:
    assert not LimitWatch().note("a", 4, 4, HOUR, at(0))


def test_a_commit_that_fails_leaves_it_as_it_was() -> None:
    watch = LimitWatch()
    assert LimitWatch(watch.near_at).note("a", 9, 10, HOUR, at(0))
    assert watch.note("a", 9, 10, HOUR, at(0))
