"""The registrar at work: again after an error, one at a time, and for those endpoints only that ask for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from conftest import Start
from providers import Side, until
from servers import Rescind

from app.workers import registrar
from handlers.shoplazza.simulator import DEFAULT_ACCESS_TOKEN, DEFAULT_CLIENT_SECRET, DEFAULT_SHOP_DOMAIN, Shoplazza
from handlers.shoplazza.words import TOPICS

SHOP, HOOK = "shop", "shop-in"
PUBLIC = "https://rescind.example.com"
HOOKS = "/openapi/2022-01/webhooks"


@pytest_asyncio.fixture
async def shop() -> AsyncIterator[Side]:
    side = await Side.begin("shoplazza", Shoplazza(topics=()))
    yield side
    await side.close()


async def opened(start: Start, shop: Side) -> Rescind:
    rescind = await start(public_url=f"{PUBLIC}/")
    config = {"base_url": shop.url, "shop_domain": DEFAULT_SHOP_DOMAIN, "access_token": DEFAULT_ACCESS_TOKEN}
    await rescind.put("accounts", SHOP, {"provider": "shoplazza", "config": config})
    return rescind


async def endpoint(rescind: Rescind, id: str = HOOK, *, keep: bool) -> None:
    verify = {"secrets": [DEFAULT_CLIENT_SECRET]}
    await rescind.put("endpoints", id, {"account": SHOP, "verify": verify, "keep_registered": keep})


async def webhooks(shop: Side) -> list[dict[str, Any]]:
    return list((await shop.act("list"))["webhooks"])


async def all_there(shop: Side) -> None:
    async def look() -> bool:
        return {each["topic"] for each in await webhooks(shop)} == set(TOPICS)

    await until(look, "all topics at the shop")


async def test_what_failed_is_tried_again_without_being_asked(
    start: Start, shop: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registrar, "RETRY_S", 0.05)
    rescind = await opened(start, shop)
    await shop.fault("status", None, status=503, times=2)
    await endpoint(rescind, keep=True)
    await all_there(shop)

    async def noted() -> bool:
        return rescind.node.registrar.status[HOOK].error == ""

    await until(noted, "the check that succeeded")


async def test_what_the_shop_drops_is_registered_again_when_the_hour_is_over(
    start: Start, shop: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registrar, "CHECK_S", 0.05)
    rescind = await opened(start, shop)
    await endpoint(rescind, keep=True)
    await all_there(shop)
    await shop.act("drop_webhook", topic="orders/paid")
    await all_there(shop)
    assert rescind.node.healthy


async def test_only_who_wants_to_be_looked_after_is(start: Start, shop: Side) -> None:
    rescind = await opened(start, shop)
    await endpoint(rescind, "by-hand", keep=False)
    await endpoint(rescind, keep=True)
    await all_there(shop)

    async def looked() -> bool:
        return HOOK in rescind.node.registrar.status

    await until(looked, "the endpoint looked at")
    assert "by-hand" not in rescind.node.registrar.status
    assert {each["address"] for each in await webhooks(shop)} == {f"{PUBLIC}/webhooks/{HOOK}"}, (
        "one slash, one endpoint"
    )


async def test_two_who_register_the_same_make_it_once(start: Start, shop: Side) -> None:
    rescind = await opened(start, shop)
    await endpoint(rescind, keep=False)
    path = f"/v1/endpoints/{HOOK}/register"
    replies = await asyncio.gather(*(rescind.ask("POST", path) for _ in range(3)))
    assert [reply.status for reply in replies] == [200] * 3
    assert sorted(len(reply.json["restored"]) for reply in replies) == [0, 0, len(TOPICS)]
    made = [each for each in await shop.calls() if each["method"] == "POST"]
    assert len(made) == len(await webhooks(shop)) == len(TOPICS)


async def test_what_was_unregistered_is_no_longer_shown_as_registered(start: Start, shop: Side) -> None:
    rescind = await opened(start, shop)
    await endpoint(rescind, keep=False)
    await rescind.ask("POST", f"/v1/endpoints/{HOOK}/register")
    assert rescind.node.registrar.status[HOOK].missing == ()
    await rescind.ask("POST", f"/v1/endpoints/{HOOK}/unregister")
    assert HOOK not in rescind.node.registrar.status
    assert await webhooks(shop) == []


async def test_a_shop_that_fails_is_a_bad_gateway_and_no_crash(start: Start, shop: Side) -> None:
    rescind = await opened(start, shop)
    await endpoint(rescind, keep=False)
    for what in ("register", "unregister"):
        await shop.fault("status", None, status=503)
        (await rescind.ask("POST", f"/v1/endpoints/{HOOK}/{what}")).problem(502, "provider-failed")
    await shop.mend()
    assert (await rescind.ask("POST", f"/v1/endpoints/{HOOK}/register")).status == 200
