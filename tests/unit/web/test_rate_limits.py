"""Leaky buckets: exactly what the rate allows passes, over any time, and memory is bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.web.rate_limits import NAMES_MAX, Buckets


@given(
    st.integers(1, 50),
    st.lists(st.floats(0, 3, allow_nan=False), min_size=1, max_size=200),
)
def test_no_second_sees_more_than_the_rate_and_its_burst(rate: int, gaps: list[float]) -> None:
    buckets, now, passed = Buckets(rate, 2.0), 1000.0, list[float]()
    for gap in gaps:
        now += gap / rate
        wait_s = buckets.wait_s("a", now)
        if not wait_s:
            passed.append(now)
        else:
            assert 0 < wait_s <= 1 / rate + 1e-6, "the next one is not far"
            assert buckets.wait_s("a", now + wait_s) == 0.0, "what it says is enough"
            passed.append(now + wait_s)
            now += wait_s
    for first, start in enumerate(passed):
        for last in range(first, len(passed)):
            assert last - first + 1 <= 2 * rate + (passed[last] - start) * rate + 1e-3


def test_each_name_has_its_own_bucket() -> None:
    buckets = Buckets(1.0, 2.0)
    assert [buckets.wait_s("a", 5.0) for _ in range(4)] == [0.0, 0.0, 1.0, 1.0], "what is refused does not count"
    assert buckets.wait_s("b", 5.0) == 0.0
    assert buckets.wait_s("a", 6.0) == 0.0


def test_no_rate_is_no_limit_and_a_slow_one_passes_one() -> None:
    assert [Buckets(0.0, 2.0).wait_s("a", 1.0) for _ in range(1000)] == [0.0] * 1000
    slow = Buckets(0.01, 2.0)
    assert (slow.wait_s("a", 1.0), round(slow.wait_s("a", 1.0))) == (0.0, 100)


def test_strangers_cannot_use_up_the_memory_nor_empty_the_bucket_of_one() -> None:
    buckets = Buckets(1.0, 60.0)
    for _ in range(60):
        assert buckets.wait_s("attacker", 1.0) == 0.0
    for number in range(30_000):
        buckets.wait_s(str(number), 1.0 + number / 1e6)
        assert len(buckets._empty_at) <= NAMES_MAX
    again = Buckets(1.0, 60.0)
    for _ in range(60):
        again.wait_s("attacker", 1.0)
    for number in range(NAMES_MAX // 2):
        again.wait_s(str(number), 1.0)
    assert again.wait_s("attacker", 1.0) > 0
