"""NotPanel: an order in flight whose service cannot be canceled is known for it before a call is made in vain."""

from __future__ import annotations

import pytest
from providers import Side
from servers import TOKEN, Rescind

from handlers.notpanel.simulator import DEFAULT_KEY, NotPanel

PANEL, HOOK = "panel", "panel-in"
pytestmark = pytest.mark.usefixtures("quick")


@pytest.mark.parametrize("assumed", ["yes", "unknown"])
async def test_no_cancel_is_sent_that_the_catalog_forbids(rescind: Rescind, assumed: str) -> None:
    panel = await Side.begin("notpanel", NotPanel())
    config = {"base_url": panel.url, "key": DEFAULT_KEY}
    rules = {"in_flight_without_flag": assumed}
    await rescind.put("accounts", PANEL, {"provider": "notpanel", "config": config, "rules": rules})
    await rescind.put("endpoints", HOOK, {"account": PANEL, "verify": {"scheme": "token", "secrets": [TOKEN]}})
    # Service 2 has cancel=false. Webhooks name it, and the answer to `status` does not.
    for order, service in (("ord_1", "2"), ("ord_2", "1")):
        await panel.act("create_order", order_id=order, service=service, status="in_progress")
        told = {"event": "order.progressed", "order": order, "status": "in_progress", "service": service}
        assert (await rescind.hook(told, HOOK, TOKEN)).json["status"] == "accepted"
    path = f"/v1/accounts/{PANEL}/orders"
    ids = [(await rescind.ask("POST", f"{path}/{order}/cancellations", {})).json["id"] for order in ("ord_1", "ord_2")]
    vain = await rescind.settled(ids[0])
    assert vain["state"] in ("refused", "rejected")
    assert "does not support cancellation" in vain["detail"]
    verdict = (await rescind.order("ord_1", PANEL))["verdict"]
    assert (verdict["cancelable"], verdict["reason"]) == ("no", "service_not_cancelable")
    assert verdict["evidence"]
    await rescind.settled(ids[1], "accepted")
    books = {each["order_id"]: each["cancel_calls"] for each in (await panel.act("list"))["orders"]}
    assert books == {"ord_1": 0, "ord_2": 1}
    await panel.close()
