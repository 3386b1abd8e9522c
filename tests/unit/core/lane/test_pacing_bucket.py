from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.contract import Limits
from app.core.lane.pacing import AdaptiveLimit, LeakyBucket, SlidingWindow, meter_of


@dataclass
class ProviderBucket:
    """The provider's own: a call fills it when it arrives. Times are whole 1/64 s, so that sums are exact."""

    burst: int
    rate_per_s: float
    level: float = 0.0
    at: float = 0.0

    def take(self, now: float) -> None:
        self.level = max(0.0, self.level - (now - self.at) * self.rate_per_s) + 1
        self.at = now
        assert self.level <= self.burst, f"at {now} it holds {self.level} of {self.burst}"


@dataclass
class Sender:
    """Sends as soon as its meter allows; each call arrives somewhere on its way, and its answer comes later."""

    meter: LeakyBucket
    now: float = 0.0
    arrivals: list[float] = field(default_factory=list)
    out: list[tuple[float, float]] = field(default_factory=list)

    def wait_for(self, moment: float) -> None:
        for ends, arrives in sorted(self.out):
            if ends <= moment:
                self.meter.end(ends)
                self.out.remove((ends, arrives))
        self.now = max(self.now, moment)

    def send(self, until_arrival: float, until_end: float) -> None:
        while (free_at := self.meter.free_at(self.now)) is None or free_at > self.now:
            self.wait_for(min(each[0] for each in self.out) if free_at is None else free_at)
        self.meter.start(self.now)
        self.arrivals.append(self.now + until_arrival)
        self.out.append((self.now + until_arrival + until_end, self.now + until_arrival))


ticks = st.integers(0, 256).map(lambda each: each / 64)


@examples(300)
@given(
    st.integers(1, 6),
    st.sampled_from([0.25, 1.0, 2.0, 8.0]),
    st.lists(st.tuples(ticks, ticks, ticks), min_size=1, max_size=40),
    st.integers(0, 39),
)
def test_the_provider_s_bucket_never_overflows(
    burst: int, rate_per_s: float, calls: list[tuple[float, float, float]], restart_after: int
) -> None:
    sender, ended = Sender(LeakyBucket(burst, rate_per_s)), list[float]()
    for number, (pause, until_arrival, until_end) in enumerate(calls):
        sender.wait_for(sender.now + pause)
        if number == restart_after:
            # A new process knows of each call when it ended, and takes what was out to have ended only now.
            ended = [max(arrival, sender.now) for arrival in sender.arrivals]
            sender.meter = LeakyBucket(burst, rate_per_s)
            sender.meter.restore(ended)
            sender.out = []
        sender.send(until_arrival, until_end)
    provider = ProviderBucket(burst, rate_per_s)
    for arrival in sorted(sender.arrivals):
        provider.take(arrival)


def test_a_bucket_gives_its_burst_at_once_and_then_one_after_the_other() -> None:
    bucket = LeakyBucket(3, 2.0)
    for _ in range(3):
        assert bucket.free_at(100) == 100
        bucket.start(100)
    assert bucket.free_at(100) is None, "only the end of a call lets it leak"
    for _ in range(3):
        bucket.end(100)
    assert bucket.free_at(100) == 100.5
    bucket.start(100.5)
    bucket.end(100.5)
    assert bucket.free_at(100.5) == 101
    assert bucket.used(100.5) == 3
    assert bucket.used(102) == 0
    assert bucket.period_s == 1.5


def test_a_call_that_runs_does_not_leak() -> None:
    bucket = LeakyBucket(2, 1.0)
    bucket.start(0)
    assert bucket.used(1000) == 1
    bucket.start(1000)
    assert bucket.free_at(5000) is None
    bucket.end(5000)
    assert bucket.free_at(5000) == 5001
    bucket.withdraw()
    assert bucket.used(5000) == 1


def test_the_meter_follows_the_limits() -> None:
    assert meter_of(Limits(burst=40, rate_per_s=2.0)) == LeakyBucket(40, 2.0)
    assert meter_of(Limits(requests=7, per_s=3.0)) == SlidingWindow(7, 3.0)
    assert AdaptiveLimit(Limits(burst=40, rate_per_s=2.0)).current == 40


def test_recent_calls_move_to_a_new_meter() -> None:
    bucket = LeakyBucket(4, 1.0)
    for _ in range(3):
        bucket.start(0)
        bucket.end(0)
    window = SlidingWindow(4, 10.0)
    window.restore(bucket.recent(1))
    assert window.used(1) == 2
    window.start(1)
    bucket = LeakyBucket(4, 1.0)
    bucket.restore(window.recent(1))
    assert bucket.used(1) == 2, "what runs is for the caller to start again"


@pytest.mark.parametrize("limits", [{"burst": 3}, {"rate_per_s": 1}, {"burst": 3, "rate_per_s": 1, "requests": 5}])
def test_half_a_bucket_is_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="leaky bucket"):
        Limits.model_validate(limits)


def test_a_full_bucket_is_still_full_after_a_restart() -> None:
    provider, calls, now = ProviderBucket(40, 2.0), list[float](), 0.0

    def send(bucket: LeakyBucket, number: int) -> None:
        nonlocal now
        for _ in range(number):
            free_at = bucket.free_at(now)
            assert free_at is not None
            now = max(now, free_at)
            bucket.start(now)
            bucket.end(now)
            provider.take(now)
            calls.append(now)

    send(LeakyBucket(40, 2.0), 240)
    again = LeakyBucket(40, 2.0)
    # What a lane knows after a restart: the calls of the time in which a full bucket empties.
    again.restore([each for each in calls if each > now - again.period_s])
    assert again.used(now) <= 40
    send(again, 40)
