"""Names that orders have in common: what a shared alias finds, what a unique one joins, and which order is canceled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import postgres
import pytest
import pytest_asyncio
from commits import one_commit
from providers import Provider, Side
from servers import ACCOUNT, Rescind, account_of, endpoint_of

from app.contract import Facts
from app.core.results import RecordProbe
from app.engine.identity import NameClashError
from app.engine.rebuild import check
from app.store.postgres.transaction import PostgresTransaction
from app.store.sqlite.transaction import SqliteTransaction
from handlers.generic import HANDLER

SHOP, HOOK = "shop", "shop-in"
SCENARIO = json.loads(
    (Path(__file__).parents[2] / "handlers" / "generic" / "fixtures" / "_scenario.json").read_text(encoding="utf-8")
)
CANCEL_BODY = {"reason": "mistake", "note": "Twice."}
pytestmark = pytest.mark.usefixtures("quick")


@pytest_asyncio.fixture
async def shop(rescind: Rescind) -> AsyncIterator[Side]:
    """A source without code, whose orders carry a reference (`ref`) and a second id (`number`)."""
    assert HANDLER.simulator is not None
    side = await Side.begin("generic", HANDLER.simulator())
    fields = {**SCENARIO["config"]["fields"], "aliases": {"unique": "data.order.number", "shared": "data.order.ref"}}
    config = {**SCENARIO["config"], "fields": fields, "base_url": side.url}
    await rescind.put("accounts", SHOP, {"provider": "generic", "config": config, "rules": SCENARIO["rules"]})
    await rescind.put("endpoints", HOOK, endpoint_of(SHOP))
    yield side
    await side.close()


def told(order: str, **more: Any) -> dict[str, Any]:
    event = {
        "specversion": "1.0",
        "id": f"e-{order}-{more}",
        "source": "/shop",
        "type": "com.example.shop.order.placed",
    }
    return {**event, "data": {"order": {"id": order, "status": "placed", **more}}}


async def place(rescind: Rescind, order: str, **more: Any) -> tuple[int, dict[str, Any]]:
    headers = {"Content-Type": "application/cloudevents+json"}
    reply = await rescind.hook(told(order, **more), HOOK, headers=headers)
    return reply.status, reply.json


async def ask_to_cancel(rescind: Rescind, order: str, account: str = SHOP) -> Any:
    path = f"/v1/accounts/{account}/orders/{quote(order, safe='')}/cancellations"
    return await rescind.ask("POST", path, CANCEL_BODY)


async def sound(rescind: Rescind) -> None:
    """What is stored is what the log gives."""
    assert [each async for each in check(rescind.node.store) if each.mismatches] == []


async def test_a_shared_alias_finds_one_order_or_lists_several_and_joins_none(rescind: Rescind, shop: Side) -> None:
    one, two = [str((await shop.act("create_order", silent=True))["order_id"]) for _ in range(2)]
    assert (await place(rescind, one, ref="same"))[0] == 200
    shown = await rescind.order("same", SHOP)
    assert (shown["id"], shown["aliases"], shown["shared_aliases"]) == (one, ["same"], ["same"])
    assert (await place(rescind, two, ref="same"))[0] == 200
    assert (await place(rescind, two, ref="its own"))[0] == 200
    assert sorted(each["id"] for each in await rescind.pages(f"/v1/orders?account={SHOP}", 10)) == sorted([one, two])
    path = f"/v1/accounts/{SHOP}/orders/same"
    item = {"account": SHOP, "order": "same", **CANCEL_BODY}
    for method, what, body in (
        ("GET", path, None),
        ("GET", f"{path}/verdict", None),
        ("GET", f"{path}/timeline", None),
        ("GET", f"{path}/policies", None),
        ("POST", f"{path}/tags", {"add": ["x"]}),
        ("POST", f"{path}/cancellations", CANCEL_BODY),
        ("POST", f"{path}/cancellations", {**CANCEL_BODY, "dry_run": True}),
        ("GET", f"/v1/events?account={SHOP}&order=same", None),
        ("GET", f"/v1/cancellations?account={SHOP}&order=same", None),
    ):
        assert (await rescind.ask(method, what, body)).problem(409, "ambiguous-order")["orders"] == [one, two], what
    batch = await rescind.ask("POST", "/v1/cancellation-batches", {"cancellations": [item]})
    (result,) = batch.json["results"]
    assert (result["outcome"], one in result["detail"], two in result["detail"]) == ("invalid", True, True)
    assert await rescind.pages("/v1/cancellations", 10) == []
    # By what only one carries, the call names that order by its own id.
    id = (await ask_to_cancel(rescind, "its own")).json["id"]
    assert (await rescind.settled(id))["state"] == "succeeded"
    assert (await rescind.cancellation(id))["order"] == two
    assert (await shop.effects(one), await shop.effects(two)) == (0, 1)
    batch = await rescind.ask("POST", "/v1/cancellation-batches", {"cancellations": [{**item, "order": one}]})
    assert (await rescind.settled(batch.json["results"][0]["cancellation"]))["order"] == one
    await sound(rescind)


async def test_a_plain_list_of_aliases_is_shared(rescind: Rescind, shop: Side) -> None:
    config = {**SCENARIO["config"], "base_url": shop.url}
    await rescind.put("accounts", SHOP, {"provider": "generic", "config": config, "rules": SCENARIO["rules"]})
    for order in ("a", "b"):
        assert (await place(rescind, order, number="n-1"))[0] == 200
    (await rescind.ask("GET", f"/v1/accounts/{SHOP}/orders/n-1")).problem(409, "ambiguous-order")
    assert {(await rescind.order(order, SHOP))["id"] for order in ("a", "b")} == {"a", "b"}


async def test_an_alias_that_a_webhook_in_quarantine_gives_as_an_id_cancels_no_other_order(
    rescind: Rescind, shop: Side
) -> None:
    order = str((await shop.act("create_order", silent=True))["order_id"])
    assert (await place(rescind, order, number="n-1"))[0] == 200
    assert (await place(rescind, "another", number="n-2"))[0] == 200
    assert (await place(rescind, "n-1"))[0] == 202
    problem = (await ask_to_cancel(rescind, "n-1")).problem(409, "ambiguous-order")
    assert problem["orders"] == [order, "n-1"]
    assert "quarantine" in problem["detail"]
    assert (await ask_to_cancel(rescind, "n-2")).status == 202, "of which nobody says that it is an id"
    assert await shop.effects(order) == 0
    assert (await rescind.settled((await ask_to_cancel(rescind, order)).json["id"]))["state"] == "succeeded"


@pytest.mark.usefixtures("shop")
async def test_an_order_s_own_id_comes_before_what_another_carries(rescind: Rescind) -> None:
    await place(rescind, "7", ref="8")
    assert (await rescind.order("8", SHOP))["id"] == "7"
    await place(rescind, "8")
    assert (await rescind.order("8", SHOP))["id"] == "8"


async def test_two_ids_are_never_one_order_by_a_unique_alias_either(rescind: Rescind, shop: Side) -> None:
    assert (await place(rescind, "a", number="n"))[0] == 200
    before = await rescind.order("a", SHOP)
    for order, number in (("b", "n"), ("n", "other"), ("a", "a2")):
        status, said = await place(rescind, order, number=number)
        if order == "a":
            assert status == 200
            continue
        assert (status, said["status"]) == (202, "quarantined"), order
        reason = (await rescind.get(f"/v1/receipts/{said['receipt']}"))["reason"]
        assert "'a'" in reason
        assert repr(order) in reason
        assert {**await rescind.order("a", SHOP), "verdict": None} == {**before, "verdict": None}
    (await rescind.ask("GET", f"/v1/accounts/{SHOP}/orders/b")).problem(404, "not-found")
    # Two that are known already, and a webhook that has them in common.
    await place(rescind, "c", number="m")
    status, said = await place(rescind, "d", number="a")
    assert (status, said["status"]) == (202, "quarantined")
    assert (await place(rescind, "a", number="c"))[0] == 202
    assert sorted(each["id"] for each in await rescind.pages(f"/v1/orders?account={SHOP}", 10)) == ["a", "c"]
    # The same again after it is declared as shared.
    config = {**SCENARIO["config"], "base_url": shop.url}
    await rescind.put("accounts", SHOP, {"provider": "generic", "config": config, "rules": SCENARIO["rules"]})
    again = await rescind.ask("POST", f"/v1/receipts/{said['receipt']}/reprocess")
    assert again.json["status"] == "accepted"
    assert (await rescind.order("d", SHOP))["shared_aliases"] == ["a"]
    await sound(rescind)


@pytest.mark.usefixtures("shop")
async def test_a_clash_holds_up_nobody_in_its_batch(rescind: Rescind) -> None:
    orders = [(f"o-{n}", f"n-{n // 2}") for n in range(8)]
    async with one_commit(rescind, 8):
        tasks = [asyncio.create_task(place(rescind, order, number=number)) for order, number in orders]
    replies = [await task for task in tasks]
    for pair in (replies[place : place + 2] for place in range(0, 8, 2)):
        assert sorted(status for status, _ in pair) == [200, 202]
    await sound(rescind)


@pytest.mark.usefixtures("shop")
async def test_the_log_of_an_order_is_read_once_for_all_that_clash_with_it(
    rescind: Rescind, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, kind = 0, PostgresTransaction if postgres.for_servers() else SqliteTransaction
    former: Any = kind.provider_names

    async def counting(transaction: Any, pks: Sequence[int]) -> Any:
        nonlocal asked
        asked += len(pks)
        return await former(transaction, pks)

    monkeypatch.setattr(kind, "provider_names", counting)
    assert (await place(rescind, "a", number="n"))[0] == 200
    async with one_commit(rescind, 8):
        tasks = [asyncio.create_task(place(rescind, f"b-{n}", number="n")) for n in range(8)]
    assert {(await task)[0] for task in tasks} == {202}
    assert asked == 1


@pytest.mark.usefixtures("shop")
async def test_what_a_caller_called_an_order_becomes_one_with_what_the_source_calls_it(rescind: Rescind) -> None:
    await rescind.ask("POST", "/v1/pause", {"scope": "all"})
    id = (await ask_to_cancel(rescind, "n-1")).json["id"]
    assert (await place(rescind, "a", number="n-1"))[0] == 200
    (shown,) = await rescind.pages(f"/v1/orders?account={SHOP}", 10)
    assert (shown["id"], shown["aliases"], shown["cancellation"]) == ("a", ["n-1"], id)
    assert (await place(rescind, "a", number="n-1", status="packing"))[0] == 200
    # Carried by an order, the name of one that nobody but a caller spoke of leads there.
    await ask_to_cancel(rescind, "r-1")
    await place(rescind, "c", ref="r-1")
    assert (await rescind.order("r-1", SHOP))["id"] == "c"
    await sound(rescind)


async def test_a_request_s_id_joins_an_order_once(rescind: Rescind, provider: Provider) -> None:
    """PlanOmatic: the request is a name until the order has its own id; one request is not two orders."""
    names = [{"order_id": "", "request_id": 7}, {"order_id": 5, "request_id": 7}, {"order_id": 6, "request_id": 7}]
    statuses = [
        (await rescind.hook({"event": "order.processed", **{k: v for k, v in each.items() if v}})).status
        for each in names
    ]
    assert statuses == [200, 200, 202]
    (shown,) = await rescind.pages(f"/v1/orders?account={ACCOUNT}", 10)
    assert {shown["id"], *shown["aliases"]} == {"5", "request:7"}
    config = {"external_ids_are_aliases": True}
    await rescind.put("accounts", ACCOUNT, account_of(provider.url, config=config))
    for order in (8, 9):
        body = {"event": "order.processed", "order_id": order, "external_order_id": "ours"}
        assert (await rescind.hook(body)).status == 200
    (await rescind.request_cancel("ours")).problem(409, "ambiguous-order")


@pytest.mark.usefixtures("shop")
async def test_a_probe_joins_no_two_orders_that_the_provider_calls_by_ids(rescind: Rescind) -> None:
    await place(rescind, "a")
    await place(rescind, "b")
    now = datetime.now(UTC)
    probed = RecordProbe(SHOP, "a", now, "att_1", now, snapshot=Facts(phase=None, aliases=("b",)))
    with pytest.raises(NameClashError, match="'a' and 'b'"):
        await rescind.node.ledger.execute(probed)
    assert (await rescind.order("a", SHOP))["version"] == 1
    assert (await rescind.order("b", SHOP))["version"] == 1


@pytest.mark.usefixtures("shop")
async def test_orders_that_an_earlier_release_made_one_are_canceled_by_the_right_id_or_not(
    rescind: Rescind, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_clash(*_: Any) -> None:
        return None

    with monkeypatch.context() as former:
        former.setattr("app.engine.identity.TouchedOrders._clash", no_clash)
        for order in ("a", "b"):
            assert (await place(rescind, order, number="n"))[0] == 200
    assert (await rescind.order("b", SHOP))["id"] == "a"
    assert (await ask_to_cancel(rescind, "b")).problem(409, "ambiguous-order")["orders"] == ["a", "b"]
    assert (await ask_to_cancel(rescind, "a")).status == 202
    # Its log folds to what it did, and goes on.
    assert (await place(rescind, "b", number="n", status="packing"))[0] == 200
    await sound(rescind)
