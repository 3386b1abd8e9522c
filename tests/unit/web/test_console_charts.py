"""Charts of the console: what is drawn is what was counted."""

from __future__ import annotations

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from app.web.console.charts import BARS_MAX, BOTTOM, HEIGHT, LEFT, TOP, WIDTH, stacked_bars

SERIES = ("canceled", "open")
counts = st.dictionaries(st.sampled_from(SERIES), st.integers(0, 100_000))


@given(st.dictionaries(st.integers(0, 2000), counts, min_size=1))
def test_bars_stack_without_gaps_within_the_frame(by_day: dict[int, dict[str, int]]) -> None:
    days = {date(2026, 1, 1) + timedelta(days=number): found for number, found in by_day.items()}
    chart = stacked_bars(days, SERIES)
    assert chart is not None
    assert sum(sum(row.values()) for _, row in chart.rows) == sum(sum(found.values()) for found in days.values())
    assert len({part.x for part in chart.parts}) <= BARS_MAX
    ends: dict[float, float] = {}
    for part in chart.parts:
        assert part.x >= LEFT
        assert part.x + part.width <= WIDTH + 1
        assert part.y >= TOP - 0.2
        assert abs(part.y + part.height - ends.get(part.x, HEIGHT - BOTTOM)) < 0.2
        ends[part.x] = part.y
    assert 2 <= len(chart.lines) <= 6
    assert set(chart.series) == {part.series for part in chart.parts}


def test_heights_are_in_proportion() -> None:
    chart = stacked_bars({date(2026, 1, 1): {"open": 10}, date(2026, 1, 2): {"canceled": 5, "open": 15}}, SERIES)
    assert chart is not None
    heights = [part.height for part in chart.parts]
    assert abs(heights[0] / heights[1] - 2) < 0.02
    assert abs(heights[2] / heights[1] - 3) < 0.02
    assert stacked_bars({}, SERIES) is None
