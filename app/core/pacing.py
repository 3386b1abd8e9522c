"""When may the next call leave: limits, retries, breaker. Pure: `now` is seconds of any steady clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from app.contract import Limits

ASKED_MAX_S = 24 * 3600.0
"""A provider that asks for a longer wait than this is asked again after it."""


def bounded(asked_s: float | None) -> float | None:
    """The wait that a provider asked for, if it is one: a header may say anything, `inf` and `nan` too."""
    if asked_s is None or not asked_s >= 0:
        return None
    return min(asked_s, ASKED_MAX_S)


@dataclass(slots=True)
class SlidingWindow:
    """At most `limit` calls in any window of `per_s` seconds, as the provider sees them.

    A provider counts a call when it arrives, somewhere between its start here and its end. So a call
    holds its place from its start until `per_s` after its *end*: then any two calls that stood in
    the same place arrived at least `per_s` apart, whatever the network did.
    """

    limit: int
    per_s: float
    running: int = 0
    ended: deque[float] = field(default_factory=deque)

    def free_at(self, now: float) -> float | None:
        """When a place is free (≤ `now`: at once); None while only the end of a running call can free one."""
        while self.ended and self.ended[0] + self.per_s <= now:
            self.ended.popleft()
        excess = self.running + len(self.ended) - self.limit
        if excess < 0:
            return now
        return self.ended[excess] + self.per_s if excess < len(self.ended) else None

    def start(self) -> None:
        """Take a place; `free_at` must have said that there is one."""
        self.running += 1

    def end(self, now: float) -> None:
        """The call that took a place is over."""
        self.running -= 1
        self.ended.append(now)

    def restore(self, ended: Iterable[float]) -> None:
        """Count calls of an earlier process, by the times at which they ended."""
        self.ended = deque(sorted([*self.ended, *ended]))


@dataclass(slots=True)
class AdaptiveLimit:
    """The provider's true limit, learned from its 429s when it is lower than the configured one.

    A denial shows how many calls fit: the limit becomes that number. Each window without a denial
    raises it by a tenth, until it is the configured one again. A single denial after hardly any
    calls is no sign of a lower limit (somebody else used it up, or the provider is in trouble):
    it is only waited out.
    """

    configured: Limits
    current: int = 0
    raised_at: float = 0.0
    denials: int = 0
    """In a row."""

    def __post_init__(self) -> None:
        self.current = self.current or self.configured.requests

    def denied(self, window: SlidingWindow, now: float) -> None:
        """A 429 came although the window had room."""
        fitted = window.running + len(window.ended) - 1
        self.denials += 1
        if self.denials == 1 and fitted < self.configured.requests // 10:
            return
        self.current = max(1, min(self.current - 1, fitted))
        self.raised_at = now
        window.limit = self.current

    def passed(self, window: SlidingWindow, now: float) -> None:
        """A call was let through."""
        self.denials = 0
        if self.current < self.configured.requests and now - self.raised_at >= self.configured.per_s:
            self.current = min(self.configured.requests, self.current + max(1, self.current // 10))
            self.raised_at = now
            window.limit = self.current


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """Exponential backoff with jitter, bounded in delay and number."""

    first_s: float = 2.0
    factor: float = 2.0
    cap_s: float = 300.0
    attempts: int = 10

    def delay_s(self, failures: int, chance: float, asked_s: float | None = None) -> float:
        """How long to wait after the `failures`-th failure (from 1). `chance` is uniform in [0, 1).

        Half of the delay is certain and half is chance, so that many retries neither come at once
        nor all too soon. What the provider asked for is the least.
        """
        full = min(self.cap_s, self.first_s * self.factor ** min(failures - 1, 60))
        return max(full * (0.5 + chance / 2), bounded(asked_s) or 0.0)


@dataclass(slots=True)
class Breaker:
    """Stops sending to a provider that fails again and again; lets one call through after a while to see."""

    threshold: int = 5
    schedule: RetrySchedule = field(default=RetrySchedule(first_s=5.0, cap_s=120.0))
    failures: int = 0
    opened: int = 0
    open_until: float = 0.0
    before: int = 0
    """Calls under way that left before it opened. When they fail too, they tell nothing new."""
    running: int = 0
    trial: bool = False

    def free_at(self, now: float) -> float | None:
        """When a call may pass (≤ `now`: at once); None while a trial call is under way."""
        if self.failures < self.threshold:
            return now
        return None if self.trial else max(now, self.open_until)

    def start(self) -> None:
        """A call is leaving."""
        self.running += 1
        self.trial = self.failures >= self.threshold

    def withdraw(self) -> None:
        """The call was not made after all; of those under way, the ones from before it opened come first."""
        self.running -= 1
        if self.before:
            self.before -= 1
        else:
            self.trial = False

    def ended(self, ok: bool, now: float, chance: float) -> None:
        """A call is over; `ok` unless the provider could not be reached or failed."""
        self.running -= 1
        if ok:
            self.failures = self.opened = self.before = 0
            self.trial = False
            return
        if self.before:
            self.before -= 1
            return
        self.trial = False
        self.failures += 1
        if self.failures >= self.threshold:
            self.opened += 1
            self.before = self.running
            self.open_until = now + self.schedule.delay_s(self.opened, chance)
