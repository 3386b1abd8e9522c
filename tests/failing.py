"""An account's calls on a clock of their own, some of them about orders that always fail.

What decides when which call leaves is the real `RateControl`; the lane's loop, the provider and the time are made up.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field

from app.contract import Limits
from app.core.lane.rate_control import RateControl, RetryBudget
from app.core.results import CANCEL_RETRIES


@dataclass(slots=True)
class Order:
    """One cancel."""

    number: int
    due_at: float
    healthy: bool
    failures: int = 0


@dataclass(slots=True)
class Called:
    """A call that left."""

    at: float
    number: int
    healthy: bool
    open: bool
    """It was a trial of an open breaker."""


@dataclass(slots=True)
class Account:
    """Sends its orders' cancels by the rules of the lane."""

    limits: Limits
    chance: random.Random
    latency_s: float
    down_until: float = 0.0
    """Until then everything fails."""
    now: float = 0.0
    orders: list[Order] = field(default_factory=list)
    calls: list[Called] = field(default_factory=list)
    healthy_calls: int = 0
    rate: RateControl = field(init=False)
    _out: list[tuple[float, int, Order, RetryBudget | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rate = RateControl(self.limits)

    def run(self, until: float, healthy: int | None = None) -> None:
        """Let the time pass, until so many calls about healthy orders have left, if that is earlier."""
        while True:
            self._send()
            if healthy is not None and self.healthy_calls >= healthy:
                return
            moments = [self._out[0][0]] if self._out else []
            moments += [each.due_at for each in self.orders if each.due_at > self.now]
            budget_s, wait_s = self.rate.budget_wait_s(self.now), self.rate.wait_s(self.now)
            if any(each.due_at <= self.now for each in self.orders):
                moments += [self.now + each for each in (budget_s, wait_s) if each]
            following = min(moments, default=until)
            if following >= until:
                self.now = until
                return
            self.now = following
            while self._out and self._out[0][0] <= self.now:
                self._end(*heapq.heappop(self._out)[2:])

    def _send(self) -> None:
        rate = self.rate
        while len(self._out) < self.limits.concurrency and rate.wait_s(self.now) == 0:
            due = [each for each in self.orders if each.due_at <= self.now]
            fresh = [each for each in due if not each.failures]
            retries = [each for each in due if each.failures]
            if retries and rate.may_retry_now(bool(fresh), self.now):
                order = retries[rate.choose_retry([[each.number] for each in retries])]
            elif fresh:
                order = fresh[rate.choose_fresh(len(fresh), self.chance.random())]
            else:
                return
            self.orders.remove(order)
            self.calls.append(Called(self.now, order.number, order.healthy, rate.breaker.is_open))
            self.healthy_calls += order.healthy
            budget = rate.start([order.number], order.failures > 0, self.now, self.chance.random())
            latency_s = self.latency_s * self.chance.uniform(0.5, 1.0)
            heapq.heappush(self._out, (self.now + latency_s, len(self.calls), order, budget))

    def _end(self, order: Order, budget: RetryBudget | None) -> None:
        self.rate.meter.end(self.now)
        if order.healthy and self.now >= self.down_until:
            self.rate.succeeded(budget, self.now)
            return
        self.rate.failed(budget, [order.number], True, self.now, self.chance.random())
        order.failures += 1
        order.due_at = self.now + CANCEL_RETRIES.delay_s(order.failures, self.chance.random())
        self.orders.append(order)
