"""When, and about which orders, an account's next call may leave: its limit, its breaker, its retries. Pure.

`now` is seconds of any steady clock, and `chance` uniform in [0, 1).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from app.contract import Limits
from app.core.lane.breaker import Breaker
from app.core.lane.pacing import AdaptiveLimit, LeakyBucket, Meter, RetrySchedule, SlidingWindow, bounded, meter_of

THROTTLED = RetrySchedule(first_s=1.0, cap_s=60.0)
RETRY_SHARE = 6
"""One in so many calls may be about an order that failed before: the others then take at most 1.2 times as long."""
_PRICE = RETRY_SHARE - 1
TRIED_AGAIN_S = 4.0
"""While nobody else waits, so long after a retry another may leave, however many calls failed before."""


def _share(of: int) -> int:
    return max(1, of // RETRY_SHARE)


def _share_of(limits: Limits) -> Meter:
    if limits.burst is not None and limits.rate_per_s is not None:
        return LeakyBucket(_share(limits.burst), limits.rate_per_s / RETRY_SHARE)
    return SlidingWindow(_share(limits.requests), limits.per_s)


@dataclass(slots=True)
class RetryBudget:
    """Which share of the limit goes to orders that failed before: it is lost to the others, who may come any moment.

    Retries that fail never take more than the share. While others wait, a retry is paid for by calls that succeed:
    one by `RETRY_SHARE - 1` of them. While nobody waits, one may leave as long as fewer calls failed, retries or not,
    than the share, or after a while: many may have failed at once, in an outage that is over by now. One that succeeds
    pays for two more, so after an outage everything is soon sent again as fast as the limit allows.
    """

    limits: Limits
    retries: Meter = field(init=False)
    """Those that failed, and those under way."""
    failed: Meter = field(init=False)
    """All calls that failed."""
    credit: int = 0
    tried_at: float = -math.inf
    """When the last retry left."""

    def __post_init__(self) -> None:
        self.retries, self.failed = _share_of(self.limits), _share_of(self.limits)

    def free_at(self, fresh: bool, now: float) -> float | None:
        """When a retry may leave, if other calls wait (`fresh`) or not; None while only the end of a call can tell."""
        # Retries may hang, all of them: half of the calls that may be under way at once are left for the others.
        if self.retries.running >= max(1, self.limits.concurrency // 2):
            return None
        if self.credit >= _PRICE:
            return self.retries.free_at(now)
        if fresh:
            return None
        share, failed = self.retries.free_at(now), self.failed.free_at(now)
        again = self.tried_at + TRIED_AGAIN_S
        return None if share is None else max(share, now, again if failed is None else min(failed, again))

    def start(self, now: float) -> None:
        """A retry is leaving."""
        self.credit = max(0, self.credit - _PRICE)
        self.tried_at = now
        self.retries.start(now)

    def withdraw(self) -> None:
        """A retry was not made."""
        self.retries.withdraw()

    def ended(self, retry: bool, ok: bool, now: float) -> None:
        """A call is over, be it a retry or not."""
        if ok:
            self.credit = min(self.credit + (2 * _PRICE if retry else 1), 4 * _PRICE)
        else:
            self.failed.start(now)
            self.failed.end(now)
        if retry and ok:
            self.retries.withdraw()
        elif retry:
            self.retries.end(now)

    def scale(self, limit: int) -> None:
        """The limit was learned to be this."""
        self.retries.limit = self.failed.limit = _share(limit)


@dataclass(slots=True)
class Rate:
    """What an account's lane has learned of its provider, and what follows from it for the next call."""

    limits: Limits
    meter: Meter = field(init=False)
    limit: AdaptiveLimit = field(init=False)
    budget: RetryBudget = field(init=False)
    breaker: Breaker = field(default_factory=Breaker)
    hold_until: float = 0.0
    """The provider asked that nobody calls before."""
    denials: int = 0
    """In a row."""

    def __post_init__(self) -> None:
        self.take(self.limits, meter_of(self.limits))

    def take(self, limits: Limits, meter: Meter) -> None:
        """Go by these limits from now on; `meter` knows of the calls that were made before."""
        self.limits, self.meter = limits, meter
        self.limit, self.budget = AdaptiveLimit(limits), RetryBudget(limits)

    def free_at(self, now: float) -> float | None:
        """When one more call may leave (≤ `now`: at once); None while only the end of one that is out can tell."""
        free = self.meter.free_at(now)
        return None if free is None else max(free, self.hold_until)

    def wait_s(self, now: float) -> float | None:
        """0.0: a call about orders may leave now; else how long not, None: until one that is out has ended."""
        free = self.free_at(now)
        return None if free is None else max(0.0, max(free, self.breaker.free_at(now)) - now)

    def is_retry_s_turn(self, fresh: bool, now: float) -> bool:
        """Is the next call one about an order that failed before, if such a call is due? `fresh`: others wait.

        The others go first, but for one in `RETRY_SHARE`: under a load that never ends a retry would else come never.
        """
        if fresh and self.breaker.is_open:
            return False
        free = self.budget.free_at(fresh, now)
        return free is not None and free <= now

    def budget_wait_s(self, now: float) -> float | None:
        """How long no retry may leave; None: until a call that is out has ended."""
        free = self.budget.free_at(fresh=False, now=now)
        return None if free is None else max(0.0, free - now)

    def fresh_one(self, number: int, chance: float) -> int:
        """Which of so many calls about orders that never failed goes first: the most urgent, but any for a trial.

        Behind an open breaker the most urgent may all be about orders that fail.
        """
        return int(number * chance) if self.breaker.is_open else 0

    def untried(self, retries: Sequence[Collection[int]]) -> int:
        """Which of these calls, by the orders they are about, goes first: never twice the same as a trial."""
        if self.breaker.is_open:
            for index, orders in enumerate(retries):
                if self.breaker.tried.isdisjoint(orders):
                    return index
        return 0

    def start(self, orders: Collection[int], retry: bool, now: float, chance: float) -> RetryBudget | None:
        """A call about these orders is leaving; `wait_s` must have said that it may. Gives a retry its budget."""
        self.meter.start(now)
        self.breaker.start(orders, now, chance)
        if not retry:
            return None
        self.budget.start(now)
        return self.budget

    def withdraw(self, budget: RetryBudget | None, started: float) -> None:
        """The call that was to leave at `started` was not made. `budget` is what `start` gave."""
        self.meter.withdraw()
        self.breaker.withdraw(started)
        if budget is not None:
            budget.withdraw()

    def lost(self, budget: RetryBudget | None) -> None:
        """What became of a call about orders is not known: it says nothing of the provider."""
        if budget is not None:
            budget.withdraw()

    def succeeded(self, budget: RetryBudget | None, now: float) -> bool:
        """A call about orders succeeded; True if that closed the breaker. Its place in the limit is not given back."""
        (budget or self.budget).ended(budget is not None, ok=True, now=now)
        return self.breaker.succeeded()

    def failed(
        self, budget: RetryBudget | None, orders: Collection[int], reached: bool, now: float, chance: float
    ) -> bool:
        """A call about these orders failed; True if that opened the breaker. `reached`: somebody answered."""
        (budget or self.budget).ended(budget is not None, ok=False, now=now)
        return self.breaker.failed_call(orders, reached, now, chance)

    def heed(self, denied: bool, after_s: float | None, now: float, chance: float) -> None:
        """An answer says that the limit is reached, or does not. `after_s`: how long it asks to wait."""
        if not denied:
            self.denials = 0
            self.limit.passed(self.meter, now)
        else:
            self.denials += 1
            asked_s = bounded(after_s)
            self.hold(THROTTLED.delay_s(self.denials, chance) if asked_s is None else asked_s, now)
            if asked_s is None:
                self.limit.denied(self.meter, now)
        self.budget.scale(self.limit.current)

    def learn(self, limit: int, now: float) -> None:
        """The provider's true limit is known to be this, which is lower than the configured one."""
        self.limit.current, self.limit.raised_at = limit, now
        self.meter.limit = limit
        self.budget.scale(limit)

    def hold(self, wait_s: float, now: float) -> None:
        """The provider asks the account not to call for so long."""
        self.hold_until = max(self.hold_until, now + (bounded(wait_s) or 0.0))
