"""A burst that exceeds the limit: as many cancels in time as any schedule could make, and no call in vain."""

from __future__ import annotations

from pathlib import Path

import pytest
from burst import Burst, run

from app.contract import Limits


@pytest.mark.parametrize(("seed", "longest_s"), [(1, 900), (2, 1200), (3, 2400)])
async def test_as_many_arrive_in_time_as_any_schedule_could_make(tmp_path: Path, seed: int, longest_s: float) -> None:
    burst = Burst(400, Limits(requests=20, per_s=60), longest_s, seed=seed)
    found = await run(burst, tmp_path)
    assert found.in_time == burst.optimum()
    assert (found.late, found.open) == (0, 0), "no call was made in vain, and nothing is left over"
    assert found.calls + found.expired == burst.size
    assert found.most_in_a_window <= 20
    assert burst.first_come_first_served() < burst.optimum()
