"""The gate through which all calls of one account pass: it waits for places in the limit, and learns from responses."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from statistics import median

from app.config.resolve import Account
from app.contract import CancelOutcome
from app.core.lane.pacing import meter_of
from app.core.lane.rate_control import RateControl
from app.runtime.uptime import uptime
from app.store import Store
from app.workers.lane_memory import LaneMemory

CLOCKS_DIFFER_S = 4.0
"""The clocks of two nodes may differ by so much: a call that another node recorded may be that much younger."""
WAIT_MAX_S = 60.0
"""How long a flow that is about no order waits for places in the limit, from its begin."""
LATENCIES = 20
"""The latency is the median of so many cancels: one that hung counts little."""


class HeldBackError(Exception):
    """The fence did not let the call leave."""


def require_lease(store: Store) -> None:
    """Raise `HeldBackError` if this node's lease has ended: another may do its work."""
    if store.lease is None or store.lease.left_s <= 0:
        raise HeldBackError("this node's lease has ended")


class RateGate:
    """Lets the calls of one account leave within its limit."""

    def __init__(self, account: Account, store: Store) -> None:
        self.account, self._store = account, store
        """The account as it is now; it may change while a call is under way."""
        self.rate = RateControl(account.limits)
        self.memory = LaneMemory(account.spec.id, store)
        self.restored = asyncio.Event()
        """The meter has counted the calls that were made before it, under the account's limits."""
        self.latency_s = 0.0
        """How long a cancel takes: the median of the latest."""
        self._latencies_s: deque[float] = deque(maxlen=LATENCIES)
        """From claim to response."""
        self._freed = asyncio.Event()
        self._ends = 0
        """How many calls have ended."""
        self._answered: list[tuple[int, datetime]] = []
        """The two orders whose cancels were answered last, and when."""
        self._closing = False
        """Whether the lane ends: who would have to wait for a place gets none."""

    def update(self, account: Account) -> None:
        """The account has a new version."""
        if account.limits != self.account.limits:
            self.restored.clear()
        self.account = account
        self._freed.set()

    def close(self) -> None:
        """Let nobody wait for a place any more."""
        self._closing = True
        self._freed.set()

    def require_open(self) -> None:
        """Raise `HeldBackError` once the lane ends."""
        if self._closing:
            raise HeldBackError("the account goes to another node, or the server stops; try again")

    async def restore(self) -> None:
        """Count the recorded calls under the account's limits.

        Their responses are assumed to have come as late as possible. A call that ends meanwhile may be counted twice;
        none is missed.
        """
        limits, meter, ends = self.account.limits, meter_of(self.account.limits), self._ends
        now, clock = time.monotonic(), datetime.now(UTC)
        slack_s = 0.0 if self._store.single_writer else CLOCKS_DIFFER_S
        calls = await self._store.calls_within(self.account.spec.id, meter.period_s + slack_s, clock, uptime())
        ended = [now - max(0.0, age_s - slack_s) for age_s, count in calls for _ in range(count)]
        meter.restore(ended + [now] * (self._ends - ends))
        for _ in range(self.rate.meter.running):
            meter.start(time.monotonic())
        self.rate.set_limits(limits, meter)
        await self.memory.load(self.rate)
        self.note_latencies(*await self._store.latencies_s(self.account.spec.id, LATENCIES))
        self.memory.note(self.rate)
        if limits == self.account.limits:
            self.restored.set()
        self._freed.set()

    async def acquire(self, latest: float = math.inf) -> None:
        """Wait for a place for one more call, until `latest` on the monotonic clock.

        Raises `HeldBackError` if there is none by then, or the process ends meanwhile.
        """
        while True:
            now = time.monotonic()
            # After a change of limits nothing leaves until the calls are counted under the new ones.
            free = self.rate.free_at(now) if self.restored.is_set() else None
            if free is not None and free <= now:
                break
            self.require_open()
            if now >= latest:
                reason = "its limit is used up, or the provider asked it to wait"
                raise HeldBackError(f"the account may not call its provider now: {reason}")
            self._freed.clear()
            wait_s = min(math.inf if free is None else free, latest) - now
            with suppress(TimeoutError):
                async with asyncio.timeout(None if wait_s == math.inf else wait_s):
                    await self._freed.wait()
        self.rate.meter.start(now)

    async def acquire_next(self, latest: float = math.inf) -> None:
        """Give back the place of the last call, and wait for a place for one more as `acquire` does."""
        self.end_call()
        try:
            await self.acquire(latest)
        except BaseException:
            self.rate.meter.start(time.monotonic())  # the end of the attempt gives it back
            raise

    def end_call(self) -> None:
        """A call has ended: its place becomes free in time."""
        self._ends += 1
        self.rate.meter.end(time.monotonic())

    def wake(self) -> None:
        """A place may be free."""
        self._freed.set()

    @property
    def down(self) -> bool:
        """Whether the provider fails for all orders."""
        return self.rate.breaker.is_open

    def note_answer(self, order: int) -> None:
        """A cancel of the order of that number was answered, and not with a failure."""
        others = [answer for answer in self._answered if answer[0] != order]
        self._answered = [*others[-1:], (order, datetime.now(UTC))]

    def others_answered_at(self, order: int) -> datetime | None:
        """When a cancel of any other order was last answered."""
        return max((at for pk, at in self._answered if pk != order), default=None)

    def note_outcome(self, outcome: CancelOutcome, after_s: float | None) -> None:
        """An outcome that concerns the account as a whole."""
        self.rate.record_response(outcome is CancelOutcome.THROTTLED, after_s, time.monotonic(), chance())
        self.memory.note(self.rate)

    def hold(self, wait_s: float) -> None:
        """Make no call for `wait_s`: the provider asked for it."""
        self.rate.hold(wait_s, time.monotonic())
        self.memory.note(self.rate)

    def note_latencies(self, *latencies_s: float) -> None:
        """Cancels took so long, the latest last."""
        self._latencies_s.extend(latencies_s)
        if self._latencies_s:
            self.latency_s = self.memory.latency_s = median(self._latencies_s)


def chance() -> float:
    """A random number, uniform in [0, 1)."""
    return random.random()  # noqa: S311 - jitter
