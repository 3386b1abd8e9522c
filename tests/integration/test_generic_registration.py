"""A generic account whose source has an API to register webhooks with: the README's example, at the Example shop."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio
import yaml
from browsers import Browser
from clusters import account_for, cluster
from conftest import Start
from providers import Side, until
from servers import Rescind, stored_in

import handlers.generic
from app.config.resolve import Account
from handlers.generic.simulator import ExampleShop

SHOP, HOOK = "example-shop", "example-shop-in"
PUBLIC = "https://rescind.example.com"
FOLDER = Path(handlers.generic.__file__).parent
README = (FOLDER / "README.md").read_text(encoding="utf-8")
SCENARIO = json.loads((FOLDER / "fixtures" / "_scenario.json").read_text(encoding="utf-8"))
EXAMPLE: dict[str, Any] = next(
    loaded
    for loaded in map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", README, re.DOTALL))
    if "registration" in loaded
)
TOPICS: list[str] = EXAMPLE["registration"]["topics"]


@pytest_asyncio.fixture
async def shop() -> AsyncIterator[Side]:
    side = await Side.begin("generic", ExampleShop())
    yield side
    await side.close()


async def account(rescind: Rescind, shop: Side, id: str = SHOP, **config: Any) -> None:
    config = {**SCENARIO["config"], "base_url": shop.url, **EXAMPLE, **config}
    await rescind.put("accounts", id, {"provider": "generic", "config": config, "rules": SCENARIO["rules"]})


async def endpoint(rescind: Rescind, of: str = SHOP, **more: Any) -> None:
    body = {"account": of, "id": f"{of}-in", "verify": {"scheme": "standard_webhooks"}, **more}
    made = await rescind.ask("POST", "/v1/endpoints", body)
    assert made.status == 201, made


async def hooks(shop: Side) -> list[Any]:
    return list((await shop.act("list"))["webhooks"])


async def is_heard(rescind: Rescind, shop: Side) -> None:
    """Wait until a new order of the shop's is known, whose webhook the secret of its registration signs."""
    await shop.aim(f"{rescind.url}/webhooks/{HOOK}")
    order = str((await shop.act("create_order"))["order_id"])

    async def heard() -> bool:
        return (await rescind.ask("GET", f"/v1/accounts/{SHOP}/orders/{order}")).status == 200

    await until(heard, "the shop's webhook")


async def all_are_registered(rescind: Rescind) -> None:
    """Wait until they are, and will not be looked at for a while: the secret that is stored is one more reason to."""
    registrar = rescind.node.registrar

    async def look() -> bool:
        if registrar._next(rescind.node.config.endpoints[HOOK]) <= time.monotonic():
            return False
        found = await rescind.get(f"/v1/endpoints/{HOOK}/registrations")
        return {each["topic"] for each in found["registered"]} == set(TOPICS) and not found["error"]

    await until(look, "all topics at the shop")


async def test_an_endpoint_is_registered_signed_by_the_source_s_secret_and_registered_again(
    start: Start, shop: Side, tmp_path: Path
) -> None:
    rescind = await start(public_url=PUBLIC)
    await account(rescind, shop)
    await endpoint(rescind, keep_registered=True)
    await all_are_registered(rescind)
    [hook] = await hooks(shop)
    assert (hook["url"], hook["topics"]) == (f"{PUBLIC}/webhooks/{HOOK}", TOPICS)
    await is_heard(rescind, shop)
    await shop.act("drop_webhook", webhook_id=hook["id"])
    found = await rescind.get(f"/v1/endpoints/{HOOK}/registrations")
    assert (found["registered"], found["missing"], found["error"]) == ([], TOPICS, "")
    restored = await rescind.ask("POST", f"/v1/endpoints/{HOOK}/register")
    assert (restored.status, restored.json["restored"]) == (200, TOPICS)
    [again] = await hooks(shop)
    assert again["id"] != hook["id"]
    await is_heard(rescind, shop)
    simulator: Any = shop.simulator
    secret = simulator._webhooks[again["id"]]["secret"]
    shown = [
        await rescind.get(path)
        for path in (f"/v1/endpoints/{HOOK}", f"/v1/endpoints/{HOOK}/registrations", "/v1/changes", "/v1/receipts")
    ]
    assert secret not in str(shown)
    assert secret.encode() not in stored_in(tmp_path)


