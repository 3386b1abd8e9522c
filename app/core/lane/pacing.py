"""Limits and retries: when the next call may leave. Pure: `now` is seconds of any monotonic clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil

from app.contract import Limits

RETRY_AFTER_MAX_S = 24 * 3600.0
"""Longest wait that a provider can ask for."""


def bounded_wait_s(retry_after_s: float | None) -> float | None:
    """The wait that a provider asked for, bounded; None if it is not valid (a header may say `inf` or `nan`)."""
    if retry_after_s is None or not retry_after_s >= 0:
        return None
    return min(retry_after_s, RETRY_AFTER_MAX_S)


@dataclass(slots=True)
class SlidingWindow:
    """At most `limit` calls in any window of `per_s` seconds, as the provider sees them.

    A provider counts a call when it arrives, at some time between its start and its end here. So a call occupies a
    place from its start until `per_s` after its *end*: any two calls in the same place arrived at least `per_s` apart,
    whatever the network did.
    """

    limit: int
    per_s: float
    running: int = 0
    ended: deque[float] = field(default_factory=deque)

    def free_at(self, now: float) -> float | None:
        """When a place is free (≤ `now`: now); None if only the end of a running call can free one."""
        while self.ended and self.ended[0] + self.per_s <= now:
            self.ended.popleft()
        excess = self.running + len(self.ended) - self.limit
        if excess < 0:
            return now
        return self.ended[excess] + self.per_s if excess < len(self.ended) else None

    @property
    def period_s(self) -> float:
        """How long an ended call counts, at most."""
        return self.per_s

    def used(self, now: float) -> int:
        """How many places are occupied."""
        while self.ended and self.ended[0] + self.per_s <= now:
            self.ended.popleft()
        return self.running + len(self.ended)

    def start_times(self, now: float, latency_s: float) -> Callable[[int], float]:
        """A function from the number of calls ahead to the start time of a call, if each takes `latency_s`.

        It is valid until a call starts or ends.
        """
        occupied = self.used(now)
        free, excess = max(0, self.limit - occupied), max(0, occupied - self.limit)

        # No list of all places: a limit, and the calls in its window, may be a million.
        def free_from(place: int) -> float:
            if place < free:
                return now
            index = excess + place - free
            return (self.ended[index] if index < len(self.ended) else now + latency_s) + self.per_s

        def start_time(ahead: int) -> float:
            # Every place is occupied for the same time, so the order in which they are free stays the same.
            rounds, place = divmod(ahead, self.limit)
            return free_from(place) + rounds * (self.per_s + latency_s)

        return start_time

    def start(self, now: float) -> None:  # noqa: ARG002 - LeakyBucket needs it
        """Occupy a place, which must be free by `free_at`."""
        self.running += 1

    def end(self, now: float) -> None:
        """A running call has ended."""
        self.running -= 1
        self.ended.append(now)

    def withdraw(self) -> None:
        """A started call was not made."""
        self.running -= 1

    def recent(self, now: float) -> list[float]:
        """When the ended calls that still count ended."""
        self.used(now)
        return list(self.ended)

    def restore(self, ended: Iterable[float]) -> None:
        """Count calls of an earlier process by their end times."""
        self.ended = deque(sorted([*self.ended, *ended]))


@dataclass(slots=True)
class LeakyBucket:
    """At most `limit` calls at once, and one more each 1 / `rate_per_s` seconds, as the provider sees them.

    As with the window, a call arrives at the provider at some time between its start and its end. So running calls do
    not leak yet: the level here is never below the provider's own.
    """

    limit: int
    rate_per_s: float
    running: int = 0
    level: float = 0.0
    """As of `at`, running calls included."""
    at: float = 0.0

    @property
    def period_s(self) -> float:
        """How long an ended call counts, at most."""
        return self.limit / self.rate_per_s

    def free_at(self, now: float) -> float | None:
        """When a place is free (≤ `now`: now); None if only the end of a running call can free one."""
        self._leak(now)
        if self.level + 1 <= self.limit:
            return now
        if self.running + 1 > self.limit:
            return None
        return now + (self.level + 1 - self.limit) / self.rate_per_s

    def used(self, now: float) -> int:
        """How many places are occupied."""
        self._leak(now)
        return ceil(self.level)

    def start_times(self, now: float, latency_s: float) -> Callable[[int], float]:
        """A function from the number of calls ahead to the start time of a call, if each takes `latency_s`."""
        self._leak(now)
        # Running calls leak once they have ended.
        begins, short = now + (latency_s if self.running else 0.0), self.level + 1 - self.limit
        return lambda ahead: now if short + ahead <= 0 else begins + (short + ahead) / self.rate_per_s

    def start(self, now: float) -> None:
        """Occupy a place, which must be free by `free_at`."""
        self._leak(now)
        self.running += 1
        self.level += 1

    def end(self, now: float) -> None:
        """A running call has ended, and begins to leak."""
        self._leak(now)
        self.running -= 1

    def withdraw(self) -> None:
        """A started call was not made."""
        self.running -= 1
        self.level -= 1

    def recent(self, now: float) -> list[float]:
        """End times of ended calls that amount to what has not leaked yet."""
        return [now] * (self.used(now) - self.running)

    def restore(self, ended: Iterable[float]) -> None:
        """Count calls of an earlier process by their end times, before any call of this one.

        The level before the first of them is unknown: at most the limit.
        """
        moments = sorted(ended)
        if moments:
            self.level, self.at = float(self.limit), min(moments[0], moments[-1] - self.period_s)
        for moment in moments:
            self._leak(moment)
            self.level = min(float(self.limit), self.level + 1)

    def _leak(self, now: float) -> None:
        if now > self.at:
            self.level = max(float(self.running), self.level - (now - self.at) * self.rate_per_s)
            self.at = now


Meter = SlidingWindow | LeakyBucket


def meter_of(limits: Limits) -> Meter:
    """A meter that counts an account's calls under its limits."""
    if limits.burst is not None and limits.rate_per_s is not None:
        return LeakyBucket(limits.burst, limits.rate_per_s)
    return SlidingWindow(limits.requests, limits.per_s)


