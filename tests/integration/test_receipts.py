"""Receipts: found by what they are about, linked with what they became, and without what is private."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from servers import ACCOUNT, ENDPOINT, Rescind, account_of, endpoint_of

from app.config.registry import handlers

SECRET = "4711-door-code"


async def ids(rescind: Rescind, query: str) -> list[str]:
    return [each["id"] for each in await rescind.pages(f"/v1/receipts?{query}", 2)]


async def test_receipts_by_account_order_time_text_and_status(rescind: Rescind):
    await rescind.put("accounts", "other", account_of("http://127.0.0.1:1"))
    await rescind.put("endpoints", "other-in", endpoint_of("other"))
    mine = [
        await rescind.tell("order.processed", str(number % 2), status="ordered", mark=number) for number in range(4)
    ]
    theirs = await rescind.tell("order.processed", "0", endpoint="other-in", status="ordered")
    odd = (await rescind.hook({"event": "order.flown", "order_id": "0", "seen": "An_Odd%One"})).json["receipt"]
    assert await ids(rescind, f"account={ACCOUNT}") == [odd, *reversed(mine)]
    assert await ids(rescind, "account=other") == [theirs]
    assert await ids(rescind, f"account={ACCOUNT}&order=1") == [mine[3], mine[1]]
    assert await ids(rescind, f"account={ACCOUNT}&order=never") == []
    assert (
        await ids(rescind, f"account={ACCOUNT}&status=quarantined") == await ids(rescind, "status=quarantined") == [odd]
    )
    assert await ids(rescind, "account=other&status=quarantined") == []
    assert await ids(rescind, "text=" + quote("odd%one")) == [odd]
    now = quote(datetime.now(UTC).isoformat())
    assert await ids(rescind, f"since={now}") == []
    assert len(await ids(rescind, f"until={now}&endpoint={ENDPOINT}")) == 5
    (await rescind.ask("GET", "/v1/receipts?account=nobody")).problem(404, "not-found")
    (await rescind.ask("GET", "/v1/receipts?order=1")).problem(422, "invalid-request")


async def test_a_receipt_names_the_orders_and_events_that_it_became(rescind: Rescind):
    receipt = await rescind.tell("order.processed", "1", status="ordered", at=1_700_000_000.0)
    shown = await rescind.get(f"/v1/receipts/{receipt}")
    (event,) = (await rescind.get(f"/v1/events?account={ACCOUNT}&order=1"))["data"]
    assert (shown["orders"], shown["events"]) == (["1"], [event["id"]])
    assert event["receipt"] == receipt
    again = await rescind.hook({"event": "order.flown"})
    nothing = await rescind.get(f"/v1/receipts/{again.json['receipt']}")
    assert (nothing["orders"], nothing["events"]) == ([], [])


async def reader(rescind: Rescind) -> str:
    made = await rescind.ask("POST", "/v1/keys", {"name": "reader", "scope": "read"})
    return str(made.json["key"])


async def test_what_a_handler_leaves_out_is_masked(rescind: Rescind):
    access = {"vacant": True, "access_code": SECRET}
    receipt = await rescind.tell("order.processed", "1", status="ordered", property_access=access, client={"n": SECRET})
    path, key = f"/v1/receipts/{receipt}", await reader(rescind)
    for given in (key, None):
        shown = await rescind.get(path, **({"key": given} if given else {}))
        assert shown["masked"] is True
        assert SECRET not in shown["body"]
        assert '"status":"ordered"' in shown["body"]
    assert SECRET in (await rescind.get(f"{path}?raw=true"))["body"]
    (await rescind.ask("GET", f"{path}?raw=true", key=key)).problem(403, "forbidden")
    (await rescind.ask("GET", f"/v1/receipts?text={SECRET}", key=key)).problem(403, "forbidden")
    again = await rescind.ask("POST", f"{path}/reprocess", {})
    assert SECRET not in again.raw.decode()


@pytest.mark.parametrize(
    "body",
    [
        b'{"client": "' + SECRET.encode(),
        f"order_id=1&client={SECRET}".encode(),
        b"\xff client " + SECRET.encode(),
        b'{"cl\\u0069ent": "' + SECRET.encode() + b'"}',
        json.dumps({"data": json.dumps({"client": SECRET})}).encode(),
        f"the client says {SECRET}".encode(),
        f"order_id=1&cl%69ent={SECRET}".encode(),
        f"client=1&payload=%7B%22client%22:%22{SECRET}%22%7D".encode(),
        b'{"a": ' * 300 + b'{"client": "' + SECRET.encode() + b'"}' + b"}" * 300,
    ],
)
async def test_what_cannot_be_read_is_masked_as_well(rescind: Rescind, body: bytes):
    reply = await rescind.hook(body)
    shown: dict[str, Any] = await rescind.get(f"/v1/receipts/{reply.json['receipt']}")
    assert shown["masked"] is True
    assert SECRET not in (shown.get("body") or "")
    assert not shown.get("body_base64")


async def test_what_is_masked_once_an_account_is_gone(rescind: Rescind):
    receipt = await rescind.tell("order.processed", "1", status="ordered", client={"n": SECRET})
    await rescind.ask("DELETE", f"/v1/endpoints/{ENDPOINT}")
    assert (await rescind.ask("DELETE", f"/v1/accounts/{ACCOUNT}")).status == 204
    assert SECRET not in (await rescind.get(f"/v1/receipts/{receipt}"))["body"]


def test_every_handler_says_what_is_private():
    assert {name for name, each in handlers().items() if not each.private} == set()
