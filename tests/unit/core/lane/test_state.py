"""What a lane has learned survives the process, as far as it is plausible."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.contract import Limits
from app.core.lane.rate_control import RateControl
from app.core.lane.state import LaneState, resume, state_of

CLOCK = datetime(2026, 3, 2, 16, 4, 6, tzinfo=UTC)
LIMITS = Limits(requests=100, per_s=60.0)


def later(seconds: float) -> datetime:
    return CLOCK + timedelta(seconds=seconds)


def learned() -> RateControl:
    """Told to wait for an hour at second 1000, with a limit of 20 and an open breaker."""
    rate = RateControl(LIMITS)
    rate.record_response(True, 3600.0, 1000.0, 0.5)
    rate.learn(20, 1000.0)
    rate.breaker.reopen("nothing works", 1000.0)
    return rate


def test_a_new_process_goes_on_from_what_was_learned_on_a_clock_of_its_own() -> None:
    state = state_of(learned(), 1000.0, CLOCK, LaneState())
    assert state == LaneState(later(3600), 100, 20, "nothing works")
    rate = RateControl(LIMITS)
    resume(rate, state, 5.0, later(600))
    assert rate.hold_until == 5.0 + 3000.0
    assert (rate.limit.current, rate.meter.limit) == (20, 20)
    assert rate.breaker.is_open
    assert rate.breaker.free_at(5.0) == 5.0, "a trial may leave at once"


def test_it_changes_only_when_something_has() -> None:
    rate, state = learned(), state_of(learned(), 1000.0, CLOCK, LaneState())
    for seconds in (0.0004, 1.7, 3599.0, 3700.0):
        drifted = later(seconds + 0.01)
        assert state_of(rate, 1000.0 + seconds, drifted, state) == state
    rate.breaker.succeeded()
    assert state_of(rate, 1000.0, CLOCK, state).down == ""
    rate.hold(7200.0, 1000.0)
    assert state_of(rate, 1000.0, CLOCK, state).hold_until == later(7200)


def test_a_learned_limit_is_void_under_other_limits() -> None:
    state = state_of(learned(), 1000.0, CLOCK, LaneState())
    rate = RateControl(Limits(requests=50, per_s=60.0))
    resume(rate, state, 5.0, CLOCK)
    assert rate.limit.current == 50


@pytest.mark.parametrize(
    ("hold_until", "wait_s"),
    [(later(1e9), 86_400.0), (later(-5), 0.0), (datetime(9999, 1, 1, tzinfo=UTC), 86_400.0)],
)
def test_no_wait_is_longer_than_any_that_is_heeded(hold_until: datetime, wait_s: float) -> None:
    rate = RateControl(LIMITS)
    resume(rate, LaneState(hold_until=hold_until), 5.0, CLOCK)
    assert rate.hold_until == 5.0 + wait_s


@pytest.mark.parametrize("learned", [-1, 0, 100, 5000])
def test_no_limit_is_learned_that_cannot_be(learned: int) -> None:
    rate = RateControl(LIMITS)
    resume(rate, LaneState(configured=100, learned=learned), 5.0, CLOCK)
    assert rate.limit.current == 100
