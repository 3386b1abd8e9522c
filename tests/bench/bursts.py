"""How many cancels of a burst leave in time: as they are sent, as any schedule could, and first come, first served."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from rich.table import Table

from app.contract import Limits
from tests.burst import Burst, run

SIZE = 5000
LIMITS = Limits(requests=100, per_s=60)
LONGEST_S = (900.0, 3000.0, 5400.0)
"""The latest deadline: there is room for less than a third of the burst, for all but a few, and for more."""


def table() -> Table:
    """5,000 cancels at 100 in 60 s, on a simulated clock."""
    shown = Table(
        "deadlines within",
        "in time",
        "optimum",
        "first come, first served",
        "calls in vain",
        title="A burst of 5,000 cancels at 100 in 60 s",
    )
    for longest_s in LONGEST_S:
        burst = Burst(SIZE, LIMITS, longest_s)
        with tempfile.TemporaryDirectory(prefix="rescind-bench-") as folder:
            found = asyncio.run(run(burst, Path(folder)))
        figures = (found.in_time, burst.optimum(), burst.first_come_first_served(), found.late)
        shown.add_row(f"{longest_s / 60:.0f} min", *(f"{each:,}" for each in figures))
    return shown
