"""What an order may be called when somebody asks for it: an id without its mark, and an id that can be none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from providers import Provider, Side
from servers import ACCOUNT, CANCEL_BODY, Rescind

from handlers.kibo.simulator import DEFAULT_SECRET, Kibo

SHOP, HOOK = "shop", "shop-in"
KIBO_CANCEL_BODY = {"reason": "customer_changed_mind"}
ENTITY = "16a0f1c2d3b4e50001c0ffee"
pytestmark = pytest.mark.usefixtures("quick")


@pytest_asyncio.fixture
async def kibo() -> AsyncIterator[Side]:
    side = await Side.begin("kibo", Kibo())
    yield side
    await side.close()


async def shop(rescind: Rescind, kibo: Side, **config: Any) -> None:
    given = {"tenant": "10001", "base_url": kibo.url, "shared_secret": DEFAULT_SECRET, **config}
    await rescind.put("accounts", SHOP, {"provider": "kibo", "config": given})
    await rescind.put("endpoints", HOOK, {"account": SHOP})


async def ask(rescind: Rescind, order: str, **more: Any) -> Any:
    path = f"/v1/accounts/{SHOP}/orders/{order}/cancellations"
    return await rescind.ask("POST", path, {**KIBO_CANCEL_BODY, **more})


async def test_a_bare_request_id_is_answered_with_the_name_of_the_order(rescind: Rescind, provider: Provider) -> None:
    body = {"event": "order.processed", "request_id": 998880, "status": "new_request"}
    assert (await rescind.hook(body)).status == 200
    base, named = f"/v1/accounts/{ACCOUNT}/orders", "'request:998880'"
    for path in ("/998880", "/998880/verdict", "/998880/timeline"):
        assert named in (await rescind.ask("GET", base + path)).problem(404, "not-found")["detail"]
    listed = await rescind.ask("GET", f"/v1/events?account={ACCOUNT}&order=998880")
    assert named in listed.problem(404, "not-found")["detail"]
    for dry_run in (True, False):
        problem = (await rescind.request_cancel("998880", dry_run=dry_run)).problem(404, "not-found")
        assert f"there is an order {named}: cancel it by that name" in problem["detail"]
    item = {"account": ACCOUNT, "order": "998880", **CANCEL_BODY}
    batch = await rescind.ask("POST", "/v1/cancellation-batches", {"cancellations": [item]})
    [result] = batch.json["results"]
    assert (result["outcome"], named in result["detail"]) == ("invalid", True)
    assert await provider.calls() == []
    assert "there is" not in (await rescind.ask("GET", f"{base}/998881")).problem(404, "not-found")["detail"].lower()


async def test_the_order_that_has_the_bare_id_is_canceled_and_so_is_one_that_is_meant(
    rescind: Rescind, provider: Provider
) -> None:
    await provider.act("create_order", order_id="7", request_id="998880")
    await provider.act("create_order", order_id="998880", request_id="8")
    assert (await rescind.hook({"event": "order.processed", "request_id": 998880, "status": "ordered"})).status == 200
    forced = await rescind.settled(await rescind.cancel("998880", force=True))
    assert (forced["order"], forced["state"]) == ("998880", "succeeded")
    assert [await provider.status(order) for order in ("7", "998880")] == ["ordered", "canceled"]
    named = await rescind.settled(await rescind.cancel("request:998880"))
    assert (named["state"], await provider.status("7")) == ("succeeded", "canceled")


async def test_an_order_id_below_one_is_refused_at_the_door(rescind: Rescind, kibo: Side) -> None:
    await shop(rescind, kibo)
    for order in ("0", "-1", "00", "-999"):
        problem = (await ask(rescind, order)).problem(422, "invalid-request")
        assert (problem["field"], "at least 1" in problem["detail"]) == ("order", True)
    item = {"account": SHOP, "order": "0", **KIBO_CANCEL_BODY}
    batch = await rescind.ask("POST", "/v1/cancellation-batches", {"cancellations": [item]})
    assert "at least 1" in batch.json["results"][0]["detail"]
    assert await kibo.calls() == []


async def test_a_note_that_kibo_would_pass_over_is_refused_and_told_what_to_do(rescind: Rescind, kibo: Side) -> None:
    await shop(rescind, kibo)
    problem = (await ask(rescind, "1010101", note="Two of them came.")).problem(422, "invalid-request")
    assert problem["field"] == "note"
    assert "leave the note out, or give the reason 'other'" in problem["detail"]


async def test_a_404_to_the_undocumented_get_decides_nothing(rescind: Rescind, kibo: Side) -> None:
    await shop(rescind, kibo, order_path="/api/v2/elsewhere/{id}")
    await kibo.act("create_order", silent=True)
    done = await rescind.settled((await ask(rescind, "1010101")).json["id"])
    assert done["state"] == "succeeded"
    calls = [(each["method"], each["path"]) for each in await kibo.calls()]
    assert calls == [("GET", "/api/v2/elsewhere/1010101"), ("POST", "/api/v2/order/action/cancel")]