def schedule_starts(start_time: Callable[[int], float], deadlines: Sequence[float]) -> list[float]:
    """Start times of calls, the most urgent first; `deadlines` are in that order.

    A call that cannot start before its deadline delays no other; its time is when it would have started.
    If all calls may start now, no other order meets more deadlines.
    """
    started, starts = 0, []
    for deadline in deadlines:
        starts.append(start_time(started))
        started += starts[-1] < deadline
    return starts


@dataclass(slots=True)
class AdaptiveLimit:
    """The provider's true limit, learned from its 429s when it is lower than the configured one.

    A denial shows how many calls fit, and the limit becomes that number. Each window without a denial raises it by a
    tenth, up to the configured one. A single denial after very few calls does not lower the limit (others used it up,
    or the provider is in trouble): the lane only waits.
    """

    configured: Limits
    current: int = 0
    raised_at: float = 0.0
    denials: int = 0
    """Consecutive denials."""

    def __post_init__(self) -> None:
        self.current = self.current or self.full

    @property
    def full(self) -> int:
        """The configured limit: of the window, or of the bucket's burst."""
        return self.configured.burst or self.configured.requests

    def denied(self, meter: Meter, now: float) -> None:
        """The provider denied a call (429) although the meter had room."""
        fitted = meter.used(now) - 1
        self.denials += 1
        if self.denials == 1 and fitted < self.full // 10:
            return
        self.current = max(1, min(self.current - 1, fitted))
        self.raised_at = now
        meter.limit = self.current

    def passed(self, meter: Meter, now: float) -> None:
        """The provider let a call through."""
        self.denials = 0
        if self.current < self.full and now - self.raised_at >= meter.period_s:
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

    def delay_s(self, failures: int, chance: float, retry_after_s: float | None = None) -> float:
        """How long to wait after the `failures`-th failure (from 1); at least `retry_after_s`, the provider's own wait.

        Half of the delay is fixed and half is jitter by `chance`, uniform in [0, 1).
        """
        full = min(self.cap_s, self.first_s * self.factor ** min(failures - 1, 60))
        return max(full * (0.5 + chance / 2), bounded_wait_s(retry_after_s) or 0.0)
