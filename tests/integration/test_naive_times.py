"""Times without an offset: by receipt until the account's zone is set, and said to its operator, once and for good."""

from __future__ import annotations

from typing import Any

from conftest import Start
from providers import Provider
from servers import ACCOUNT, Rescind, account_of

NOTED = "account.times_without_offset"
LOCAL = "2026-03-02T09:00:00"


async def tell(rescind: Rescind, order: str, event: str = "order.processed", time: str = LOCAL) -> dict[str, Any]:
    """Deliver a webhook with that time, and return the event that it became."""
    reply = await rescind.hook({"event": event, "order_id": order, "occurred_at": time})
    assert (reply.status, reply.json["status"]) == (200, "accepted"), reply
    [event_] = (await rescind.get(f"/v1/events?account={ACCOUNT}&order={order}"))["data"]
    return dict(event_)


async def warnings(rescind: Rescind) -> list[str]:
    shown = await rescind.get(f"/v1/accounts/{ACCOUNT}")
    [listed] = (await rescind.get("/v1/accounts"))["data"]
    assert listed["warnings"] == shown["warnings"]
    findings = (await rescind.get("/v1/status"))["findings"]
    assert [each["what"] for each in findings] == [f"account {ACCOUNT}"] * len(shown["warnings"])
    return list(shown["warnings"])


async def test_naive_times_order_by_receipt_and_are_said_until_a_zone_is_set(
    rescind: Rescind, provider: Provider, start: Start
) -> None:
    certain = await tell(rescind, "o-1", time=f"{LOCAL}Z")
    assert certain["occurred_at"] == f"{LOCAL}Z"
    assert await warnings(rescind) == []
    for order in ("o-2", "o-3"):
        told = await tell(rescind, order)
        assert told["occurred_at"] == told["received_at"]
    [warning] = await warnings(rescind)
    assert warning.startswith(f"account {ACCOUNT}: config.timezone: PlanOmatic states times without an offset")
    await rescind.stop()
    again = await start()
    assert await warnings(again) == [warning]
    await tell(again, "o-4")
    assert len((await again.get(f"/v1/events?type={NOTED}"))["data"]) == 1, "noted once, whatever comes"
    await again.put("accounts", ACCOUNT, account_of(provider.url, config={"timezone": "America/Denver"}))
    told = await tell(again, "o-5")
    assert told["occurred_at"] == "2026-03-02T16:00:00Z"
    assert await warnings(again) == []
