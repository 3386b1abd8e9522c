"""Polling: which orders to probe because no webhook came.

For providers that send no webhooks, or stopped sending them. Only the probes' snapshots are stored: an order of which
an event was recorded is no longer due.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from app.config.models import Polling
from app.config.resolve import Account
from app.core.aggregate import Job, JobKind
from app.core.lane.pacing import RetrySchedule
from app.store import Store

LOOK_AGAIN_MAX_S = 60.0
LOOK_AGAIN_MIN_S = 0.05
UNANSWERED_MAX_S = 24 * 3600.0


@dataclass(slots=True)
class Polls:
    """One account's polling."""

    store: Store
    heard_at: float = field(default_factory=time.monotonic)
    """When the account's latest webhook was recorded by this node, or the polling began; on the monotonic clock."""
    _asked: dict[int, tuple[float, int]] = field(default_factory=dict)
    """Order number → (until when it is not probed again, how often it was probed in vain); an event clears it."""

    def heard(self) -> None:
        """A webhook of the account was recorded by this node."""
        self.heard_at = time.monotonic()

    def look_again_s(self, polling: Polling) -> float:
        """In how many seconds to look for orders again."""
        return min(LOOK_AGAIN_MAX_S, max(LOOK_AGAIN_MIN_S, polling.every_s / 4))

    async def due(self, account: Account, clock: datetime, most: int, busy: Collection[int]) -> list[tuple[int, Job]]:
        """At most `most` probes to make now, of the orders without an event for longest first."""
        polling, id = account.spec.polling, account.spec.id
        if polling is None or not await self._is_wanted(id, polling, clock):
            return []
        now = time.monotonic()
        before = clock - timedelta(seconds=polling.every_s)
        quiet = await self.store.quiet_orders(id, before, most + len(busy) + len(self._asked))
        numbers = {pk for pk, _ in quiet}
        # An order that is no longer quiet had an event, and the count of probes in vain begins anew.
        self._asked = {pk: asked for pk, asked in self._asked.items() if pk in numbers}
        schedule = RetrySchedule(first_s=polling.every_s, cap_s=max(polling.every_s, UNANSWERED_MAX_S))
        jobs: list[tuple[int, Job]] = []
        for pk, order in quiet:
            until, vain = self._asked.get(pk, (0.0, 0))
            if pk in busy or until > now or len(jobs) >= most:
                continue
            self._asked[pk] = (now + schedule.delay_s(vain + 1, 1.0), vain + 1)
            jobs.append((pk, Job(id, order, JobKind.PROBE, clock, poll=True)))
        return jobs

    async def _is_wanted(self, account: str, polling: Polling, clock: datetime) -> bool:
        if polling.when == "always":
            return True
        if time.monotonic() - self.heard_at < polling.quiet_after_s:
            return False
        # Another node may have heard.
        quiet_since = clock - timedelta(seconds=polling.quiet_after_s)
        return self.store.single_writer or not await self.store.heard_since(account, quiet_since)
