"""An account's limits hold in every window, wherever it is laid, also over restarts (I6); breakers open and recover."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from conftest import Start
from providers import CANCEL_PATH, PROVIDER_KEY, RETRIEVE_PATH, Provider, until
from servers import ACCOUNT, ENDPOINT, Rescind, account_of, endpoint_of

from app.core.lane.breaker import Breaker
from app.core.lane.pacing import RetrySchedule

pytestmark = pytest.mark.usefixtures("quick")


def most_in_a_window(arrivals: list[float], per_s: float) -> int:
    """The most calls that any window of `per_s` seconds sees: the fullest one begins with a call."""
    moments = sorted(arrivals)
    return max((sum(start <= each < start + per_s for each in moments) for start in moments), default=0)


async def set_up(rescind: Rescind, provider: Provider, **limits: Any) -> None:
    await rescind.put("accounts", ACCOUNT, account_of(provider.url, limits=limits))
    await rescind.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))


async def place(rescind: Rescind, provider: Provider, orders: list[str]) -> None:
    await provider.create(*orders)
    await asyncio.gather(*(rescind.tell("order.processed", order) for order in orders))


def test_the_measure_sees_a_burst_at_an_edge() -> None:
    # Two buckets of 3 that are filled at their common edge: a fixed window sees 3, a sliding one 6.
    assert most_in_a_window([0.9, 0.95, 0.99, 1.0, 1.01, 1.02], 1.0) == 6
    assert most_in_a_window([0.0, 1.0, 2.0], 1.0) == 1
    assert most_in_a_window([], 1.0) == 0


async def test_no_window_sees_more_than_the_limit_also_over_restarts(start: Start, provider: Provider) -> None:
    limit, per_s, number = 20, 0.8, 110
    rescind = await start()
    await set_up(rescind, provider, requests=limit, per_s=per_s, concurrency=6)
    orders = [f"o-{n}" for n in range(number)]
    await place(rescind, provider, orders)
    # Some calls take a while: what counts is when they arrive, not when they were sent.
    for n in range(0, 60, 3):
        await provider.fault("delay", path=None, seconds=0.03 * (n % 4))
    ids = await asyncio.gather(*(rescind.cancel(order) for order in orders))
    for stop_at in (30, 70):
        await provider.arrived(stop_at, path=None)
        await rescind.stop()
        rescind = await start()
    for id in ids:
        assert (await rescind.settled(id))["state"] == "succeeded"
    arrivals = [each["at"] for each in await provider.calls(None)]
    assert len(arrivals) >= number
    assert most_in_a_window(arrivals, per_s) <= limit
    assert [await provider.effects(order) for order in orders] == [1] * number


async def test_the_limit_is_used_to_its_last_call(start: Start, provider: Provider) -> None:
    rescind = await start()
    await set_up(rescind, provider, requests=5, per_s=3600.0, concurrency=20)
    orders = [f"o-{n}" for n in range(8)]
    await place(rescind, provider, orders)
    await provider.hold(path=None, times=5)
    ids = await asyncio.gather(*(rescind.cancel(order) for order in orders))
    await provider.arrived(5, path=None)
    for each in ("sending", "rate_limited"):
        lane = (await rescind.get(f"/v1/accounts/{ACCOUNT}"))["lane"]
        assert (lane["state"], lane["used"], lane["running"]) == ("rate_limited", 5, 5 if each == "sending" else 0)
        assert len(await provider.calls(None)) == 5
        if each == "sending":
            provider.release()
        for id in ids:
            await rescind.settled(id, "succeeded", "scheduled")

        async def ended() -> bool:
            return bool((await rescind.get(f"/v1/accounts/{ACCOUNT}"))["lane"]["running"] == 0)

        await until(ended, "the end of the calls")


async def test_a_call_that_was_out_when_the_process_ended_counts(start: Start, provider: Provider) -> None:
    rescind = await start()
    await set_up(rescind, provider, requests=1, per_s=1.0, concurrency=1)
    await place(rescind, provider, ["o-1"])
    await provider.hold()
    id = await rescind.cancel("o-1")
    await provider.arrived(1)
    await rescind.stop()
    rescind = await start()
    assert (await rescind.settled(id))["state"] == "succeeded"
    calls = await provider.calls(None)
    assert [each["path"] for each in calls] == [CANCEL_PATH, RETRIEVE_PATH]
    assert calls[1]["at"] - calls[0]["at"] >= 1.0


async def test_probes_and_cancels_share_the_limit(start: Start, provider: Provider) -> None:
    limit, per_s = 6, 0.5
    rescind = await start()
    await set_up(rescind, provider, requests=limit, per_s=per_s, concurrency=4)
    await provider.create(*(f"u-{n}" for n in range(10)))
    ids = [await rescind.cancel(f"u-{n}") for n in range(10)]
    for id in ids:
        assert (await rescind.settled(id))["state"] == "succeeded"
    calls = await provider.calls(None)
    assert sorted(each["path"] for each in calls) == [CANCEL_PATH] * 10 + [RETRIEVE_PATH] * 10
    assert most_in_a_window([each["at"] for each in calls], per_s) <= limit


async def test_calls_that_fail_count_as_well(start: Start, provider: Provider) -> None:
    limit, per_s = 5, 0.5
    rescind = await start()
    await set_up(rescind, provider, requests=limit, per_s=per_s, concurrency=3)
    await place(rescind, provider, [f"o-{n}" for n in range(8)])
    await provider.fault("status", status=503, times=6)
    await provider.fault("reset_before", path=None, times=3)
    ids = [await rescind.cancel(f"o-{n}") for n in range(8)]
    for id in ids:
        assert (await rescind.settled(id))["state"] == "succeeded"
    calls = await provider.calls(None)
    assert len(calls) >= 8 + 6 + 3
    assert most_in_a_window([each["at"] for each in calls], per_s) <= limit


async def test_a_lower_limit_at_the_provider_is_learned(start: Start) -> None:
    provider = await Provider.start(requests=5, per_s=0.5)
    rescind = await start()
    await set_up(rescind, provider, requests=50, per_s=0.5, concurrency=8)
    orders = [f"o-{n}" for n in range(20)]
    await place(rescind, provider, orders)
    ids = await asyncio.gather(*(rescind.cancel(order) for order in orders))
    for id in ids:
        assert (await rescind.settled(id))["state"] == "succeeded"
    statuses = [each["status"] for each in await provider.calls()]
    assert statuses.count(200) == 20
    assert statuses.count(429) <= 20, "it was denied again and again, and learned nothing"
    await provider.close()


async def test_never_more_calls_at_once_than_allowed(start: Start, provider: Provider) -> None:
    rescind = await start()
    await set_up(rescind, provider, requests=1000, per_s=60, concurrency=3)
    orders = [f"o-{n}" for n in range(12)]
    await place(rescind, provider, orders)
    await provider.hold(path=None, times=3)
    ids = await asyncio.gather(*(rescind.cancel(order) for order in orders))
    await provider.arrived(3, path=None)
    assert (await rescind.get(f"/v1/accounts/{ACCOUNT}"))["lane"]["running"] == 3
    provider.release()
    for id in ids:
        await rescind.settled(id)
    spans = []
    for order in orders:
        shown = [each["attempt"] for each in await rescind.timeline(order) if each["kind"] == "attempt"]
        spans += [(each["started_at"], each["ended_at"]) for each in shown]
    at_once = [sum(began <= started < ended for began, ended in spans) for started, _ in spans]
    assert len(spans) == 12
    assert max(at_once) == 3


async def test_the_earliest_deadline_goes_first(start: Start, provider: Provider) -> None:
    rescind = await start()
    await set_up(rescind, provider, requests=1000, per_s=60, concurrency=1)
    orders = [f"o-{n}" for n in range(8)]
    await place(rescind, provider, orders)
    await rescind.ask("POST", "/v1/pause", {"account": ACCOUNT})
    ids = [await rescind.cancel(f"o-{n}", deadline=f"2099-01-{1 + (5 * n) % 8:02}T00:00:00Z") for n in range(8)]
    await rescind.ask("POST", "/v1/resume", {"account": ACCOUNT})
    for id in ids:
        await rescind.settled(id)
    called = [each["order"] for each in await provider.calls()]
    assert called == sorted(orders, key=lambda order: (5 * int(order[2:])) % 8)


async def test_a_breaker_opens_and_recovers(start: Start, provider: Provider) -> None:
    rescind = await start()
    await set_up(rescind, provider, requests=1000, per_s=60, concurrency=1)
    rate = rescind.node.lanes[ACCOUNT].gate.rate
    rate.breaker = Breaker(threshold=3, patience_s=0.0, schedule=RetrySchedule(first_s=7200.0, cap_s=7200.0))
    orders = [f"o-{n}" for n in range(4)]
    await place(rescind, provider, orders)
    await provider.fault("status", status=500, times=3)
    await rescind.ask("POST", "/v1/pause", {"account": ACCOUNT})
    ids = [await rescind.cancel(order) for order in orders]
    await rescind.ask("POST", "/v1/resume", {"account": ACCOUNT})

    async def opened() -> bool:
        return bool((await rescind.get(f"/v1/accounts/{ACCOUNT}"))["lane"]["state"] == "breaker_open")

    await until(opened, "the breaker to open")
    waiting = [(await rescind.cancellation(id))["waiting"] for id in ids]
    assert {each["for"] for each in waiting if each} == {"breaker_open"}
    assert all(each["until"] for each in waiting if each)
    assert len(await provider.calls()) == 3
    rate.breaker.open_until = 0.0  # a period is over
    rescind.node.lanes[ACCOUNT].wake()
    for id in ids:
        assert (await rescind.settled(id))["state"] == "succeeded"
    assert [each["order"] for each in await provider.calls()][3] == "o-3", "the trial is about one that never failed"
    assert len(await provider.calls()) == 7
    assert (await rescind.get(f"/v1/accounts/{ACCOUNT}"))["lane"]["state"] in ("idle", "sending")
    closed, opened_at = await notices(rescind, "breaker.*", 2)
    assert (opened_at["type"], closed["type"]) == ("breaker.opened", "breaker.closed")
    assert opened_at["data"]["reason"].startswith("calls about 3 different orders failed")
    assert closed["data"]["opened_at"] == opened_at["occurred_at"]


async def notices(rescind: Rescind, type: str, number: int) -> list[dict[str, Any]]:
    """The events about the account as a whole, newest first, once there are so many."""

    async def events() -> list[dict[str, Any]]:
        return list((await rescind.get(f"/v1/events?type={type}"))["data"])

    async def are_there() -> bool:
        return len(await events()) >= number

    await until(are_there, f"{number} events {type}")
    return await events()


async def test_a_limit_that_is_nearly_used_up_is_told_once(start: Start, provider: Provider) -> None:
    rescind = await start()
    await set_up(rescind, provider, requests=10, per_s=3600, concurrency=1)
    orders = [f"o-{n}" for n in range(10)]
    await place(rescind, provider, orders)
    for order in orders:
        await rescind.settled(await rescind.cancel(order))
    [near] = await notices(rescind, "limit.near", 1)
    assert (near["account"], near["order"]) == (ACCOUNT, "")
    assert near["data"] == {"limit": "requests", "used": 8, "maximum": 10, "period_s": 3600.0, "policy": None}


async def test_one_early_denial_does_not_cost_minutes(start: Start, provider: Provider) -> None:
    """The provider says when it takes calls again; what it says is waited for, and no more."""
    rescind = await start()
    await set_up(rescind, provider, requests=100, per_s=60, concurrency=4)
    orders = [f"o-{n}" for n in range(30)]
    await place(rescind, provider, orders)
    await provider.fault("status", status=429, headers={"Retry-After": "1"}, body={"code": 429, "status": "x"})
    ids = await asyncio.gather(*(rescind.cancel(order) for order in orders))
    for id in ids:
        assert (await rescind.settled(id))["state"] == "succeeded"
    assert (await rescind.get(f"/v1/accounts/{ACCOUNT}"))["lane"]["limit"] == 100, "the limit itself was never reached"


async def test_limits_may_change_while_it_runs(start: Start, provider: Provider) -> None:
    rescind = await start()
    await set_up(rescind, provider, requests=1, per_s=3600, concurrency=1)
    await place(rescind, provider, ["o-1", "o-2"])
    first = await rescind.cancel("o-1")
    assert (await rescind.settled(first))["state"] == "succeeded"
    second = await rescind.cancel("o-2")

    async def held() -> bool:
        return bool(((await rescind.cancellation(second))["waiting"] or {}).get("for") == "rate_limited")

    await until(held, "the limit to hold it")
    await set_up(rescind, provider, requests=2, per_s=3600, concurrency=1)
    assert (await rescind.settled(second))["state"] == "succeeded"


@pytest.mark.parametrize(
    "limits",
    [
        b'{"requests":0}',
        b'{"requests":-1}',
        b'{"requests":1.5}',
        b'{"requests":1000000000000000000000000000000}',
        b'{"per_s":0}',
        b'{"per_s":-1}',
        b'{"per_s":Infinity}',
        b'{"per_s":NaN}',
        b'{"per_s":1e308}',
        b'{"concurrency":0}',
        b'{"concurrency":-3}',
    ],
)
async def test_limits_that_could_never_work_are_refused(start: Start, provider: Provider, limits: bytes) -> None:
    rescind = await start()
    body = b'{"provider":"planomatic","config":{"base_url":"%b","api_key":"%b"},"limits":%b}'
    sent = body % (provider.url.encode(), PROVIDER_KEY.encode(), limits)
    (await rescind.ask("PUT", f"/v1/accounts/{ACCOUNT}", data=sent)).problem(422, "invalid-request")
    assert (await rescind.ask("GET", "/readyz", key=None)).status == 200
    await rescind.stop()
    await start()
