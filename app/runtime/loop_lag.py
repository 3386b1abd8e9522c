"""Measures the lag of the event loop: how long a task that is due has to wait."""

from __future__ import annotations

import asyncio
from time import monotonic

from app.runtime import metrics

PERIOD_S = 0.1
MISSED_MAX = 600
"""Looks that are made up for after the loop stood still: a minute of them."""


async def measure_lag() -> None:
    """Observe the lag until canceled.

    Looks that fell into a standstill count as well, each with what was left of it: or else one of five seconds would
    be one long wait among thousands of short ones, though everybody waited who came in these five seconds.
    """
    due = monotonic() + PERIOD_S
    while True:
        await asyncio.sleep(max(0.0, due - monotonic()))
        now = monotonic()
        lag = max(0.0, now - due)
        missed = min(int(lag / PERIOD_S), MISSED_MAX)
        for number in range(missed + 1):
            metrics.LOOP_LAG.observe(lag - number * PERIOD_S)
        due = max(due + (missed + 1) * PERIOD_S, now)
