"""A generic source that wants the order's present version in a cancel, and states its limit in responses."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace
from providers import Side, until
from servers import Rescind

from app.contract import HttpRequest, HttpResponse
from handlers.generic.simulator import ExampleShop

SHOP, HOOK = "example-shop", "example-shop-in"
SCENARIO = json.loads(
    (Path(__file__).parents[2] / "handlers" / "generic" / "fixtures" / "_scenario.json").read_text(encoding="utf-8")
)
TOKEN = "a-token-of-the-shop-0123"
pytestmark = pytest.mark.usefixtures("quick")


class VersionedShop(ExampleShop):
    """The Example shop with optimistic locking: a cancel names the version, as Square's orders want it."""

    version = 5
    remaining = 9
    failures = 0

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.keys: list[str] = []

    def handle(self, request: HttpRequest, now: float) -> HttpResponse:
        headers = {"x-left": str(self.remaining), "x-reset-ms": "1800000"}
        if request.method == "POST":
            self.keys.append(request.headers["Idempotency-Key"])
            if self.failures:
                self.failures -= 1
                return HttpResponse(503, headers)
            if json.loads(request.body)["version"] != self.version:
                body = {"error": {"code": "outdated", "message": "The version is another."}}
                return HttpResponse(409, {"content-type": "application/json"}, json.dumps(body).encode())
        response = super().handle(request, now)
        if request.method == "GET" and response.status == 200:
            body = {**json.loads(response.body), "version": self.version}
            response = replace(response, body=json.dumps(body).encode())
        return replace(response, headers={**response.headers, **headers})


@pytest_asyncio.fixture
async def shop() -> AsyncIterator[Side]:
    side = await Side.begin("generic", VersionedShop(**SCENARIO.get("simulator", {})))
    yield side
    await side.close()


async def account(rescind: Rescind, shop: Side) -> None:
    """The account, without webhooks from the shop: what happens there, only a probe tells."""
    config: dict[str, Any] = {**SCENARIO["config"], "base_url": shop.url}
    attributes = {**config["fields"]["attributes"], "version": "data.order.version"}
    config["fields"] = {**config["fields"], "attributes": attributes}
    config["cancel"] = {
        **config["cancel"],
        "probe_before": True,
        "headers": {**config["cancel"]["headers"], "Idempotency-Key": "{{ cancellation.id }}/{{ attempt }}"},
        "body": {**config["cancel"]["body"], "version": "{{ int(order.attributes.version) }}"},
        "answers": [{"status": 503, "outcome": "retry", "doubtful": False}, *config["cancel"]["answers"]],
    }
    config["throttle"] = {"remaining": "header:X-Left", "wait": "header:X-Reset-Ms", "unit": "ms"}
    await rescind.put("accounts", SHOP, {"provider": "generic", "config": config, "rules": SCENARIO["rules"]})
    await rescind.put("endpoints", HOOK, {"account": SHOP, "verify": {"secrets": [TOKEN]}})


async def tell(rescind: Rescind, order: str, type: str, status: str, number: int, version: int) -> None:
    data = {"order": {"id": order, "status": status, "version": version}}
    event = {
        "specversion": "1.0",
        "id": str(number),
        "source": "/shop",
        "type": f"com.example.shop.{type}",
        "data": data,
    }
    reply = await rescind.hook(event, HOOK, TOKEN, headers={"Content-Type": "application/cloudevents+json"})
    assert reply.json["status"] == "accepted"


async def placed(rescind: Rescind, shop: Side) -> str:
    """An order that is known as open with an old version."""
    await account(rescind, shop)
    order = str((await shop.act("create_order", silent=True))["order_id"])
    await tell(rescind, order, "order.placed", "placed", 1, version=3)
    assert (await rescind.order(order, SHOP))["attributes"]["version"] == 3
    return order


async def cancel(rescind: Rescind, order: str) -> str:
    path = f"/v1/accounts/{SHOP}/orders/{order}/cancellations"
    return str((await rescind.ask("POST", path, {"reason": "mistake"})).json["id"])


async def methods(shop: Side) -> list[str]:
    return [call["method"] for call in await shop.calls()]


