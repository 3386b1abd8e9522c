"""A source nobody wrote code for: leave to send, CloudEvents in every mode, a rule in CEL, a cancel by template."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from conftest import Start
from providers import Side, until
from servers import Reply, Rescind

from app.dev.sandbox import start_sandbox
from app.runtime import metrics
from handlers.generic import HANDLER

SHOP, HOOK = "example-shop", "example-shop-in"
SCENARIO = json.loads(
    (Path(__file__).parents[2] / "handlers" / "generic" / "fixtures" / "_scenario.json").read_text(encoding="utf-8")
)
TOKEN = "a-token-of-the-shop-0123"
STRUCTURED, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
pytestmark = pytest.mark.usefixtures("quick")


@pytest_asyncio.fixture
async def shop() -> AsyncIterator[Side]:
    assert HANDLER.simulator is not None
    side = await Side.begin("generic", HANDLER.simulator(**SCENARIO.get("simulator", {})))
    yield side
    await side.close()


async def account(rescind: Rescind, shop: Side, scheme: str = "token") -> None:
    config = {**SCENARIO["config"], "base_url": shop.url}
    await rescind.put("accounts", SHOP, {"provider": "generic", "config": config, "rules": SCENARIO["rules"]})
    secrets = [TOKEN] if scheme == "token" else SCENARIO["secrets"]
    await rescind.put("endpoints", HOOK, {"account": SHOP, "verify": {"scheme": scheme, "secrets": secrets}})


def placed(number: int, **more: Any) -> dict[str, Any]:
    order = {"id": f"ord_{number}", "status": "placed"}
    event = {"specversion": "1.0", "id": str(number), "source": "/shop", "type": "com.example.shop.order.placed"}
    return {**event, "data": {"order": order}, **more}


async def send(rescind: Rescind, body: Any, content_type: str, **headers: str) -> Reply:
    return await rescind.hook(body, HOOK, TOKEN, headers={"Content-Type": content_type, **headers})


async def phase(rescind: Rescind, order: str) -> str:
    return str((await rescind.get(f"/v1/accounts/{SHOP}/orders/{order}"))["phase"])


async def test_a_sender_asks_for_leave(rescind: Rescind, shop: Side) -> None:
    await account(rescind, shop)
    [origin] = SCENARIO["config"]["handshake"]["origins"]
    asked = {"WebHook-Request-Origin": origin, "WebHook-Request-Rate": "120"}
    granted = await rescind.ask("OPTIONS", f"/webhooks/{HOOK}", key=None, headers=asked)
    assert granted.status == 200
    assert granted.headers["WebHook-Allowed-Origin"] == origin
    assert "POST" in granted.headers["Allow"]
    stranger = {"WebHook-Request-Origin": "evil.example.com"}
    refused = await rescind.ask("OPTIONS", f"/webhooks/{HOOK}", key=None, headers=stranger)
    assert "WebHook-Allowed-Origin" not in refused.headers
    (await rescind.ask("OPTIONS", "/webhooks/nobody", key=None, headers=asked)).problem(404, "not-found")


async def test_events_come_in_every_mode_and_count_once(rescind: Rescind, shop: Side) -> None:
    await account(rescind, shop)
    assert (await send(rescind, placed(1), STRUCTURED)).json["status"] == "accepted"
    assert (await send(rescind, [placed(2), placed(3)], BATCH)).json["status"] == "accepted"
    binary = {f"ce-{key}": str(value) for key, value in placed(4).items() if key != "data"}
    assert (await send(rescind, placed(4)["data"], "application/json", **binary)).json["status"] == "accepted"
    assert [await phase(rescind, f"ord_{number}") for number in (1, 2, 3, 4)] == ["open"] * 4
    for again in ([placed(2)], [placed(3), placed(1)]):
        assert (await send(rescind, again, BATCH)).json["status"] == "duplicate", "by source and id, in any mode"
    unknown = await send(rescind, placed(5, type="com.example.shop.never.heard"), STRUCTURED)
    assert (unknown.status, unknown.json["status"]) == (202, "quarantined")


@pytest.mark.parametrize("type", ["cancellation.succeeded", "probe.failed", "sending.paused"])
async def test_no_configuration_speaks_for_rescind_itself(rescind: Rescind, shop: Side, type: str) -> None:
    await account(rescind, shop)
    config = {**SCENARIO["config"], "base_url": shop.url}
    config["events"] = {**config["events"], "com.example.shop.order.placed": {"type": type, "phase": "open"}}
    reply = await rescind.ask("PUT", f"/v1/accounts/{SHOP}", {"provider": "generic", "config": config})
    if reply.status < 300:
        told = await send(rescind, placed(1), STRUCTURED)
        assert (told.status, told.json["status"]) == (202, "quarantined")
    assert (await rescind.ask("GET", f"/v1/accounts/{SHOP}/orders/ord_1")).status == 404


async def test_the_whole_loop_with_signed_webhooks(start: Start, shop: Side) -> None:
    rescind = await start()
    await account(rescind, shop, "standard_webhooks")
    await shop.aim(f"{rescind.url}/webhooks/{HOOK}")
    order = str((await shop.act("create_order"))["order_id"])

    async def known() -> bool:
        return (await rescind.ask("GET", f"/v1/accounts/{SHOP}/orders/{order}")).status == 200

    await until(known, "the shop's webhook")
    body = {"reason": "mistake", "note": "Twice."}
    accepted = await rescind.ask("POST", f"/v1/accounts/{SHOP}/orders/{order}/cancellations", body)
    assert (await rescind.settled(accepted.json["id"]))["state"] == "succeeded"
    assert await shop.effects(order) == 1
    assert await phase(rescind, order) == "canceled"
    forged = await rescind.hook(placed(9), HOOK, TOKEN, headers={"Content-Type": STRUCTURED})
    forged.problem(401, "unauthentic-webhook")


async def test_what_the_cancel_call_lacks_is_asked_for_first(start: Start, shop: Side) -> None:
    """A webhook that says little is all that is known; the probe tells the rest, and the cancel is sent."""
    rescind = await start()
    config: dict[str, Any] = {**SCENARIO["config"], "base_url": shop.url}
    body = {"code": "{{ reason }}", "comment": "{{ order.attributes.currency }}"}
    config["cancel"] = {**config["cancel"], "body": body}
    await rescind.put("accounts", SHOP, {"provider": "generic", "config": config, "rules": SCENARIO["rules"]})
    await rescind.put("endpoints", HOOK, {"account": SHOP, "verify": {"secrets": [TOKEN]}})
    order = str((await shop.act("create_order", silent=True))["order_id"])
    event = placed(1)
    event["data"]["order"]["id"] = order
    assert (await send(rescind, event, STRUCTURED)).json["status"] == "accepted"
    assert "currency" not in (await rescind.order(order, SHOP))["attributes"]
    accepted = await rescind.ask("POST", f"/v1/accounts/{SHOP}/orders/{order}/cancellations", {"reason": "mistake"})
    assert (await rescind.settled(accepted.json["id"]))["state"] == "succeeded"
    assert await shop.effects(order) == 1
    states = [each["event"] for each in await rescind.timeline(order, SHOP) if each["kind"] == "event"]
    assert "order.probed" in [each["type"] for each in states]


async def test_an_opening_that_cannot_be_read_is_said_and_not_guessed(rescind: Rescind, shop: Side) -> None:
    await account(rescind, shop)

    def event(number: int, placed_at: str) -> dict[str, Any]:
        made = placed(number)
        made["data"]["order"]["placed_at"] = placed_at
        return made

    async def warnings() -> list[str]:
        said = (await rescind.get(f"/v1/accounts/{SHOP}"))["warnings"]
        findings = (await rescind.get("/v1/status"))["findings"]
        assert [each["detail"] for each in findings] == [each.removeprefix(f"account {SHOP}: ") for each in said]
        return list(said)

    assert (await send(rescind, event(1, "2026-03-02T16:00:00Z"), STRUCTURED)).status == 200
    assert await warnings() == []
    for number in (2, 3):
        told = await send(rescind, event(number, "03/02/2026, 4 pm"), STRUCTURED)
        assert (told.status, told.json["status"]) == (200, "accepted")
        order = await rescind.order(f"ord_{number}", SHOP)
        assert (order["phase"], order["opened_at"]) == ("open", None)
    [warning] = await warnings()
    assert warning.startswith(f"account {SHOP}: config.fields.opened_at: the value there is not a time")
    noted = "/v1/events?type=account.opening_unreadable"
    assert len((await rescind.get(noted))["data"]) == 1
    # What was changed may have mended it; if not, the next webhook says so.
    config = {**SCENARIO["config"], "base_url": shop.url, "timeout_s": 5}
    await rescind.put("accounts", SHOP, {"provider": "generic", "config": config, "rules": SCENARIO["rules"]})
    assert await warnings() == []
    await send(rescind, event(4, "tomorrow"), STRUCTURED)
    assert (len(await warnings()), len((await rescind.get(noted))["data"])) == (1, 2)
    assert (await rescind.order("ord_1", SHOP))["opened_at"] == "2026-03-02T16:00:00Z"


async def test_a_source_without_a_cancel_is_followed_and_never_called(rescind: Rescind, shop: Side) -> None:
    policy: dict[str, Any] = {"accounts": [SHOP], "when": "order.phase == 'open'", "cancel": {"reason": "mistake"}}
    await account(rescind, shop)
    await rescind.put("policies", "p", policy)
    order = str((await shop.act("create_order"))["order_id"])
    event = placed(1)
    event["data"]["order"]["id"] = order
    await send(rescind, event, STRUCTURED)
    assert (await rescind.order(order, SHOP))["verdict"]["cancelable"] == "yes"
    none = {"provider": "generic", "config": {**SCENARIO["config"], "base_url": shop.url, "cancel": "none"}}
    await rescind.put("accounts", SHOP, none)
    verdict = (await rescind.order(order, SHOP))["verdict"]
    assert (verdict["cancelable"], verdict["reason"]) == ("no", "cancel_not_offered")
    cancellations = f"/v1/accounts/{SHOP}/orders/{order}/cancellations"
    for more in ({}, {"dry_run": True}, {"force": True}):
        reply = await rescind.ask("POST", cancellations, {"reason": "mistake", **more})
        assert "Its source offers no cancel" in reply.problem(422, "invalid-request")["detail"]
    item = {"account": SHOP, "order": order, "reason": "mistake"}
    [result] = (await rescind.ask("POST", "/v1/cancellation-batches", {"cancellations": [item]})).json["results"]
    assert (result["outcome"], "offers no cancel" in result["detail"]) == ("invalid", True)
    for mode, status in (("enforce", 422), ("approve", 422), ("shadow", 200)):
        reply = await rescind.ask("PUT", "/v1/policies/p?confirm=true", {**policy, "mode": mode})
        assert reply.status == status, mode
        assert status == 200 or "policy p: mode: account example-shop: Its source" in reply.json["detail"]
    run = (await rescind.ask("POST", "/v1/policies/p/backtest", {})).json["id"]

    async def report() -> dict[str, Any] | None:
        return dict(await rescind.get(f"/v1/policies/p/backtests/{run}")).get("report")

    told = dict(await until(report, "the end of the backtest") or {})
    assert (told["would_cancel"], told["too_late"]) == (0, 1)
    assert "Its source offers no cancel" in told["decisions"][0]["detail"]
    # Nor may an account lose its cancel under a policy that needs it.
    await account(rescind, shop)
    assert (await rescind.ask("PUT", "/v1/policies/p?confirm=true", {**policy, "mode": "approve"})).status == 200
    (await rescind.ask("PUT", f"/v1/accounts/{SHOP}", none)).problem(422, "invalid-request")
    assert await shop.effects(order) == 0


async def test_a_webhook_that_nobody_took_is_signed_anew_when_it_is_sent_again(start: Start) -> None:
    rescind = await start()
    assert HANDLER.simulator is not None
    shop, behind_s = HANDLER.simulator(**SCENARIO.get("simulator", {})), 3600.0
    clock = lambda: time.time() - behind_s  # noqa: E731 - what it closes over changes
    async with await start_sandbox(port=0, simulators={"generic": shop}, resend_s=0.05, clock=clock) as runner:
        side = Side("generic", runner, rescind.session, shop)
        await account(rescind, side, "standard_webhooks")
        await side.aim(f"{rescind.url}/webhooks/{HOOK}")
        before = metrics.UNAUTHENTIC.labels(HOOK)._value.get()
        order = str((await side.act("create_order"))["order_id"])

        async def refused() -> bool:
            return metrics.UNAUTHENTIC.labels(HOOK)._value.get() > before

        await until(refused, "the refusal of what was signed an hour ago")
        behind_s = 0.0

        async def known() -> bool:
            return (await rescind.ask("GET", f"/v1/accounts/{SHOP}/orders/{order}")).status == 200

        await until(known, "the same webhook, signed anew")


async def test_what_is_wrong_in_the_configuration_is_said_with_its_place(rescind: Rescind, shop: Side) -> None:
    await account(rescind, shop)
    for rules, says in (
        ({"conditions": [{"when": "order.fase == 'open'", "cancelable": "no", "reason": "r"}]}, "order.phase"),
        ({"conditions": [{"when": "order.version", "cancelable": "no", "reason": "r"}]}, "bool"),
        ({"conditions": [{"when": "order.phase ==", "cancelable": "no", "reason": "r"}]}, "line 1, column"),
    ):
        body = {"provider": "generic", "config": {**SCENARIO["config"], "base_url": shop.url}, "rules": rules}
        reply = await rescind.ask("PUT", f"/v1/accounts/{SHOP}", body)
        reply.problem(422, "invalid-request")
        assert says in reply.json["detail"]
        assert "conditions.0" in reply.json["detail"]
