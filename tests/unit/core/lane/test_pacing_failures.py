from __future__ import annotations

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from app.core.lane.pacing import RetrySchedule, bounded_wait_s

# -- RetrySchedule ---------------------------------------------------------------------------

chances = st.floats(0, 1, exclude_max=True)


@examples(200)
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
    assert bounded_wait_s(asked_s) == taken_s


@pytest.mark.parametrize("asked_s", [-1.0, float("-inf"), float("nan")])
def test_what_is_no_wait_is_not_taken(asked_s: float) -> None:
    assert bounded_wait_s(asked_s) is None