async def test_the_cancel_is_made_of_what_the_probe_says(rescind: Rescind, shop: Side) -> None:
    order = await placed(rescind, shop)
    id = await cancel(rescind, order)
    done = await rescind.settled(id)
    assert (done["state"], done["attempts"]) == ("succeeded", 1)
    assert await methods(shop) == ["GET", "POST"]
    assert await shop.effects(order) == 1
    assert shop.simulator.keys == [f"{id}/1"]


async def test_each_try_has_a_probe_before_it_and_names_the_same_cancellation(rescind: Rescind, shop: Side) -> None:
    order = await placed(rescind, shop)
    shop.simulator.failures = 2
    id = await cancel(rescind, order)
    done = await rescind.settled(id)
    assert (done["state"], done["attempts"]) == ("succeeded", 3)
    assert await methods(shop) == ["GET", "POST"] * 3
    assert shop.simulator.keys == [f"{id}/{attempt}" for attempt in (1, 2, 3)]


@pytest.mark.parametrize(("step", "reason"), [("ship", "in_progress"), ("cancel_by_staff", "already_canceled")])
async def test_an_order_that_the_probe_shows_as_gone_is_not_canceled(
    rescind: Rescind, shop: Side, step: str, reason: str
) -> None:
    order = await placed(rescind, shop)
    await shop.act(step, order_id=order, silent=True)
    done = await rescind.settled(await cancel(rescind, order))
    assert (done["state"], done["attempts"], done["verdict"]["reason"]) == ("rejected", 0, reason)
    types = [(await rescind.get(f"/v1/events/{evidence}"))["type"] for evidence in done["evidence"]]
    assert "order.probed" in types
    assert await methods(shop) == ["GET"]


async def test_a_condition_that_says_no_by_what_the_probe_says_is_heeded(rescind: Rescind, shop: Side) -> None:
    order = await placed(rescind, shop)
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    await shop.act("book_delivery", order_id=order, starts_at=soon, silent=True)
    done = await rescind.settled(await cancel(rescind, order))
    assert (done["state"], done["verdict"]["reason"]) == ("rejected", "delivery_near")
    assert await methods(shop) == ["GET"]


async def test_what_is_heard_while_the_probe_is_out_stops_the_cancel(rescind: Rescind, shop: Side) -> None:
    """The fence: the probe's word is older than the webhook's."""
    order = await placed(rescind, shop)
    await shop.hold(path=None, processed="before")
    id = await cancel(rescind, order)
    await shop.arrived(1)
    await tell(rescind, order, "order.shipped", "shipped", 2, version=6)
    shop.release()
    done = await rescind.settled(id)
    assert done["state"] in ("rejected", "revoked")
    assert await methods(shop) == ["GET"]
    assert await shop.effects(order) == 0


async def test_a_probe_that_is_refused_ends_it_and_one_that_fails_delays_it(rescind: Rescind, shop: Side) -> None:
    await account(rescind, shop)
    await tell(rescind, "nowhere", "order.placed", "placed", 1, version=3)
    done = await rescind.settled(await cancel(rescind, "nowhere"))
    assert done["state"] == "refused"
    order = str((await shop.act("create_order", silent=True))["order_id"])
    await tell(rescind, order, "order.placed", "placed", 2, version=3)
    await shop.fault("reset_after")
    assert (await rescind.settled(await cancel(rescind, order)))["state"] == "succeeded"
    assert "POST" not in (await methods(shop))[:-1]
    assert len(shop.simulator.keys) == 1


async def test_a_limit_in_a_response_holds_the_account(rescind: Rescind, shop: Side) -> None:
    order = await placed(rescind, shop)
    shop.simulator.remaining = 0
    id = await cancel(rescind, order)
    rate = rescind.node.lanes[SHOP].gate.rate

    async def held() -> bool:
        return rate.hold_until > time.monotonic() + 1000

    await until(held, "a hold")
    assert rate.hold_until <= time.monotonic() + 1800
    assert await methods(shop) == ["GET"], "the probe's response said so"
    waiting = await rescind.settled(id, "scheduled")
    assert waiting["waiting"]["for"] == "throttled"
