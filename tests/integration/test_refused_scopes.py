"""Shoplazza's sentence for refused credentials pauses the account, names the missing scope, and loses no cancel."""

from __future__ import annotations

from typing import Any

import pytest
from providers import Side, until
from servers import Rescind

from handlers.shoplazza.simulator import CREDENTIALS, DEFAULT_ACCESS_TOKEN, DEFAULT_SHOP_DOMAIN, Shoplazza

SHOP = "shop"
pytestmark = pytest.mark.usefixtures("quick")


async def test_a_missing_scope_pauses_the_account_and_loses_no_cancel(rescind: Rescind) -> None:
    for style in ("list", "dict", "string"):
        shop = await Side.begin(
            "shoplazza",
            Shoplazza(scopes=["read_order"], error_style=style, unauthorized_says=CREDENTIALS, names_scopes=False),
        )
        account, order = f"{SHOP}-{style}", str((await shop.act("create_order", paid=True))["order_id"])
        config = {"base_url": shop.url, "shop_domain": DEFAULT_SHOP_DOMAIN, "access_token": DEFAULT_ACCESS_TOKEN}
        await rescind.put("accounts", account, {"provider": "shoplazza", "config": config})
        made = await rescind.ask("POST", f"/v1/accounts/{account}/orders/{order}/cancellations", {})

        async def lane(of: str = account) -> dict[str, Any] | None:
            found = (await rescind.get(f"/v1/accounts/{of}"))["lane"]
            return dict(found) if found["state"] == "paused" else None

        paused = await until(lane, "the pause")
        assert "lacks the scope write_order" in paused["reason"]
        assert CREDENTIALS.rstrip(".") in paused["reason"]
        known = await rescind.cancellation(made.json["id"])
        assert (known["state"], known["waiting"]["for"]) == ("scheduled", "paused")
        await shop.act("set_access", scopes=["read_order", "write_order"])
        assert (await rescind.ask("POST", "/v1/resume", {"account": account})).status == 200
        assert (await rescind.settled(made.json["id"]))["state"] == "succeeded"
        await shop.close()
