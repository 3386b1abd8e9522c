"""The registrar beside other work: limits, pauses, changes of the account, and accounts that go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from conftest import Start
from integration.test_registrations import HOOK, PUBLIC, SHOP, endpoint
from integration.test_registrations import account as shop_account
from providers import Side, until

from handlers.shoplazza.simulator import Shoplazza

pytestmark = pytest.mark.usefixtures("quick")
STRANGER = {"shop_domain": "s.myshoplaza.com", "access_token": "x-0123456789"}


@pytest_asyncio.fixture
async def shop() -> AsyncIterator[Side]:
    side = await Side.begin("shoplazza", Shoplazza(topics=()))
    yield side
    await side.close()


async def test_the_first_call_counts_those_of_the_process_before(start: Start, shop: Side) -> None:
    rescind = await start(public_url=PUBLIC)
    await shop_account(rescind, shop, limits={"requests": 1, "per_s": 3600})
    await endpoint(rescind)
    await shop.arrived(1)
    await rescind.stop()
    before = len(await shop.calls())
    rescind = await start(public_url=PUBLIC)

    async def look() -> bool:
        return bool((await rescind.get(f"/v1/accounts/{SHOP}"))["lane"]["used"] >= 1)

    await until(look)
    for _ in range(20):
        await rescind.get(f"/v1/accounts/{SHOP}")
    assert len(await shop.calls()) == before, "two calls within the hour, of one that is allowed"


async def test_an_account_that_is_removed_meanwhile_does_no_harm(start: Start, shop: Side) -> None:
    rescind = await start(public_url=PUBLIC)
    body = {"verify": {"secrets": ["s"]}, "keep_registered": True}
    for number in (1, 2):
        config = {"base_url": shop.url, **STRANGER}
        await rescind.put("accounts", f"shop-{number}", {"provider": "shoplazza", "config": config})
    await shop.hold(path=None)
    hooks = [{"id": f"h-{number}", "account": f"shop-{number}", **body} for number in (1, 2)]
    await rescind.node.apply({"endpoints": hooks}, by="me")
    await shop.arrived(1)
    for path in ("endpoints/h-2", "accounts/shop-2"):
        reply = await rescind.ask("DELETE", f"/v1/{path}")
        assert reply.status < 300, reply
    shop.release()

    async def checked() -> bool:
        return "h-1" in rescind.node.registrar.status

    await until(checked, "the other one looked at")
    assert rescind.node.healthy


async def test_an_account_that_must_wait_holds_up_no_other(start: Start, shop: Side) -> None:
    rescind = await start(public_url=PUBLIC)
    await shop_account(rescind, shop)
    config = {"base_url": shop.url, **STRANGER}
    await rescind.put("accounts", "slow", {"provider": "shoplazza", "config": config})
    rescind.node.lanes["slow"].gate.hold(24 * 3600)  # as after a 429 with Retry-After
    body = {"verify": {"secrets": ["s"]}, "keep_registered": True}
    await rescind.put("endpoints", "a-slow", {"account": "slow", **body})
    await endpoint(rescind)

    async def checked() -> bool:
        return HOOK in rescind.node.registrar.status

    await until(checked, "the other account's registrations looked at")


async def test_an_account_that_may_not_call_now_is_reported_and_calls_are_not_cut_off(
    start: Start, shop: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.workers.lane.WAIT_MAX_S", 0.0)
    rescind = await start(public_url=PUBLIC)
    await shop_account(rescind, shop, limits={"burst": 100, "rate_per_s": 100.0})
    await endpoint(rescind, keep=False)
    await rescind.node.lanes[SHOP].gate.restored.wait()
    made = await rescind.ask("POST", f"/v1/endpoints/{HOOK}/register")
    assert (made.status, made.json["missing"]) == (200, []), "calls of a flow that began in time"
    before = len(await shop.calls())
    rescind.node.lanes[SHOP].gate.hold(24 * 3600)
    for path in ("register", "unregister"):
        reply = await rescind.ask("POST", f"/v1/endpoints/{HOOK}/{path}")
        assert "may not call its provider now" in reply.problem(502, "provider-failed")["detail"]
    assert len(await shop.calls()) == before


async def test_a_flow_that_waited_uses_the_configuration_of_now(start: Start, shop: Side) -> None:
    rescind = await start(public_url=PUBLIC)
    full = {"requests": 1, "per_s": 3600}
    await shop_account(rescind, shop, config={"access_token": "old-0123456789"}, limits=full)
    lane = rescind.node.lanes[SHOP]

    def takes_the_place(*_: Any) -> Any:
        return None
        yield

    await lane.converse(takes_the_place)
    used: list[Any] = []

    def flow(config: Any, context: Any) -> Any:
        used.append((config.access_token.get_secret_value(), context.memory is lane._memory.memory))
        return None
        yield

    waiting = asyncio.create_task(lane.converse(flow))
    for _ in range(20):
        # Everything runs on in the meantime, as far as it can.
        await rescind.get("/healthz", key=None)
    assert used == []
    await shop_account(rescind, shop, config={"access_token": "new-0123456789"})
    await waiting
    assert used == [("new-0123456789", True)], "old credentials, and the memory of the new ones"


async def test_what_a_flow_asks_to_hold_is_heeded(start: Start, shop: Side) -> None:
    rescind = await start(public_url=PUBLIC)
    await shop_account(rescind, shop)
    lane = rescind.node.lanes[SHOP]

    def flow(_: Any, context: Any) -> Any:
        context.hold(100.0)
        return None
        yield

    await lane.converse(flow)
    assert lane.status().state == "throttled"


async def test_nothing_is_registered_by_itself_while_sending_is_paused(start: Start, shop: Side) -> None:
    rescind = await start(public_url=PUBLIC)
    await shop_account(rescind, shop)
    await rescind.ask("POST", "/v1/pause", {"scope": "all"})
    await endpoint(rescind)

    async def looked() -> bool:
        return HOOK in rescind.node.registrar.status

    await until(looked, "the registrar's look")
    assert "paused" in rescind.node.registrar.status[HOOK].error
    assert await shop.calls() == []
    reply = await rescind.ask("POST", f"/v1/endpoints/{HOOK}/register")
    assert reply.status == 200, "who asks for it gets it"


async def test_what_is_kept_registered_is_not_unregistered(start: Start, shop: Side) -> None:
    rescind = await start(public_url=PUBLIC)
    await shop_account(rescind, shop)
    await endpoint(rescind)
    reply = await rescind.ask("POST", f"/v1/endpoints/{HOOK}/unregister")
    reply.problem(422, "invalid-request")
    assert "keep_registered" in reply.json["detail"]
