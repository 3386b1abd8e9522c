"""When may the next call leave: limits, retries, breaker. Pure: `now` is seconds of any steady clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil

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

    @property
    def span_s(self) -> float:
        """For how long a call that has ended counts, at the most."""
        return self.per_s

    def used(self, now: float) -> int:
        """How many places are taken."""
        while self.ended and self.ended[0] + self.per_s <= now:
            self.ended.popleft()
        return self.running + len(self.ended)

    def turns(self, now: float, latency_s: float) -> Callable[[int], float]:
        """Tells when a call that so many others precede will start, if each takes `latency_s`."""
        self.used(now)
        free = max(0, self.limit - self.running - len(self.ended))
        waits = [each + self.per_s for each in self.ended] + [now + latency_s + self.per_s] * self.running
        # Each place is free again so long after it was taken: then the order of the places stays what it is.
        places = sorted([now] * free + waits)[-self.limit :]

        def turn(ahead: int) -> float:
            rounds, place = divmod(ahead, len(places))
            return places[place] + rounds * (self.per_s + latency_s)

        return turn

    def start(self, now: float) -> None:  # noqa: ARG002 - a bucket needs it
        """Take a place; `free_at` must have said that there is one."""
        self.running += 1

    def end(self, now: float) -> None:
        """The call that took a place is over."""
        self.running -= 1
        self.ended.append(now)

    def withdraw(self) -> None:
        """The call that took a place was not made."""
        self.running -= 1

    def recent(self, now: float) -> list[float]:
        """When the calls that count still ended; what runs is not among them."""
        self.used(now)
        return list(self.ended)

    def restore(self, ended: Iterable[float]) -> None:
        """Count calls of an earlier process, by the times at which they ended."""
        self.ended = deque(sorted([*self.ended, *ended]))


@dataclass(slots=True)
class LeakyBucket:
    """At most `limit` calls at once, and one more each 1 / `rate_per_s` seconds, as the provider sees them.

    As with the window, a call arrives at the provider somewhere between its start and its end. So what
    is running does not leak yet: then the level here is never below the provider's own.
    """

    limit: int
    rate_per_s: float
    running: int = 0
    level: float = 0.0
    """As of `at`; the calls that run are part of it."""
    at: float = 0.0

    @property
    def span_s(self) -> float:
        """For how long a call that has ended counts, at the most."""
        return self.limit / self.rate_per_s

    def free_at(self, now: float) -> float | None:
        """When a place is free (≤ `now`: at once); None while only the end of a running call can free one."""
        self._leak(now)
        if self.level + 1 <= self.limit:
            return now
        if self.running + 1 > self.limit:
            return None
        return now + (self.level + 1 - self.limit) / self.rate_per_s

    def used(self, now: float) -> int:
        """How many places are taken."""
        self._leak(now)
        return ceil(self.level)

    def turns(self, now: float, latency_s: float) -> Callable[[int], float]:
        """Tells when a call that so many others precede will start, if each takes `latency_s`."""
        self._leak(now)
        # What runs begins to leak when it has ended.
        begins, short = now + (latency_s if self.running else 0.0), self.level + 1 - self.limit
        return lambda ahead: now if short + ahead <= 0 else begins + (short + ahead) / self.rate_per_s

    def start(self, now: float) -> None:
        """Take a place; `free_at` must have said that there is one."""
        self._leak(now)
        self.running += 1
        self.level += 1

    def end(self, now: float) -> None:
        """The call that took a place is over, and begins to leak."""
        self._leak(now)
        self.running -= 1

    def withdraw(self) -> None:
        """The call that took a place was not made."""
        self.running -= 1
        self.level -= 1

    def recent(self, now: float) -> list[float]:
        """Calls that weigh as much as what has not leaked yet; what runs is not among them."""
        return [now] * (self.used(now) - self.running)

    def restore(self, ended: Iterable[float]) -> None:
        """Count earlier calls, by the times at which they ended; before any call of this process.

        Of what was before the first of them nothing is known: the bucket may have been full. Above its limit it
        never was.
        """
        moments = sorted(ended)
        if moments:
            self.level, self.at = float(self.limit), min(moments[0], moments[-1] - self.span_s)
        for moment in moments:
            self._leak(moment)
            self.level = min(float(self.limit), self.level + 1)

    def _leak(self, now: float) -> None:
        if now > self.at:
            self.level = max(float(self.running), self.level - (now - self.at) * self.rate_per_s)
            self.at = now


Meter = SlidingWindow | LeakyBucket


def meter_of(limits: Limits) -> Meter:
    """What counts an account's calls under its limits."""
    if limits.burst is not None and limits.rate_per_s is not None:
        return LeakyBucket(limits.burst, limits.rate_per_s)
    return SlidingWindow(limits.requests, limits.per_s)


def most_urgent_first(turn: Callable[[int], float], deadlines: Sequence[float]) -> list[float]:
    """When each call starts, the most urgent first; `deadlines` are in that order.

    What cannot start before its deadline takes no turn from others; for it this is when its turn would have come.
    Of calls that all may start now, no other order brings more in time.
    """
    started, starts = 0, []
    for deadline in deadlines:
        starts.append(turn(started))
        started += starts[-1] < deadline
    return starts


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
        self.current = self.current or self.full

    @property
    def full(self) -> int:
        """The configured limit: of the window, or of the bucket's burst."""
        return self.configured.burst or self.configured.requests

    def denied(self, meter: Meter, now: float) -> None:
        """A 429 came although the meter had room."""
        fitted = meter.used(now) - 1
        self.denials += 1
        if self.denials == 1 and fitted < self.full // 10:
            return
        self.current = max(1, min(self.current - 1, fitted))
        self.raised_at = now
        meter.limit = self.current

    def passed(self, meter: Meter, now: float) -> None:
        """A call was let through."""
        self.denials = 0
        if self.current < self.full and now - self.raised_at >= meter.span_s:
            self.current = min(self.full, self.current + max(1, self.current // 10))
            self.raised_at = now
            meter.limit = self.current


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
