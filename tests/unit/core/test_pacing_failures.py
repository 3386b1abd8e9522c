from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.pacing import Breaker, RetrySchedule, bounded

# -- RetrySchedule ---------------------------------------------------------------------------

chances = st.floats(0, 1, exclude_max=True)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 10**6), chances, chances, st.none() | st.floats(0, 3600))
def test_a_delay_is_between_half_and_all_of_the_backoff_and_no_less_than_asked_for(
    failures: int, chance: float, other: float, asked_s: float | None
) -> None:
    schedule = RetrySchedule(first_s=2.0, factor=2.0, cap_s=300.0)
    delay_s = schedule.delay_s(failures, chance)

    assert 1.0 <= delay_s <= 300.0
    full = min(300.0, 2.0 * 2.0 ** min(failures - 1, 20))
    assert full / 2 <= delay_s <= full
    assert schedule.delay_s(failures + 1, chance) >= delay_s
    assert (schedule.delay_s(failures, other) > delay_s) <= (other > chance)
    assert schedule.delay_s(failures, chance, asked_s) == max(delay_s, asked_s or 0.0)


def test_half_of_a_delay_is_chance() -> None:
    schedule = RetrySchedule(first_s=4.0, factor=3.0, cap_s=20.0)

    assert [schedule.delay_s(n, 0.0) for n in (1, 2, 3, 4)] == [2.0, 6.0, 10.0, 10.0]
    assert [schedule.delay_s(n, 0.5) for n in (1, 2, 3, 4)] == [3.0, 9.0, 15.0, 15.0]


@pytest.mark.parametrize(
    ("asked_s", "taken_s"),
    [(None, None), (0.0, 0.0), (5.0, 5.0), (86_400.0, 86_400.0), (1e15, 86_400.0), (float("inf"), 86_400.0)],
)
def test_a_wait_that_the_provider_asks_for_is_taken_up_to_a_day(asked_s: float | None, taken_s: float | None) -> None:
    assert bounded(asked_s) == taken_s


@pytest.mark.parametrize("asked_s", [-1.0, float("-inf"), float("nan")])
def test_what_is_no_wait_is_not_taken(asked_s: float) -> None:
    assert bounded(asked_s) is None


# -- Breaker ---------------------------------------------------------------------------------


def failing(breaker: Breaker, times: int, now: float = 100.0, chance: float = 0.0) -> Breaker:
    for _ in range(times):
        breaker.start()
        breaker.ended(ok=False, now=now, chance=chance)
    return breaker


def test_a_breaker_opens_only_after_so_many_failures_in_a_row() -> None:
    breaker = failing(Breaker(threshold=3), 2)
    assert breaker.free_at(100) == 100
    breaker.start()
    breaker.ended(ok=True, now=100, chance=0)
    failing(breaker, 2)
    assert breaker.free_at(100) == 100

    failing(breaker, 1)
    assert breaker.free_at(100) == 102.5
    assert breaker.free_at(102) == 102.5
    assert breaker.free_at(103) == 103


def test_an_open_breaker_lets_one_trial_through_and_closes_when_it_succeeds() -> None:
    breaker = failing(Breaker(threshold=3), 3)
    breaker.start()
    assert breaker.free_at(1000) is None, "the trial is under way"
    breaker.ended(ok=True, now=1001, chance=0)

    assert breaker.free_at(1001) == 1001
    failing(breaker, 2)
    assert breaker.free_at(1001) == 1001, "it counts from the start again"


def test_each_trial_that_fails_keeps_it_open_for_longer_up_to_a_limit() -> None:
    breaker = failing(Breaker(threshold=1, schedule=RetrySchedule(first_s=4.0, cap_s=20.0)), 1, now=0.0)
    waits = []
    for _ in range(5):
        now = breaker.free_at(0.0)
        assert now is not None
        failing(breaker, 1, now)
        free_at = breaker.free_at(now)
        assert free_at is not None
        waits.append(free_at - now)

    assert waits == [4.0, 8.0, 10.0, 10.0, 10.0]
    breaker.start()
    breaker.ended(ok=True, now=500.0, chance=0.0)
    failing(breaker, 1, 500.0)
    assert breaker.free_at(500.0) == 502.0, "after a success it is patient again"


def test_a_call_that_was_not_made_after_all_tells_nothing() -> None:
    breaker = failing(Breaker(threshold=1), 1)
    breaker.start()
    breaker.withdraw()

    assert breaker.free_at(1000.0) == 1000.0, "there is no trial under way"
    breaker.start()
    assert breaker.free_at(1000.0) is None


def test_a_call_that_left_before_it_opened_and_was_not_made_does_not_end_the_trial() -> None:
    breaker = Breaker(threshold=2)
    breaker.start()  # waits for leave, and gets none
    failing(breaker, 2, now=0.0)
    breaker.start()  # the trial
    breaker.withdraw()

    assert breaker.free_at(1000.0) is None, "the trial is still under way"
    breaker.ended(ok=False, now=1000.0, chance=0.0)
    assert breaker.free_at(1000.0) == 1005.0, "the trial has failed"


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(["start", "start", "ok", "fails", "fails", "withdraw"]), max_size=20))
def test_a_breaker_lets_a_call_through_again_whatever_became_of_those_before(script: list[str]) -> None:
    breaker, now, running = Breaker(threshold=1), 0.0, 0
    for what in script:
        if what == "start":
            free_at = breaker.free_at(now)
            if free_at is not None:
                now = max(now, free_at)
                breaker.start()
                running += 1
        elif running:
            running -= 1
            breaker.withdraw() if what == "withdraw" else breaker.ended(what == "ok", now, 0.5)
    for _ in range(running):
        breaker.ended(ok=False, now=now, chance=0.5)

    free_at = breaker.free_at(now)
    assert free_at is not None, "nothing is under way, so nothing can ever close or open it"
    assert free_at <= now + 120.0


def test_when_it_closes_every_call_counts_again() -> None:
    breaker = Breaker(threshold=2)
    for _ in range(4):
        breaker.start()
    for ok in (False, False, True):
        breaker.ended(ok, now=0.0, chance=0.0)
    assert breaker.free_at(0.0) == 0.0
    breaker.ended(ok=False, now=0.0, chance=0.0)
    failing(breaker, 1, now=0.0)

    assert breaker.free_at(0.0) == 2.5


@pytest.mark.parametrize("ok", [True, False])
def test_a_call_that_left_before_it_opened_does_not_end_the_trial(ok: bool) -> None:
    breaker = Breaker(threshold=2)
    breaker.start()  # a call that takes long
    failing(breaker, 2, now=0.0)
    breaker.start()  # the trial
    breaker.ended(ok=ok, now=10.0, chance=0.0)  # the long one
    if not ok:
        assert breaker.free_at(1000.0) is None, "the trial is still under way"
    else:
        assert breaker.free_at(1000.0) == 1000.0, "it was heard of the provider that it works"


def test_calls_that_fail_together_open_it_once() -> None:
    breaker = Breaker(threshold=2)
    for _ in range(6):
        breaker.start()
    for _ in range(6):
        breaker.ended(ok=False, now=100.0, chance=0.0)

    assert breaker.free_at(100.0) == 102.5, "they left before it opened, and tell nothing new"