async def test_an_endpoint_is_unregistered_and_what_is_somebody_else_s_stays(start: Start, shop: Side) -> None:
    rescind = await start(public_url=PUBLIC)
    await account(rescind, shop)
    await endpoint(rescind)
    body = {"url": "https://else.example.com/in", "topics": ["order.placed"]}
    headers = {"Authorization": f"Bearer {SCENARIO['config']['api_key']}"}
    async with rescind.session.post(f"{shop.url}/v1/webhooks", json=body, headers=headers) as answer:
        assert answer.status == 201, await answer.text()
    registered = (await rescind.ask("POST", f"/v1/endpoints/{HOOK}/register")).json
    assert [one["url"] for one in registered["foreign"]] == ["https://else.example.com/in"]
    removed = (await rescind.ask("POST", f"/v1/endpoints/{HOOK}/unregister", {})).json
    assert [one["topic"] for one in removed["removed"]] == TOPICS
    assert [hook["url"] for hook in await hooks(shop)] == ["https://else.example.com/in"]


async def test_a_topic_that_the_source_refuses_is_named_without_the_key(start: Start, shop: Side) -> None:
    rescind = await start(public_url=PUBLIC)
    registration = {**EXAMPLE["registration"], "topics": ["order.teleported"]}
    await account(rescind, shop, registration=registration)
    await endpoint(rescind)
    reply = await rescind.ask("POST", f"/v1/endpoints/{HOOK}/register")
    reply.problem(502, "provider-failed")
    assert "order.teleported: " in reply.json["detail"]
    assert "some of order.placed" in reply.json["detail"]
    await account(rescind, shop, api_key="a-key-that-is-wrong")
    reply = await rescind.ask("POST", f"/v1/endpoints/{HOOK}/register")
    reply.problem(502, "provider-failed")
    assert "a-key-that-is-wrong" not in reply.raw.decode()


async def test_without_registration_in_its_config_an_account_cannot_register(start: Start, shop: Side) -> None:
    rescind = await start(public_url=PUBLIC)
    await account(rescind, shop, registration=None)
    body = {"account": SHOP, "verify": {"scheme": "token", "secrets": ["x"]}}
    reply = await rescind.ask("PUT", f"/v1/endpoints/{HOOK}", {**body, "keep_registered": True})
    reply.problem(422, "invalid-request")
    assert f"the config of account {SHOP} does not say how webhooks are registered" in reply.json["detail"]
    await rescind.put("endpoints", HOOK, body)
    found = await rescind.get(f"/v1/endpoints/{HOOK}/registrations")
    assert "does not say how" in found["error"]
    for action in ("register", "unregister"):
        (await rescind.ask("POST", f"/v1/endpoints/{HOOK}/{action}", {})).problem(422, "invalid-request")
    browser = Browser(rescind.url)
    await browser.sign_in()
    pages = [f"/accounts/{SHOP}", f"/endpoints/{HOOK}"]
    assert ["registrations at the provider" in (await browser.get(page)).lower() for page in pages] == [False, False]
    await account(rescind, shop)
    assert ["registrations at the provider" in (await browser.get(page)).lower() for page in pages] == [True, True]


async def test_a_node_that_does_not_own_the_account_registers_it(tmp_path: Path, shop: Side) -> None:
    async with cluster(tmp_path, 0) as nodes:
        owner, other = [await nodes.start(public_url=PUBLIC) for _ in range(2)]
        id = account_for(owner, nodes.nodes)
        await account(other, shop, id)
        await endpoint(other, id)
        assert await nodes.owner(id) is owner
        status = (await other.ask("POST", f"/v1/endpoints/{id}-in/register")).json
        assert (status["restored"], status["error"]) == (TOPICS, "")
        [hook] = await hooks(shop)
        simulator: Any = shop.simulator
        secret = simulator._webhooks[hook["id"]]["secret"]

        async def is_known(node: Rescind) -> bool:
            known = node.node.config.endpoints.get(f"{id}-in")
            return known is not None and secret in known.secrets

        for node in nodes.nodes:
            await until(lambda node=node: is_known(node), "the shop's secret at every node")
        resolved: Account = other.node.config.accounts[id]
        assert list(resolved.topics) == TOPICS
