"""The breaker opens for a provider that is down, not for orders that fail; open, it lets one call through a period."""

from __future__ import annotations

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from app.core.lane.breaker import Breaker
from app.core.lane.pacing import RetrySchedule

SCHEDULE = RetrySchedule(first_s=2.0, cap_s=5.0)


def fails(breaker: Breaker, order: int, now: float, *, reached: bool = True) -> bool:
    breaker.start([order], now, 0.0)
    return breaker.failed_call([order], reached, now, 0.0)


def opened(now: float = 100.0) -> Breaker:
    """Open since `now`; the next call may leave a second later."""
    breaker = Breaker(threshold=5, schedule=SCHEDULE)
    for order in range(4):
        assert not fails(breaker, order, now - 10)
    assert fails(breaker, 4, now)
    return breaker


def test_one_order_that_fails_again_and_again_does_not_open_it() -> None:
    breaker = Breaker()
    for now in range(1000):
        assert not fails(breaker, 1, float(now))
    assert breaker.free_at(1000.0) == 1000.0


def test_fewer_orders_than_the_threshold_do_not_open_it_however_often_they_fail() -> None:
    breaker = Breaker(threshold=5)
    for now in range(1000):
        assert not fails(breaker, now % 4, float(now))


def test_failures_of_different_orders_open_it_if_nothing_succeeds_between_them() -> None:
    breaker = opened(100.0)
    assert breaker.is_open
    assert "5 different orders" in breaker.reason
    assert breaker.free_at(100.0) == 101.0
    breaker = Breaker(threshold=5)
    for order in range(100):
        fails(breaker, order, float(order))
        if order % 4 == 3:
            breaker.succeeded()
    assert not breaker.is_open


def test_it_waits_whether_others_succeed_before_it_opens() -> None:
    breaker = Breaker(threshold=5, patience_s=5.0)
    for order in range(50):
        assert not fails(breaker, order, 0.09 * order), "for a while the others get their chance"
    assert fails(breaker, 50, 5.0)


def test_calls_that_reach_nobody_open_it_whichever_order_they_are_about() -> None:
    breaker = Breaker(threshold=5)
    assert [fails(breaker, 1, 0.0, reached=False) for _ in range(5)] == [False] * 4 + [True]
    assert "did not reach" in breaker.reason
    breaker = Breaker(threshold=5)
    for _ in range(100):
        assert not any(fails(breaker, 1, 0.0, reached=False) for _ in range(4))
        fails(breaker, 1, 0.0)


def test_a_success_of_any_order_closes_it() -> None:
    breaker = opened(100.0)
    assert breaker.succeeded()
    assert breaker.free_at(100.0) == 100.0
    assert not breaker.succeeded(), "it was closed already"
    assert not fails(breaker, 4, 200.0), "it counts from the start again"


def test_open_it_lets_one_trial_through_each_period_which_ends_at_five_seconds() -> None:
    breaker, now, gaps = opened(0.0), 1.0, []
    for order in range(10):
        assert breaker.free_at(now) == now
        breaker.start([order], now, 0.999999)
        breaker.failed_call([order], True, now, 0.0)
        following = breaker.free_at(now)
        gaps.append(round(following - now, 3))
        now = following
    assert gaps == [2.0, 4.0] + [5.0] * 8


def test_a_trial_that_hangs_does_not_hold_up_the_next() -> None:
    breaker = opened(0.0)
    breaker.start([9], 1.0, 0.0)
    assert breaker.free_at(1.5) == 2.0


def test_a_trial_that_was_not_made_after_all_leaves_its_turn_to_another() -> None:
    breaker = opened(0.0)
    breaker.start([9], 1.0, 0.0)
    breaker.withdraw(1.0)
    assert breaker.free_at(1.1) == 1.1
    breaker.start([9], 1.1, 0.0)
    breaker.start([8], 9.0, 0.0)
    breaker.withdraw(1.1)
    assert breaker.free_at(9.1) > 9.1, "the later trial was made"


def test_several_orders_in_one_call_are_one_failure() -> None:
    breaker = Breaker(threshold=2, patience_s=0.0)
    assert not breaker.failed_call(range(100), True, 0.0, 0.0)
    assert not breaker.failed_call(range(50), True, 1.0, 0.0), "the same orders again tell nothing new"
    assert breaker.failed_call([100], True, 1.0, 0.0)


@examples(200)
@given(st.lists(st.tuples(st.sampled_from(["fails", "hangs", "lost", "withdraw"]), st.integers(0, 9)), max_size=60))
def test_a_provider_that_is_down_gets_no_more_than_one_trial_each_period(script: list[tuple[str, int]]) -> None:
    breaker, made = opened(0.0), list[float]()
    now = 0.0
    for what, order in script:
        now = breaker.free_at(now)
        breaker.start([order], now, 0.0)
        if what == "withdraw":
            breaker.withdraw(now)
            continue
        made.append(now)
        if what != "hangs":
            breaker.failed_call([order], what == "fails", now, 0.0)
    shortest = [min(2.5, 1.0 * 2**n) for n in range(len(made))]
    assert all(later - earlier >= gap for earlier, later, gap in zip(made, made[1:], shortest, strict=False))


@pytest.mark.parametrize("reached", [True, False])
def test_what_left_before_it_opened_and_fails_then_changes_nothing(reached: bool) -> None:
    breaker = opened(0.0)
    free_at = breaker.free_at(0.0)
    assert not breaker.failed_call([77], reached, 0.5, 0.9)
    assert breaker.free_at(0.0) == free_at
