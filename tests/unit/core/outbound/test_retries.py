"""When deliveries are sent again, and how a subscription fares meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from app.core.outbound import health, retries
from app.core.outbound.delivery import ATTEMPTS_MAX, Delivery, DeliveryAttempt, DeliveryState
from app.core.outbound.health import SubscriptionState
from app.core.outbound.message import Message
from app.core.outbound.outcome import Outcome, OutcomeKind, bounded_wait

T0 = datetime(2026, 3, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def delivery(n: int = 1, order: int | None = None) -> Delivery:
    message = Message(id=n, account="a", type="t", order_pk=n if order is None else order, at=T0, data=b"{}")
    return Delivery(
        subscription="s", message=message, sequence=None, state=DeliveryState.PENDING, due_at=T0, tries=0, attempts=()
    )


def outcome(at: datetime, status: int | None = 500, retry_after: timedelta | None = None) -> Outcome:
    error = "no response in time" if status is None else ""
    return Outcome(DeliveryAttempt(at, 1, status, error=error), retry_after)


@dataclass
class Simulation:
    """A subscriber over time: the very functions that the worker calls, without waiting."""

    queue: dict[int, Delivery]
    now: datetime = T0
    state: SubscriptionState = field(default_factory=SubscriptionState)
    calls: int = 0
    notices: int = 0

    def next(self) -> tuple[datetime, Delivery] | None:
        """When the next call leaves, and which."""
        pending = [item for item in self.queue.values() if item.state is DeliveryState.PENDING]
        if not pending or self.state.disabled_at is not None:
            return None
        first = min(pending, key=lambda item: (item.due_at, item.message.id))
        return max(first.due_at, self.state.hold_until or first.due_at, self.now), first

    def call(self, status: int | None) -> None:
        """Make the next call, which gets this response."""
        due = self.next()
        assert due is not None
        self.now, item = due
        self.calls += 1
        tried, before = outcome(self.now, status), self.state
        update = retries.settle(item, tried, before, self.now, 0.5)
        key = item.message.order_pk or item.message.id
        state = health.after(before, tried, key, self.now, 0.5)
        self.notices += health.notices_due(state, self.now) - state.notices
        self.state = health.noticed(state, self.now)
        self.queue[item.message.id] = Delivery(
            subscription="s",
            message=item.message,
            sequence=None,
            state=update.state,
            due_at=update.due_at,
            tries=update.tries,
            attempts=update.attempts,
        )

    def run(self, until: datetime, status: int | None) -> None:
        """Make all calls until then."""
        while (due := self.next()) is not None and due[0] < until:
            self.call(status)
        self.now = max(self.now, until)

    def states(self) -> set[DeliveryState]:
        return {item.state for item in self.queue.values()}


def test_ten_tries_over_three_days() -> None:
    healthy = SubscriptionState(last_success_at=T0 + HOUR * 24 * 9)
    item, now, waits = delivery(), T0, []
    while item.state is DeliveryState.PENDING:
        update = retries.settle(item, outcome(now), healthy, now, 0.5)
        waits.append(update.due_at - now)
        now = max(now, update.due_at)
        item = Delivery(
            subscription="s",
            message=item.message,
            sequence=None,
            state=update.state,
            due_at=update.due_at,
            tries=update.tries,
            attempts=update.attempts,
        )
    assert item.state is DeliveryState.FAILED
    assert item.tries == 10
    assert 75 * HOUR < now - T0 < 76 * HOUR
    assert waits[:3] == [timedelta(seconds=5), timedelta(minutes=5), timedelta(minutes=30)]
    for chance, seconds in ((0.0, 4.5), (0.999999, 5.5)):
        update = retries.settle(delivery(), outcome(T0), healthy, T0, chance)
        assert abs((update.due_at - T0).total_seconds() - seconds) < 0.01


def test_what_a_response_means() -> None:
    kinds = {
        200: OutcomeKind.DELIVERED,
        204: OutcomeKind.DELIVERED,
        299: OutcomeKind.DELIVERED,
        302: OutcomeKind.FAILED,
        404: OutcomeKind.FAILED,
        410: OutcomeKind.GONE,
        429: OutcomeKind.THROTTLED,
        500: OutcomeKind.FAILED,
        503: OutcomeKind.FAILED,
        None: OutcomeKind.FAILED,
    }
    assert {status: outcome(T0, status).kind for status in kinds} == kinds
    assert outcome(T0, 503, HOUR).kind is OutcomeKind.THROTTLED


def test_retry_after_is_honored_within_bounds() -> None:
    assert bounded_wait(30) == timedelta(seconds=30)
    assert bounded_wait(10**9) == DAY
    for nothing in (None, 0.0, -5.0, float("nan")):
        assert bounded_wait(nothing) is None
    healthy = SubscriptionState()
    later = retries.settle(delivery(), outcome(T0, 500, HOUR), healthy, T0, 0.5)
    assert later.due_at == T0 + HOUR
    sooner = retries.settle(delivery(), outcome(T0, 500, timedelta(seconds=1)), healthy, T0, 0.5)
    assert sooner.due_at == T0 + timedelta(seconds=5)
    throttled = retries.settle(delivery(), outcome(T0, 429, DAY), healthy, T0, 0.5)
    assert (throttled.due_at, throttled.tries) == (T0 + DAY, 0)
    # The others wait too, but no longer than an hour on one response.
    state = health.after(healthy, outcome(T0, 429, DAY), 1, T0, 0.5)
    assert state.hold_until == T0 + HOUR
    assert state.one_at_a_time
    unnamed = health.after(healthy, outcome(T0, 429), 1, T0, 0.5)
    assert unnamed.hold_until is not None
    assert T0 < unnamed.hold_until < T0 + timedelta(seconds=5)


def test_a_subscriber_that_is_down_for_four_days_loses_nothing_and_is_called_little() -> None:
    simulation = Simulation({n: delivery(n) for n in range(1, 1001)})
    simulation.run(T0 + 4 * DAY + HOUR, 503)
    assert simulation.states() == {DeliveryState.PENDING}
    assert simulation.calls < 1000
    assert simulation.notices == 2
    assert all(len(item.attempts) <= ATTEMPTS_MAX for item in simulation.queue.values())
    while simulation.next() is not None:
        simulation.call(204)
    assert simulation.states() == {DeliveryState.DELIVERED}
    assert simulation.state == SubscriptionState(last_success_at=simulation.now)


def test_after_five_days_of_failure_it_is_disabled_and_what_is_held_arrives_when_it_is_enabled() -> None:
    for messages, status in ((1, None), (1, 503), (3, 503), (300, 503), (300, None)):
        simulation = Simulation({n: delivery(n) for n in range(1, messages + 1)})
        simulation.run(T0 + 7 * DAY, status)
        disabled_at = simulation.state.disabled_at
        assert disabled_at is not None
        assert 5 * DAY <= disabled_at - T0 < 7 * DAY
        assert simulation.notices == 2
        assert "5 days" in simulation.state.disabled_reason
        assert simulation.states() == {DeliveryState.PENDING}
        simulation.now = T0 + 7 * DAY
        simulation.state = health.enabled(simulation.state)
        simulation.run(T0 + 30 * DAY, 200)
        assert simulation.states() == {DeliveryState.DELIVERED}


def test_a_delivery_that_always_fails_holds_up_no_other() -> None:
    simulation = Simulation({1: delivery(1)})
    for n in range(2, 200):
        simulation.queue[n] = Delivery(
            subscription="s",
            message=delivery(n).message,
            sequence=None,
            state=DeliveryState.PENDING,
            due_at=T0 + n * HOUR,
            tries=0,
            attempts=(),
        )
    while (due := simulation.next()) is not None:
        simulation.call(500 if due[1].message.id == 1 else 200)
        assert simulation.state.down_since is None
    assert simulation.queue.pop(1).state is DeliveryState.FAILED
    assert simulation.states() == {DeliveryState.DELIVERED}
    assert simulation.state.disabled_at is None


def test_failures_of_one_order_do_not_take_the_receiver_for_down() -> None:
    state = SubscriptionState()
    for _ in range(20):
        state = health.after(state, outcome(T0), 7, T0, 0.5)
    assert state.down_since is None
    for n in range(4):
        state = health.after(state, outcome(T0), n, T0, 0.5)
    assert state.down_since == T0
    # Without any response, whatever the orders are.
    state = SubscriptionState()
    for _ in range(5):
        assert state.down_since is None
        state = health.after(state, outcome(T0, None), 7, T0, 0.5)
    assert state.down_since == T0


def test_calls_that_were_under_way_when_it_went_down_are_no_probes() -> None:
    state = SubscriptionState()
    for n in range(60):
        state = health.after(state, outcome(T0, None), n, T0 + timedelta(seconds=15), 0.5)
    assert state.probes == 0
    assert state.hold_until is not None
    assert state.hold_until - T0 < timedelta(seconds=30)


def test_a_gap_is_no_uninterrupted_failure() -> None:
    state = health.after(SubscriptionState(), outcome(T0), 1, T0, 0.5)
    state = health.after(state, outcome(T0 + 6 * DAY), 1, T0 + 6 * DAY, 0.5)
    assert state.disabled_at is None
    assert state.failing_since == T0 + 6 * DAY


def test_410_disables_at_once_and_keeps_the_delivery() -> None:
    gone = outcome(T0, 410)
    assert retries.settle(delivery(), gone, SubscriptionState(), T0, 0.5).state is DeliveryState.PENDING
    state = health.after(SubscriptionState(), gone, 1, T0, 0.5)
    assert state.disabled_at == T0
    assert "410" in state.disabled_reason
    # A call that was under way and succeeds does not enable it.
    assert health.after(state, outcome(T0, 200), 1, T0, 0.5).disabled_at == T0


def test_a_call_that_left_before_does_not_end_the_pause_that_was_asked_for() -> None:
    before = T0 - timedelta(seconds=1)
    state = health.after(SubscriptionState(), outcome(T0, 429, HOUR), 1, T0, 0.5)
    late = health.after(state, outcome(before, 200), 2, T0 + timedelta(seconds=2), 0.5)
    assert (late.hold_until, late.one_at_a_time) == (T0 + HOUR, True)
    after = health.after(late, outcome(T0 + HOUR, 200), 2, T0 + HOUR, 0.5)
    assert (after.hold_until, after.one_at_a_time) == (None, False)
