from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from app.workers.timers import Timers


async def test_a_moment_that_becomes_known_while_the_next_is_looked_up_is_not_missed() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=1)
    woken: list[bool] = []

    class Store:
        async def lapsed_claims(self, _now: datetime, _limit: int) -> list[Any]:
            return []

        async def recheck_step(self, _limit: int) -> bool:
            return False

        async def overdue(self, _now: datetime, _limit: int) -> list[Any]:
            return []

        async def next_deadline(self) -> datetime | None:
            # A commit right after this look: the node asks whether the timers would notice.
            woken.append(timers.sleeps_beyond(soon))
            return None

    timers = Timers(Store(), None)  # type: ignore[arg-type]
    timers._next = datetime.now(UTC) - timedelta(seconds=1)
    await timers._fire_due()
    assert woken == [True], "it would sleep a minute beyond the moment"
    assert timers.sleeps_beyond(soon)
