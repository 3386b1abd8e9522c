"""The circuit breaker: stops sending to a provider that is down, but not because single orders fail. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from app.core.lane.pacing import RetrySchedule

PERIODS = RetrySchedule(first_s=2.0, cap_s=4.0)
"""Time from trial to trial. A healthy order behind an open breaker waits for one or two trials."""


@dataclass(slots=True)
class Breaker:
    """Opens when no call succeeds any more, then lets one trial through per period.

    One order that fails again and again does not open it. It opens when calls about `threshold` different orders failed
    with no success between them, over at least `patience_s`; or when `threshold` calls in a row got no response. Any
    success closes it.
    """

    threshold: int = 5
    patience_s: float = 5.0
    """An account's first calls may all be about orders that fail: so long, others can still prove that it works."""
    schedule: RetrySchedule = field(default_factory=lambda: PERIODS)
    failed: set[int] = field(default_factory=set)
    """Orders whose calls failed since the last success; at most `threshold`."""
    unreachable: int = 0
    """Consecutive calls without a response."""
    since: float = 0.0
    """When the first of these failures happened."""
    trials: int | None = None
    """Trials since it opened; None while it is closed."""
    open_until: float = 0.0
    tried: frozenset[int] = frozenset()
    """Orders of the latest trial."""
    tried_at: float = 0.0
    reason: str = ""
    """Why it opened, as shown to people."""

    @property
    def is_open(self) -> bool:
        """Whether only trials may leave."""
        return self.trials is not None

    def free_at(self, now: float) -> float:
        """When a call may leave (≤ `now`: now)."""
        return now if self.trials is None else max(now, self.open_until)

    def start(self, orders: Collection[int], now: float, chance: float) -> None:
        """A call about these orders leaves. `chance` is uniform in [0, 1).

        The next trial does not wait for this one to end: it may hang, and its order may be the only one at fault.
        """
        if self.trials is not None:
            self.trials += 1
            self.tried, self.tried_at = frozenset(orders), now
            self.open_until = now + self.schedule.delay_s(self.trials, chance)

    def reopen(self, reason: str, now: float) -> None:
        """Open it as it was when the last process ended; a trial may leave now."""
        self.trials, self.open_until, self.reason = 0, now, reason

    def withdraw(self, started: float) -> None:
        """The call that started at `started` was not made."""
        if self.trials and self.tried_at == started:
            self.trials -= 1
            self.open_until = started

    def succeeded(self) -> bool:
        """A call succeeded. Returns whether that closed the breaker."""
        was_open = self.is_open
        self.failed.clear()
        self.unreachable, self.trials, self.tried = 0, None, frozenset()
        return was_open

    def failed_call(self, orders: Collection[int], reached: bool, now: float, chance: float) -> bool:
        """A call about these orders failed. Returns whether that opened the breaker.

        Args:
            orders: their numbers. Several orders in one call are one failure.
            reached: the call got a response.
            now: seconds.
            chance: uniform in [0, 1).
        """
        if not self.failed and not self.unreachable:
            self.since = now
        self.unreachable = 0 if reached else self.unreachable + 1
        if len(self.failed) < self.threshold and self.failed.isdisjoint(orders):
            self.failed.add(min(orders, default=0))
        if self.is_open:
            return False
        if self.unreachable >= self.threshold:
            self.reason = f"{self.unreachable} calls in a row did not reach the provider"
        elif len(self.failed) >= self.threshold and now - self.since >= self.patience_s:
            self.reason = f"calls about {len(self.failed)} different orders failed, and none succeeded between them"
        else:
            return False
        self.trials, self.open_until = 0, now + self.schedule.delay_s(1, chance)
        return True
