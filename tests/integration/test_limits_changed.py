"""Accounts that change while calls are out or wait: what was sent counts under the new limits too."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import Start
from providers import CANCEL_PATH, Provider, Side, until
from servers import ACCOUNT, Rescind, account_of, execute_sql

from app.contract import Context, HttpRequest, HttpResponse

WINDOW: dict[str, Any] = {"requests": 3, "per_s": 3600.0}
BUCKET: dict[str, Any] = {"burst": 3, "rate_per_s": 0.001}
pytestmark = pytest.mark.usefixtures("quick")


async def limited(rescind: Rescind, provider: Side, limits: dict[str, Any], **more: Any) -> None:
    await rescind.put("accounts", ACCOUNT, account_of(provider.url, limits=limits, **more))


async def lane(rescind: Rescind) -> dict[str, Any]:
    return dict((await rescind.get(f"/v1/accounts/{ACCOUNT}"))["lane"])


async def used(rescind: Rescind, calls: int) -> None:
    async def look() -> bool:
        return bool((await lane(rescind))["used"] == calls)

    await until(look, f"{calls} calls counted")


async def opened(rescind: Rescind, provider: Provider, number: int) -> list[str]:
    orders = [f"o-{each}" for each in range(number)]
    await provider.create(*orders)
    for order in orders:
        await rescind.tell("order.processed", order)
    return orders


async def stands_still(rescind: Rescind) -> None:
    async def look() -> bool:
        return (await lane(rescind))["state"] == "rate_limited"

    await until(look, "the limit reached")


@pytest.mark.parametrize(("before", "after"), [(WINDOW, BUCKET), (BUCKET, WINDOW), (BUCKET, {**BUCKET, "burst": 2})])
async def test_calls_that_were_made_fill_the_window_or_bucket_that_follows(
    rescind: Rescind, provider: Provider, before: dict[str, Any], after: dict[str, Any]
) -> None:
    await limited(rescind, provider, before)
    orders = await opened(rescind, provider, 4)
    for order in orders[:3]:
        await rescind.settled(await rescind.cancel(order))
    await limited(rescind, provider, after)
    await used(rescind, min(3, after.get("burst", 3)))
    await rescind.cancel(orders[3])
    await stands_still(rescind)
    assert await provider.calls(None, orders[3]) == []
    await limited(rescind, provider, {"requests": 4, "per_s": 3600.0})
    await provider.arrived(1, CANCEL_PATH, orders[3])


@pytest.mark.parametrize("after", [{**WINDOW, "requests": 1}, {**BUCKET, "burst": 1}])
async def test_a_call_that_is_out_keeps_its_place(rescind: Rescind, provider: Provider, after: dict[str, Any]) -> None:
    await limited(rescind, provider, {"requests": 3, "per_s": 0.05})
    first, second = await opened(rescind, provider, 2)
    await provider.hold()
    id = await rescind.cancel(first)
    await provider.arrived(1, CANCEL_PATH, first)
    await limited(rescind, provider, after)
    await used(rescind, 1)
    assert (await lane(rescind))["running"] == 1
    await rescind.cancel(second)
    provider.release()
    await rescind.settled(id)
    await stands_still(rescind)
    assert (await lane(rescind))["used"] == 1
    assert await provider.calls(None, second) == []


def asking(url: str, number: int = 1) -> Any:
    """A flow about no order, of so many calls."""

    def make(_: Any, __: Context) -> Generator[HttpRequest, HttpResponse, None]:
        for _ in range(number):
            yield HttpRequest("GET", f"{url}/whatever", repeatable=True)

    return make


async def test_what_is_about_no_order_waits_for_the_call_that_is_out(rescind: Rescind, provider: Provider) -> None:
    await limited(rescind, provider, {"requests": 1, "per_s": 0.05})
    (order,) = await opened(rescind, provider, 1)
    await provider.hold()
    id = await rescind.cancel(order)
    await provider.arrived(1, CANCEL_PATH)
    asked = asyncio.create_task(rescind.node.lanes[ACCOUNT].converse(asking(provider.url)))
    for _ in range(20):
        # Everything runs on in the meantime, as far as it can.
        assert (await lane(rescind))["running"] == 1
    assert len(await provider.calls(None)) == 1
    provider.release()
    await rescind.settled(id)
    await asked
    assert len(await provider.calls(None)) == 2


async def test_what_is_about_no_order_takes_its_places_gives_them_back_and_counts_after_a_restart(
    start: Start, rescind: Rescind, provider: Provider
) -> None:
    await limited(rescind, provider, {"requests": 10, "per_s": 0.2})
    await rescind.node.lanes[ACCOUNT].converse(asking(provider.url, 4))

    async def free_again() -> bool:
        return (await lane(rescind))["used"] == 0

    await until(free_again, "the places given back")
    await limited(rescind, provider, {"requests": 10, "per_s": 3600.0})
    await rescind.node.lanes[ACCOUNT].converse(asking(provider.url, 3))
    assert (await lane(rescind))["used"] >= 3
    await rescind.stop()
    again = await start()

    async def counted() -> bool:
        return (await lane(again))["used"] == len(await provider.calls(None))

    await until(counted, "every call of the process before")


async def test_a_question_that_fails_gives_its_place_back_and_says_no_secret(
    rescind: Rescind, provider: Provider, tmp_path: Path
) -> None:
    await limited(rescind, provider, {"requests": 10, "per_s": 0.2})
    secret = account_of(provider.url)["config"]["api_key"]

    def fails(_: Any, __: Context) -> Generator[HttpRequest, HttpResponse, None]:
        yield HttpRequest("GET", f"{provider.url}/whatever", repeatable=True)
        raise ValueError(f"{secret} is no good")

    with pytest.raises(ValueError, match="no good"):
        await rescind.node.lanes[ACCOUNT].converse(fails)
    [(*recorded, detail)] = execute_sql(tmp_path, "SELECT kind, outcome, calls, detail FROM attempts")
    assert recorded == ["registration", "failed", 1]
    assert secret not in detail
    assert "no good" in detail

    async def free_again() -> bool:
        return (await lane(rescind))["used"] == 0

    await until(free_again, "the place given back")


async def test_what_flows_keep_is_forgotten_with_the_configuration_and_only_then(
    rescind: Rescind, provider: Provider
) -> None:
    found: list[Any] = []

    def remembers(_: Any, context: Context) -> Generator[HttpRequest, HttpResponse, None]:
        found.append(context.recall("token"))
        context.keep("token", "t-1", context.now + timedelta(hours=1))
        yield HttpRequest("GET", f"{provider.url}/whatever", repeatable=True)

    lane = rescind.node.lanes[ACCOUNT]
    await limited(rescind, provider, WINDOW)
    await lane.converse(remembers)
    await limited(rescind, provider, {"requests": 50, "per_s": 3600.0})
    await lane.converse(remembers)
    await limited(rescind, provider, {"requests": 50, "per_s": 3600.0}, config={"api_key": "another-key-0123456789"})
    await lane.converse(remembers)
    assert found == [None, "t-1", None]


async def test_a_wait_that_the_provider_asks_for_holds_the_second_call_of_a_flow_too(
    rescind: Rescind, provider: Provider
) -> None:
    await limited(rescind, provider, {"requests": 1, "per_s": 0.2})
    lane = rescind.node.lanes[ACCOUNT]
    await provider.hold(path=None)
    asked = asyncio.create_task(lane.converse(asking(provider.url, 2)))
    await provider.arrived(1, None)
    lane.gate.hold(0.6)
    provider.release()
    await asked
    first, second = [each["at"] for each in await provider.calls(None)]
    assert second - first >= 0.5


async def test_no_call_leaves_by_limits_that_have_just_changed(rescind: Rescind, provider: Provider) -> None:
    await limited(rescind, provider, {"requests": 3, "per_s": 0.05})
    orders = await opened(rescind, provider, 4)
    for order in orders[:3]:
        await rescind.settled(await rescind.cancel(order))
    lane, store, looking, go_on = rescind.node.lanes[ACCOUNT], rescind.node.store, asyncio.Event(), asyncio.Event()
    jobs = store.jobs

    async def slowly(*asked: Any) -> Any:
        found = await jobs(*asked)
        if found:
            looking.set()
            await go_on.wait()
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "jobs", slowly)
        await rescind.cancel(orders[3])
        await looking.wait()
        await limited(rescind, provider, WINDOW)
        go_on.set()
        await used(rescind, 3)
    assert not lane._calling
    assert await provider.calls(None, orders[3]) == []
