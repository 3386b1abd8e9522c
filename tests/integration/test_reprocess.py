"""Receipts that are read again, after the settings were changed."""

from __future__ import annotations

from providers import Provider
from servers import ACCOUNT, Rescind, account_of

from app.engine.rebuild import check


async def test_reading_again_under_other_settings_makes_no_one_order_of_two(
    rescind: Rescind, provider: Provider
) -> None:
    bodies = [b'{"event":"order.processed","order_id":%d,"external_order_id":"same"}' % order for order in (1, 2)]
    receipts = [(await rescind.hook(body)).json["receipt"] for body in bodies]
    await rescind.ask("POST", "/v1/pause", {"scope": "all"})
    id = await rescind.cancel("2")
    config = {"external_ids_are_aliases": True}
    await rescind.put("accounts", ACCOUNT, account_of(provider.url, config=config))
    for receipt in receipts:
        await rescind.ask("POST", f"/v1/receipts/{receipt}/reprocess")
    shown = await rescind.pages("/v1/orders", 50)
    assert sorted((each["id"], each["cancellation"]) for each in shown) == [("1", None), ("2", id)]
    assert [each async for each in check(rescind.node.store) if each.mismatches] == []
