"""When an account's next call may leave, and about which orders: limit, breaker and retry budget. Pure.

`now` is seconds of any monotonic clock, and `chance` uniform in [0, 1).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from app.contract import Limits
from app.core.lane.breaker import Breaker
from app.core.lane.pacing import (
    AdaptiveLimit,
    LeakyBucket,
    Meter,
    RetrySchedule,
    SlidingWindow,
    bounded_wait_s,
    meter_of,
)

THROTTLED = RetrySchedule(first_s=1.0, cap_s=60.0)
RETRY_SHARE = 6
"""One in so many calls may be a retry: other calls then take at most 1.2 times as long."""
_RETRY_COST = RETRY_SHARE - 1
IDLE_RETRY_S = 4.0
"""While no other call waits, a retry may leave so long after the last one, however many calls failed."""


def _share(of: int) -> int:
    return max(1, of // RETRY_SHARE)


def _share_of(limits: Limits) -> Meter:
    if limits.burst is not None and limits.rate_per_s is not None:
        return LeakyBucket(_share(limits.burst), limits.rate_per_s / RETRY_SHARE)
    return SlidingWindow(_share(limits.requests), limits.per_s)


@dataclass(slots=True)
class RetryBudget:
    """The share of the limit that orders which failed before may use; other orders may arrive at any moment.

    Failing retries never use more than the share. While other calls wait, `RETRY_SHARE - 1` successful calls pay for a
    retry. While none waits, a retry may leave as long as fewer calls failed than the share, or after `IDLE_RETRY_S`:
    many calls may have failed in an outage that is over. A retry that succeeds pays for two more, so that after an
    outage everything is soon sent as fast as the limit allows.
    """

    limits: Limits
    retries: Meter = field(init=False)
    """Retries that failed or are under way."""
    failed: Meter = field(init=False)
    """All failed calls."""
    credit: int = 0
    tried_at: float = -math.inf
    """When the last retry left."""

    def __post_init__(self) -> None:
        self.retries, self.failed = _share_of(self.limits), _share_of(self.limits)

    def free_at(self, fresh: bool, now: float) -> float | None:
        """When a retry may leave, given whether `fresh` calls wait; None if only the end of a call can tell."""
        # All retries may hang: half of the concurrency is left for other calls.
        if self.retries.running >= max(1, self.limits.concurrency // 2):
            return None
        if self.credit >= _RETRY_COST:
            return self.retries.free_at(now)
        if fresh:
            return None
        share, failed = self.retries.free_at(now), self.failed.free_at(now)
        again = self.tried_at + IDLE_RETRY_S
        return None if share is None else max(share, now, again if failed is None else min(failed, again))

    def start(self, now: float) -> None:
        """A retry leaves."""
        self.credit = max(0, self.credit - _RETRY_COST)
        self.tried_at = now
        self.retries.start(now)

    def withdraw(self) -> None:
        """A started retry was not made."""
        self.retries.withdraw()

    def ended(self, retry: bool, ok: bool, now: float) -> None:
        """A call has ended; `retry`: it was a retry."""
        if ok:
            self.credit = min(self.credit + (2 * _RETRY_COST if retry else 1), 4 * _RETRY_COST)
        else:
            self.failed.start(now)
            self.failed.end(now)
        if retry and ok:
            self.retries.withdraw()
        elif retry:
            self.retries.end(now)

    def scale(self, limit: int) -> None:
        """Adapt to a learned limit."""
        self.retries.limit = self.failed.limit = _share(limit)


@dataclass(slots=True)
class RateControl:
    """What an account's lane knows of its provider, and when its next call may leave."""

    limits: Limits
    meter: Meter = field(init=False)
    limit: AdaptiveLimit = field(init=False)
    budget: RetryBudget = field(init=False)
    breaker: Breaker = field(default_factory=Breaker)
    hold_until: float = 0.0
    """The provider asked for no calls before then."""
    denials: int = 0
    """Consecutive denials."""

    def __post_init__(self) -> None:
        self.set_limits(self.limits, meter_of(self.limits))

    def set_limits(self, limits: Limits, meter: Meter) -> None:
        """Apply these limits from now on; `meter` has counted the calls before."""
        self.limits, self.meter = limits, meter
        self.limit, self.budget = AdaptiveLimit(limits), RetryBudget(limits)

    def free_at(self, now: float) -> float | None:
        """When one more call may leave (≤ `now`: now); None if only the end of a running call can tell."""
        free = self.meter.free_at(now)
        return None if free is None else max(free, self.hold_until)

    def wait_s(self, now: float) -> float | None:
        """How long no call about orders may leave (0.0: one may leave now); None: until a running call ends."""
        free = self.free_at(now)
        return None if free is None else max(0.0, max(free, self.breaker.free_at(now)) - now)

    def may_retry_now(self, fresh: bool, now: float) -> bool:
        """Whether the next call may be a retry, given whether `fresh` calls wait.

        Fresh calls go first, except for one in `RETRY_SHARE`: else constant load would delay retries for ever.
        """
        if fresh and self.breaker.is_open:
            return False
        free = self.budget.free_at(fresh, now)
        return free is not None and free <= now

    def budget_wait_s(self, now: float) -> float | None:
        """How long no retry may leave; None: until a running call ends."""
        free = self.budget.free_at(fresh=False, now=now)
        return None if free is None else max(0.0, free - now)

    def choose_fresh(self, number: int, chance: float) -> int:
        """Index of the fresh call that goes first: the most urgent; as a trial any of `number`.

        Behind an open breaker the most urgent ones may all be about orders that fail.
        """
        return int(number * chance) if self.breaker.is_open else 0

    def choose_retry(self, retries: Sequence[Collection[int]]) -> int:
        """Index of the retry that goes first, by their orders; never the same as a trial twice in a row."""
        if self.breaker.is_open:
            for index, orders in enumerate(retries):
                if self.breaker.tried.isdisjoint(orders):
                    return index
        return 0

    def start(self, orders: Collection[int], retry: bool, now: float, chance: float) -> RetryBudget | None:
        """A call about these orders leaves, which `wait_s` must allow. Returns the budget that a retry uses."""
        self.meter.start(now)
        self.breaker.start(orders, now, chance)
        if not retry:
            return None
        self.budget.start(now)
        return self.budget

    def withdraw(self, budget: RetryBudget | None, started: float) -> None:
        """The call that started at `started` was not made. `budget` is what `start` returned."""
        self.meter.withdraw()
        self.breaker.withdraw(started)
        if budget is not None:
            budget.withdraw()

    def outcome_unknown(self, budget: RetryBudget | None) -> None:
        """The outcome of a call about orders is unknown: it tells nothing about the provider."""
        if budget is not None:
            budget.withdraw()

    def succeeded(self, budget: RetryBudget | None, now: float) -> bool:
        """A call about orders succeeded. Returns whether that closed the breaker."""
        (budget or self.budget).ended(budget is not None, ok=True, now=now)
        return self.breaker.succeeded()

    def failed(
        self, budget: RetryBudget | None, orders: Collection[int], reached: bool, now: float, chance: float
    ) -> bool:
        """A call about these orders failed. Returns whether that opened the breaker. `reached`: it got a response."""
        (budget or self.budget).ended(budget is not None, ok=False, now=now)
        return self.breaker.failed_call(orders, reached, now, chance)

    def record_response(self, denied: bool, after_s: float | None, now: float, chance: float) -> None:
        """A response denies the call for the limit (`denied`), or lets it pass. `after_s`: the wait it asks for."""
        if not denied:
            self.denials = 0
            self.limit.passed(self.meter, now)
        else:
            self.denials += 1
            wait_s = bounded_wait_s(after_s)
            self.hold(THROTTLED.delay_s(self.denials, chance) if wait_s is None else wait_s, now)
            if wait_s is None:
                self.limit.denied(self.meter, now)
        self.budget.scale(self.limit.current)

    def learn(self, limit: int, now: float) -> None:
        """The provider's true limit is `limit`, lower than the configured one."""
        self.limit.current, self.limit.raised_at = limit, now
        self.meter.limit = limit
        self.budget.scale(limit)

    def hold(self, wait_s: float, now: float) -> None:
        """Make no call for `wait_s`: the provider asked for it."""
        self.hold_until = max(self.hold_until, now + (bounded_wait_s(wait_s) or 0.0))
