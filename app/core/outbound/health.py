"""How a subscription fares, over all its deliveries: when it is held, probed, and disabled. Pure.

A receiver that fails as a whole is not called for each of its deliveries: after a few failures in a row about different
orders, one delivery at a time probes whether it is back. A single delivery that always fails has its own schedule
(`retries`) and holds up no other.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from app.core.lane.pacing import RetrySchedule
from app.core.outbound.outcome import Outcome, OutcomeKind

DOWN_AFTER = 5
"""Failures in a row, of different orders or without any response, after which the receiver is taken to be down."""
PROBES = RetrySchedule(first_s=5.0, cap_s=600.0)
"""Time between two probes of a receiver that is down."""
THROTTLED = RetrySchedule(first_s=2.0, cap_s=300.0)
"""Time without deliveries after a 429 that names none."""
HOLD_MAX = timedelta(hours=1)
"""A `Retry-After` holds the whole subscription at most so long."""
NOTICES_AFTER = (timedelta(days=1), timedelta(days=4))
DISABLED_AFTER = timedelta(days=5)
INTERRUPTION = timedelta(hours=36)
"""Failures further apart than this are not one uninterrupted failure: nothing may have been sent between them."""
ERROR_MAX = 300


class SubscriptionState(Struct, frozen=True, omit_defaults=True):
    """What a new process must know of a subscription, besides its queue."""

    failing_since: datetime | None = None
    """The first failure since the last success."""
    failures: int = 0
    """Consecutive failures."""
    last_failure_at: datetime | None = None
    last_success_at: datetime | None = None
    error: str = ""
    """The latest failure, in words; empty after a success."""
    unreached: int = 0
    """Consecutive tries without a response."""
    cautious: bool = False
    """The latest call got no response or was throttled: one delivery at a time, until one succeeds."""
    failed_orders: tuple[int, ...] = ()
    """Orders (or messages about none) of the failures since the last success; a few."""
    down_since: datetime | None = None
    """Since then one delivery at a time probes whether it is back."""
    probes: int = 0
    """Failed probes since then."""
    hold_until: datetime | None = None
    """No delivery before: the receiver asked for it, or the next probe is due then."""
    notices: int = 0
    """How many notices of the present failure were recorded."""
    disabled_at: datetime | None = None
    """When it was disabled automatically; its deliveries are held."""
    disabled_reason: str = ""
    purge_until: int = 0
    """A subscription of this id was removed: its deliveries of messages up to this id are to be deleted."""

    @property
    def one_at_a_time(self) -> bool:
        """Whether only one delivery may be under way."""
        return self.cautious or self.down_since is not None


def after(state: SubscriptionState, outcome: Outcome, key: int, now: datetime, chance: float) -> SubscriptionState:
    """The state after a call has ended.

    Args:
        state: the state before.
        outcome: of the call.
        key: number of the order that it was about, or of the message if it was about none.
        now: when it ended.
        chance: uniform in [0, 1), for jitter.
    """
    if outcome.kind is OutcomeKind.DELIVERED:
        # A call that left before the receiver asked for a pause does not end it.
        earlier = state.last_failure_at is not None and outcome.started_at < state.last_failure_at
        return SubscriptionState(
            last_success_at=now,
            cautious=earlier and state.cautious,
            hold_until=state.hold_until if earlier else None,
            disabled_at=state.disabled_at,
            disabled_reason=state.disabled_reason,
            purge_until=state.purge_until,
        )
    state = _noted(state, outcome, now)
    if outcome.kind is OutcomeKind.GONE:
        state = disabled(state, now, "the receiver answered 410 Gone: it wants no more deliveries")
    elif outcome.kind is OutcomeKind.THROTTLED:
        state = _throttled(state, outcome, now, chance)
    else:
        state = _failed(state, outcome, key, now, chance)
    failing_since = state.failing_since or now
    if now - failing_since >= DISABLED_AFTER:
        state = disabled(state, now, f"nothing was delivered for {DISABLED_AFTER.days} days: {state.error}")
    return state


def disabled(state: SubscriptionState, now: datetime, reason: str) -> SubscriptionState:
    """The state of a subscription that is disabled automatically; the first reason stays."""
    if state.disabled_at is not None:
        return state
    return replace(state, disabled_at=now, disabled_reason=reason)


def enabled(state: SubscriptionState) -> SubscriptionState:
    """The state of a subscription that a person enabled: as if it had never failed."""
    return SubscriptionState(last_success_at=state.last_success_at, purge_until=state.purge_until)


def notices_due(state: SubscriptionState, now: datetime) -> int:
    """How many notices of the present failure should have been recorded by now."""
    if state.failing_since is None:
        return 0
    return sum(now - state.failing_since >= wait for wait in NOTICES_AFTER)


def noticed(state: SubscriptionState, now: datetime) -> SubscriptionState:
    """The state after the notices that are due were recorded."""
    due = notices_due(state, now)
    return replace(state, notices=due) if due > state.notices else state


def _noted(state: SubscriptionState, outcome: Outcome, now: datetime) -> SubscriptionState:
    failing_since, failures, notices = state.failing_since, state.failures, state.notices
    if state.last_failure_at is not None and now - state.last_failure_at > INTERRUPTION:
        failing_since, failures, notices = None, 0, 0
    return replace(
        state,
        failing_since=failing_since or now,
        failures=failures + 1,
        notices=notices,
        last_failure_at=now,
        error=outcome.summary[:ERROR_MAX],
        cautious=not outcome.reached or outcome.kind is OutcomeKind.THROTTLED,
    )


def _throttled(state: SubscriptionState, outcome: Outcome, now: datetime, chance: float) -> SubscriptionState:
    wait = outcome.retry_after or timedelta(seconds=THROTTLED.delay_s(state.failures, chance))
    hold_until = now + min(wait, HOLD_MAX)
    return replace(state, unreached=0, hold_until=max(hold_until, state.hold_until or now))


def _failed(state: SubscriptionState, outcome: Outcome, key: int, now: datetime, chance: float) -> SubscriptionState:
    unreached = 0 if outcome.reached else state.unreached + 1
    orders = state.failed_orders
    if len(orders) < DOWN_AFTER and key not in orders:
        orders = (*orders, key)
    state = replace(state, unreached=unreached, failed_orders=orders)
    if state.down_since is not None:
        if outcome.started_at < state.down_since:
            return state  # it was under way when the receiver was taken to be down: no probe
        probes = state.probes + 1
    elif unreached >= DOWN_AFTER or len(orders) >= DOWN_AFTER:
        probes, state = 0, replace(state, down_since=now)
    else:
        return state
    wait = timedelta(seconds=PROBES.delay_s(probes + 1, chance))
    return replace(state, probes=probes, hold_until=now + wait)
