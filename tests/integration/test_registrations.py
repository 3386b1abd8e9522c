"""Webhooks that are registered through the provider's API, checked, and restored."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from conftest import Start
from providers import Side, until
from servers import ACCOUNT, Rescind, account_of

from handlers.shoplazza import HANDLER
from handlers.shoplazza.simulator import DEFAULT_ACCESS_TOKEN, DEFAULT_CLIENT_SECRET, DEFAULT_SHOP_DOMAIN, Shoplazza

SHOP, HOOK = "shop", "shop-in"
PUBLIC = "https://rescind.example.com"


@pytest_asyncio.fixture
async def shop() -> AsyncIterator[Side]:
    side = await Side.begin("shoplazza", Shoplazza(topics=()))
    yield side
    await side.close()


async def account(rescind: Rescind, shop: Side, **more: Any) -> None:
    config = {
        "base_url": shop.url,
        "shop_domain": DEFAULT_SHOP_DOMAIN,
        "access_token": DEFAULT_ACCESS_TOKEN,
        **more.pop("config", {}),
    }
    await rescind.put("accounts", SHOP, {"provider": "shoplazza", "config": config, **more})


async def endpoint(rescind: Rescind, *, keep: bool = True) -> None:
    verify = {"secrets": [DEFAULT_CLIENT_SECRET]}
    await rescind.put("endpoints", HOOK, {"account": SHOP, "verify": verify, "keep_registered": keep})


async def registered(rescind: Rescind) -> set[str]:
    return {each["topic"] for each in (await rescind.get(f"/v1/endpoints/{HOOK}/registrations"))["registered"]}


async def all_are_registered(rescind: Rescind) -> None:
    async def look() -> bool:
        return await registered(rescind) == set(HANDLER.topics)

    await until(look, "all topics at the provider")


async def test_an_endpoint_is_registered_and_what_is_dropped_is_restored(start: Start, shop: Side) -> None:
    rescind = await start(public_url=PUBLIC)
    await account(rescind, shop)
    await endpoint(rescind)
    await all_are_registered(rescind)
    found = await rescind.get(f"/v1/endpoints/{HOOK}/registrations")
    assert {each["url"] for each in found["registered"]} == {f"{PUBLIC}/webhooks/{HOOK}"}
    assert found["missing"] == []
    await shop.act("drop_webhook", topic="orders/cancelled")
    found = await rescind.get(f"/v1/endpoints/{HOOK}/registrations")
    assert found["missing"] == ["orders/cancelled"], "to look changes nothing"
    restored = await rescind.ask("POST", f"/v1/endpoints/{HOOK}/register")
    assert (restored.status, restored.json["restored"]) == (200, ["orders/cancelled"])
    assert await registered(rescind) == set(HANDLER.topics)
    again = await rescind.ask("POST", f"/v1/endpoints/{HOOK}/register")
    assert again.json["restored"] == []


async def test_a_registered_shop_tells_of_its_orders_and_an_unregistered_one_no_more(start: Start, shop: Side) -> None:
    rescind = await start(public_url=PUBLIC)
    await account(rescind, shop)
    await endpoint(rescind, keep=False)
    assert await registered(rescind) == set()
    assert (await rescind.ask("POST", f"/v1/endpoints/{HOOK}/register")).status == 200
    # The shop would call PUBLIC, which is nobody's here.
    await shop.aim(f"{rescind.url}/webhooks/{HOOK}")
    first = str((await shop.act("create_order"))["order_id"])

    async def heard() -> bool:
        return (await rescind.ask("GET", f"/v1/accounts/{SHOP}/orders/{first}")).status == 200

    await until(heard, "the shop's webhook")
    gone = await rescind.ask("POST", f"/v1/endpoints/{HOOK}/unregister")
    assert {each["topic"] for each in gone.json["removed"]} == set(HANDLER.topics)
    second = str((await shop.act("create_order"))["order_id"])
    assert await registered(rescind) == set()
    assert (await rescind.ask("GET", f"/v1/accounts/{SHOP}/orders/{second}")).status == 404


async def test_somebody_else_s_registrations_are_left_alone(start: Start, shop: Side) -> None:
    rescind = await start(public_url=PUBLIC)
    await account(rescind, shop)
    await endpoint(rescind, keep=False)
    async with rescind.session.post(
        f"{shop.url}/openapi/2022-01/webhooks",
        json={"address": "https://else.example.com/in", "topic": "orders/create"},
        headers={"access-token": DEFAULT_ACCESS_TOKEN},
    ) as answer:
        assert answer.status < 300, await answer.text()
    await rescind.ask("POST", f"/v1/endpoints/{HOOK}/register")
    await rescind.ask("POST", f"/v1/endpoints/{HOOK}/unregister")
    left = (await shop.act("list"))["webhooks"]
    assert [each["address"] for each in left] == ["https://else.example.com/in"]


async def test_what_cannot_be_done_is_said(start: Start, shop: Side) -> None:
    rescind = await start()
    await account(rescind, shop)
    await endpoint(rescind)
    reply = await rescind.ask("POST", f"/v1/endpoints/{HOOK}/register")
    reply.problem(502, "provider-failed")
    assert "RESCIND_PUBLIC_URL" in reply.json["detail"]
    (await rescind.ask("GET", "/v1/endpoints/nobody/registrations")).problem(404, "not-found")
    await rescind.put("accounts", ACCOUNT, account_of(shop.url))
    body = {"account": ACCOUNT, "verify": {"scheme": "token", "secrets": ["x"]}, "keep_registered": True}
    reply = await rescind.ask("PUT", "/v1/endpoints/photos-in", body)
    reply.problem(422, "invalid-request")
    assert "keep_registered" in reply.json["detail"]


async def test_refused_credentials_are_reported_and_the_rest_goes_on(start: Start, shop: Side) -> None:
    rescind = await start(public_url=PUBLIC)
    await account(rescind, shop, config={"access_token": "no-good-0123456789"})
    await endpoint(rescind)
    found = await rescind.get(f"/v1/endpoints/{HOOK}/registrations")
    assert found["error"]
    assert "no-good" not in found["error"]
    await account(rescind, shop)
    assert (await rescind.ask("POST", f"/v1/endpoints/{HOOK}/register")).status == 200


async def test_registration_stays_within_the_limit_and_is_counted(start: Start, shop: Side) -> None:
    rescind = await start(public_url=PUBLIC)
    await account(rescind, shop, limits={"burst": 3, "rate_per_s": 20.0})
    await endpoint(rescind, keep=False)
    assert (await rescind.ask("POST", f"/v1/endpoints/{HOOK}/register")).status == 200
    arrivals = [each["at"] for each in await shop.calls()]
    assert len(arrivals) == len(HANDLER.topics) + 1
    for number, later in enumerate(arrivals):
        for earlier in range(number):
            calls = number - earlier + 1
            assert calls <= 3 + 20.0 * (later - arrivals[earlier]) + 1e-6, "the bucket overflows"
