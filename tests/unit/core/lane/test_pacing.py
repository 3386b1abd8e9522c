from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from examples import examples
from hypothesis import event, given
from hypothesis import strategies as st

from app.contract import Limits
from app.core.lane.pacing import AdaptiveLimit, SlidingWindow

# -- SlidingWindow ---------------------------------------------------------------------------


@dataclass
class Lane:
    """Sends calls as its window allows, and knows when each arrived. Times are whole, so that sums are exact."""

    limit: int
    per_s: int
    now: int = 0
    running: list[int] = field(default_factory=list)
    """When each call that is under way was started."""
    ended: list[int] = field(default_factory=list)
    arrivals: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.window = SlidingWindow(self.limit, self.per_s)

    def start(self, wait: bool) -> None:
        """Send a call if there is a place now, or, if it may `wait`, as soon as time alone gives one."""
        free_at = self.window.free_at(self.now)
        if free_at is None or (free_at > self.now and not wait):
            return
        self.now = max(self.now, int(free_at))
        again = self.window.free_at(self.now)
        assert again is not None
        assert again <= self.now, "it said that there would be a place"
        self.window.start(self.now)
        self.running.append(self.now)

    def end(self, which: int, arrived: int) -> None:
        """One of the calls ends; it arrived somewhere on the way (`arrived` is in thousandths)."""
        if self.running:
            started = self.running.pop(which % len(self.running))
            self.arrivals.append(started + (self.now - started) * arrived // 1000)
            self.ended.append(self.now)
            self.window.end(self.now)

    def restart(self, down: int, arrived: int) -> None:
        """The process dies with its calls under way; the next one counts them as ended when it starts."""
        for started in self.running:
            self.arrivals.append(started + (self.now - started) * arrived // 1000)
        self.now += down
        self.ended += [self.now] * len(self.running)
        self.running = []
        self.window = SlidingWindow(self.limit, self.per_s)
        self.window.restore(reversed([each for each in self.ended if each > self.now - self.per_s]))

    def check_liveness(self) -> None:
        """When nothing runs, a place is free as soon as the oldest call no longer counts."""
        if self.running:
            return
        counting = [each for each in self.ended if each + self.per_s > self.now]
        free_at = self.window.free_at(self.now)
        assert free_at is not None
        assert free_at <= max(self.now, min(counting, default=0) + self.per_s)
        if len(counting) < self.limit:
            assert free_at <= self.now


steps = st.one_of(
    st.tuples(st.just("start"), st.booleans()),
    st.tuples(st.just("start"), st.just(True)),
    st.tuples(st.just("wait"), st.integers(1, 12)),
    st.tuples(st.just("end"), st.integers(0, 5), st.sampled_from([0, 1000]) | st.integers(0, 1000)),
    st.tuples(st.just("restart"), st.integers(0, 12), st.sampled_from([0, 1000])),
)


@examples(800)
@given(st.integers(1, 4), st.integers(1, 10), st.lists(steps, max_size=60))
def test_no_window_wherever_it_is_laid_sees_more_calls_than_the_limit(
    limit: int, per_s: int, script: list[tuple[str, int, int]]
) -> None:
    lane = Lane(limit, per_s)
    for name, *arguments in script:
        match name:
            case "start":
                lane.start(bool(arguments[0]))
            case "wait":
                lane.now += arguments[0]
            case "end":
                lane.end(*arguments)
            case "restart":
                lane.restart(*arguments)
        lane.check_liveness()

    arrivals = sorted(lane.arrivals)
    event(f"more calls than the limit: {len(arrivals) > limit}")
    for first, one_too_many in zip(arrivals, arrivals[limit:], strict=False):
        assert one_too_many - first >= per_s, "a window holds one call more than the limit"


def test_a_window_gives_all_its_places_at_once_and_then_each_as_it_comes_free() -> None:
    window = SlidingWindow(2, 10)
    for _ in range(2):
        assert window.free_at(100) == 100
        window.start(0)
    assert window.free_at(100) is None, "only the end of a call can tell when"

    window.end(101)
    assert window.free_at(102) == 111
    window.end(104)
    assert window.free_at(105) == 111
    assert window.free_at(111) == 111
    window.start(0)
    assert window.free_at(112) == 114


def test_a_call_that_takes_long_holds_its_place_until_a_window_after_its_end() -> None:
    window = SlidingWindow(1, 10)
    window.start(0)
    assert window.free_at(1000) is None
    window.end(1000)
    assert window.free_at(1000) == 1010


def test_a_lower_limit_waits_until_enough_calls_no_longer_count() -> None:
    window = SlidingWindow(4, 10)
    for end in (1, 2, 3, 4):
        window.start(0)
        window.end(end)
    window.limit = 2
    assert window.free_at(5) == 13, "when three of the four are out of the window"


def test_calls_of_an_earlier_process_count_whatever_order_they_are_told_in() -> None:
    window = SlidingWindow(3, 10)
    window.start(0)
    window.end(5)
    window.restore([4, 1])
    assert window.free_at(6) == 11
    assert window.free_at(11) == 11
    window.start(0)
    assert window.free_at(12) == 14


@examples(200)
@given(st.integers(1, 4), st.lists(st.integers(0, 9), max_size=8), st.integers(0, 4), st.integers(0, 3))
def test_calls_start_as_the_forecast_of_the_window_says(
    limit: int, ended: list[int], running: int, latency_s: int
) -> None:
    window = SlidingWindow(limit, per_s=10)
    window.restore(ended)
    for _ in range(running):
        window.start(0)
    forecast = window.start_times(9, latency_s)

    told, now, ends = [forecast(ahead) for ahead in range(12)], 9, [9 + latency_s] * running
    for start in told:
        # Time goes from one end of a call to the next, until there is a place.
        while (free_at := window.free_at(now)) is None or free_at > now:
            now = min([*ends[:1], *([] if free_at is None else [int(free_at)])])
            while ends and ends[0] <= now:
                window.end(ends.pop(0))
        assert start == now
        window.start(now)
        ends.append(now + latency_s)


def test_a_forecast_costs_the_same_under_any_limit() -> None:
    window = SlidingWindow(10**15, per_s=10)  # a list of its places fits into no memory
    window.start(0)
    start_time = window.start_times(5, latency_s=1)
    assert [start_time(ahead) for ahead in (0, 10**15 - 2, 10**15 - 1, 10**15)] == [5, 5, 16, 16]


# -- AdaptiveLimit ---------------------------------------------------------------------------


@dataclass
class Provider:
    """Denies what exceeds its true limit in any window; what it denies does not count."""

    true_limit: int
    per_s: float
    passed: list[float] = field(default_factory=list)

    def call(self, now: float) -> bool:
        if sum(each > now - self.per_s for each in self.passed) >= self.true_limit:
            return False
        self.passed.append(now)
        return True


@dataclass
class Client:
    limits: Limits
    provider: Provider
    now: float = 1000.0
    denials: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.adaptive = AdaptiveLimit(self.limits)
        self.window = SlidingWindow(self.adaptive.current, self.limits.per_s)

    def run(self, windows: float) -> None:
        """Send as many calls as the window allows, each done at once."""
        until = self.now + windows * self.limits.per_s
        for _ in range(10_000):
            free_at = self.window.free_at(self.now)
            assert free_at is not None
            self.now = max(self.now, free_at)
            if self.now >= until:
                return
            self.window.start(self.now)
            if self.provider.call(self.now):
                self.adaptive.passed(self.window, self.now)
            else:
                self.denials.append(self.now)
                self.adaptive.denied(self.window, self.now)
                assert self.window.limit <= self.provider.true_limit
            self.window.end(self.now)
            assert 1 <= self.window.limit == self.adaptive.current <= self.limits.requests
        raise AssertionError("the window does not limit")


@examples(60)
@given(st.data())
def test_a_hidden_lower_limit_is_found_and_seldom_hit(data: st.DataObject) -> None:
    configured = data.draw(st.integers(2, 40), "configured")
    true_limit = data.draw(st.integers(max(1, configured // 10), configured - 1), "true")
    client = Client(Limits(requests=configured, per_s=60.0), Provider(true_limit, 60.0))
    client.run(windows=1)
    assert len(client.denials) == 1, "one denial shows how many calls fit"
    assert client.window.limit == true_limit

    client.run(windows=30)
    assert all(later - one >= 60.0 for one, later in pairwise(client.denials)), "at most one denial in a window"
    assert len(client.provider.passed) >= 31 * true_limit * 0.5, "most of what the provider gives is used"


@examples(40)
@given(st.integers(2, 40), st.floats(0.1, 0.99))
def test_the_limit_climbs_back_to_the_configured_one_and_no_further(configured: int, part: float) -> None:
    client = Client(Limits(requests=configured, per_s=60.0), Provider(max(1, int(configured * part)), 60.0))
    client.run(windows=1)
    lowered = client.window.limit
    assert lowered < configured

    client.provider.true_limit = configured
    client.run(windows=1)
    assert client.window.limit == min(configured, lowered + max(1, lowered // 10)), "by a tenth in each window"
    client.run(windows=60)
    assert client.window.limit == client.adaptive.current == configured


def test_one_denial_after_hardly_any_calls_is_no_sign_of_a_lower_limit_and_two_in_a_row_are() -> None:
    adaptive, window = AdaptiveLimit(Limits(requests=50)), SlidingWindow(50, 60.0)

    def denied(now: float) -> int:
        window.start(0)
        adaptive.denied(window, now)
        window.end(now)
        return window.limit

    assert denied(0.0) == 50
    adaptive.passed(window, 1.0)
    assert denied(2.0) == 50, "it is the first since one passed"
    assert denied(3.0) == adaptive.current == 2


def test_one_denial_after_hardly_any_calls_is_only_waited_out() -> None:
    adaptive, window = AdaptiveLimit(Limits(requests=100)), SlidingWindow(100, 60.0)
    for now in (1.0, 2.0):
        window.start(0)
        adaptive.denied(window, now)
        window.end(now)
        assert window.limit == (100 if now < 2 else 1), "the second in a row is a sign"


def test_every_denial_of_calls_that_left_together_lowers_the_limit() -> None:
    adaptive, window = AdaptiveLimit(Limits(requests=10)), SlidingWindow(10, 60.0)
    for _ in range(4):
        window.start(0)
    limits = []
    for _ in range(4):
        adaptive.denied(window, 0.0)
        limits.append(window.limit)
        window.end(0.0)

    assert limits == [3, 2, 1, 1]


def test_denials_never_lower_the_limit_to_nothing() -> None:
    adaptive, window = AdaptiveLimit(Limits(requests=2)), SlidingWindow(2, 60.0)
    for now in range(5):
        window.start(0)
        adaptive.denied(window, float(now))
        window.end(float(now))
    assert (adaptive.current, window.limit) == (1, 1)


def test_a_limit_that_was_never_denied_stays_as_configured() -> None:
    adaptive, window = AdaptiveLimit(Limits(requests=10, per_s=1.0)), SlidingWindow(10, 1.0)
    for now in range(100):
        adaptive.passed(window, float(now))
    assert (adaptive.current, window.limit) == (10, 10)
