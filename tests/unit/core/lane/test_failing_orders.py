"""Orders that always fail, among healthy ones, on a simulated clock: how long the healthy ones wait."""

from __future__ import annotations

import math
import random
from itertools import pairwise

from failing import Account, Order

from app.config.registry import handlers
from app.core.lane.rate_control import RateControl

LIMITS = [each.limits for each in handlers().values()]
PERIOD_S = 5.0
MIXES = 1000
SETTLED_S = 95.0


def chance_of(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - a simulation, repeatable


def alone(seed: int, number: int, latency_s: float) -> list[float]:
    """When each of so many healthy calls leaves, with no others there."""
    account = Account(LIMITS[seed % len(LIMITS)], chance_of(seed), latency_s)
    account.orders = [Order(n, 0.0, healthy=True) for n in range(number)]
    account.run(10_000.0)
    return [each.at for each in account.calls]


def test_in_a_thousand_mixes_every_healthy_cancel_leaves_as_if_the_others_were_fewer_than_a_fifth() -> None:
    for seed in range(MIXES):
        chance = chance_of(seed)
        failing, healthy = chance.choice([1, 8, 50, chance.randint(1, 60)]), chance.randint(1, 80)
        latency_s = chance.uniform(0.02, 0.8)
        account = Account(LIMITS[seed % len(LIMITS)], chance, latency_s)
        account.orders = [Order(1000 + n, chance.uniform(0, 30), healthy=False) for n in range(failing)]
        while not all(each.failures for each in account.orders) or account.now < SETTLED_S:
            account.run(account.now + 60.0)
        account.run(account.now + chance.uniform(60, 120))
        began = account.now
        account.orders += [Order(n, began, healthy=True) for n in range(healthy)]
        account.run(began + 10_000, healthy)
        left = [each.at - began for each in account.calls if each.healthy]
        assert len(left) == healthy, "each once"
        without = alone(seed, math.ceil(1.2 * healthy), latency_s)
        for n, at in enumerate(left):
            # A limit is a staircase: the bound is one on places, which is one on time wherever it is no step.
            most = max(1.2 * without[n], without[math.ceil(1.2 * (n + 1)) - 1]) + PERIOD_S
            assert at <= most, (seed, failing, healthy, n, at, most)


def test_orders_that_were_never_tried_cost_their_peers_one_call_each() -> None:
    """Nobody can know that they will fail; but the breaker does not make it any worse."""
    for failing in (1, 8, 50):
        for seed in range(30):
            account = Account(LIMITS[seed % len(LIMITS)], chance_of(seed), 0.3)
            account.orders = [Order(1000 + n, 0.0, healthy=False) for n in range(failing)]
            account.orders += [Order(n, 0.0, healthy=True) for n in range(10)]
            account.run(1000.0, 10)
            left = [each.at for each in account.calls if each.healthy]
            without = alone(seed, math.ceil(1.2 * (failing + 10)), 0.3)
            for n, at in enumerate(left):
                assert at <= without[math.ceil(1.2 * (failing + n + 1)) - 1] + PERIOD_S, (seed, failing, n)


def test_a_provider_that_is_down_gets_one_trial_each_period_and_never_the_same_order_twice_running() -> None:
    shortest_s = 1.0
    for seed in range(12):
        account = Account(LIMITS[seed % len(LIMITS)], chance_of(seed), 0.3, down_until=3600.0)
        account.orders = [Order(n, 0.0, healthy=True) for n in range(100)]
        account.run(3600.0)
        trials = [each for each in account.calls if each.open]
        assert trials
        assert len(account.calls) - len(trials) <= 100, "before it opened"
        assert all(later.at - earlier.at >= shortest_s for earlier, later in pairwise(trials))
        assert all(later.at - earlier.at >= 2.0 for earlier, later in pairwise(trials[2:]))
        assert all(later.number != earlier.number for earlier, later in pairwise(trials))
        account.run(3600.0 + 4 * 3600)
        assert account.orders == [], "and afterwards all is sent"


def test_a_retry_leaves_also_under_a_load_that_never_ends() -> None:
    rate, retries, now = RateControl(LIMITS[0]), 0, 0.0
    for _ in range(600):
        now += 1.0
        if rate.may_retry_now(fresh=True, now=now):
            budget = rate.start([1], True, now, 0.0)
            rate.meter.end(now)
            rate.failed(budget, [1], True, now, 0.0)
            retries += 1
        else:
            rate.start([2], False, now, 0.0)
            rate.meter.end(now)
            rate.succeeded(None, now)
    assert retries == 100, "one in six"


def test_after_an_outage_retries_that_succeed_are_not_held_back() -> None:
    account = Account(LIMITS[0], chance_of(1), 0.1, down_until=600.0)
    account.orders = [Order(n, 0.0, healthy=True) for n in range(90)]
    account.run(600.0)
    assert all(each.failures for each in account.orders)
    for each in account.orders:
        each.due_at = 600.0
    account.run(680.0)
    assert account.orders == [], "within the window, and not at the pace of retries that fail"


def test_an_outage_in_which_many_calls_fail_at_once_holds_retries_up_no_longer_than_it_lasts() -> None:
    for seed, limits in enumerate(LIMITS):
        account = Account(limits, chance_of(seed), 0.1, down_until=8.0)
        account.orders = [Order(n, 0.0, healthy=True) for n in range(25)]
        account.run(8.0)
        failed = sum(1 for each in account.orders if each.failures)
        assert failed > (limits.burst or limits.requests) // 6, "more than retries may fail in a window"
        account.run(30.0)
        assert account.orders == [], limits
