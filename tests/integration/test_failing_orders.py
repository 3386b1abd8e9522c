"""Orders that always fail never starve their account (I11): the others' cancels leave as if they were not there.

Real HTTP, every provider. The limits are the providers' own, with time running a hundred times as fast; what is
counted are calls, and not seconds.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from conftest import Start
from contract.handler_cases import scenario
from providers import Side, until
from servers import Rescind

from app.config.registry import handlers
from app.contract import Handler
from app.core import ambiguous

HANDLERS = list(handlers().values())
FASTER = 100
HEALTHY = 10
FOREVER = 1_000_000
LOOSE: dict[str, dict[str, Any]] = {
    "notpanel": {"requests": FOREVER, "ip_requests": FOREVER, "tier_requests": FOREVER},
    "shoplazza": {"burst": FOREVER},
}
pytestmark = pytest.mark.usefixtures("quick")


def limits_of(handler: Handler) -> dict[str, Any]:
    limits = handler.limits
    if limits.burst is not None and limits.rate_per_s is not None:
        return {"burst": limits.burst, "rate_per_s": limits.rate_per_s * FASTER, "concurrency": limits.concurrency}
    return {"requests": limits.requests, "per_s": limits.per_s / FASTER, "concurrency": limits.concurrency}


async def created(side: Side, handler: Handler, number: int) -> list[str]:
    action = scenario(handler)["create"]
    return [str((await side.act(**action))["order_id"]) for _ in range(number)]


async def request_cancel(rescind: Rescind, handler: Handler, order: str) -> str:
    given = scenario(handler)
    words = {key: given[key] for key in ("reason", "note") if given.get(key) is not None}
    path = f"/v1/accounts/{handler.name}/orders/{order}/cancellations"
    reply = await rescind.ask("POST", path, words)
    assert reply.status == 202, reply
    return str(reply.json["id"])


@pytest.mark.parametrize("failing", [1, 8, 50])
@pytest.mark.parametrize("handler", HANDLERS, ids=[each.name for each in HANDLERS])
async def test_beside_orders_that_fail_the_others_are_sent_as_if_alone(
    start: Start, handler: Handler, failing: int
) -> None:
    assert handler.simulator is not None
    given = scenario(handler)
    side = await Side.begin(handler.name, handler.simulator(**(given.get("simulator") or {})))
    await side.act("set_limits", **{**LOOSE.get(handler.name, {"requests": FOREVER}), "per_s": 1})
    rescind = await start()
    account = {"provider": handler.name, "config": {**given["config"], "base_url": side.url}}
    more = {"rules": given.get("rules", {}), "unknown_orders": "send", "limits": limits_of(handler)}
    await rescind.put("accounts", handler.name, {**account, **more})
    bad, good = await created(side, handler, failing), await created(side, handler, HEALTHY)
    for order in bad:
        await side.fault("status", order=order, status=500, times=FOREVER)
    for order in bad:
        await request_cancel(rescind, handler, order)

    async def all_failed() -> bool:
        called = {name for each in await side.calls() if each["order"] for name in each["order"].split(",")}
        return set(bad) <= called

    await until(all_failed, f"a call about each of the {failing} orders")
    # All become due at once, however long it takes to ask for them.
    await rescind.ask("POST", "/v1/pause", {"account": handler.name})

    async def at_rest() -> bool:
        return (await rescind.get(f"/v1/accounts/{handler.name}"))["lane"]["running"] == 0

    await until(at_rest, "the end of the calls that are out")
    before = len(await side.calls())
    ids = await asyncio.gather(*(request_cancel(rescind, handler, order) for order in good))
    await rescind.ask("POST", "/v1/resume", {"account": handler.name})
    for id in ids:
        assert (await rescind.settled(id, "succeeded", "accepted"))["state"] in ("succeeded", "accepted")
    calls = (await side.calls())[before:]
    waited = [index for index, each in enumerate(calls) if each["order"] and set(each["order"].split(",")) & set(good)]
    most = math.ceil(1.2 * len(waited)) + handler.limits.concurrency + HEALTHY
    assert waited[-1] < most, [each["order"] for each in calls]
    await side.close()


async def test_a_500_that_repeats_ends_after_a_handful_of_tries_while_others_are_answered(start: Start) -> None:
    """Superloop's path to an order is not documented, so nobody can be asked; of the order nothing is known."""
    handler = handlers()["superloop"]
    assert handler.simulator is not None
    given = scenario(handler)
    side = await Side.begin("superloop", handler.simulator())
    await side.act("set_limits", requests=FOREVER)
    rescind = await start()
    config = {**given["config"], "base_url": side.url, "order_path": ""}
    account = {"provider": "superloop", "config": config, "unknown_orders": "send"}
    await rescind.put("accounts", "superloop", {**account, "limits": {"requests": FOREVER, "per_s": 1}})
    [bad] = await created(side, handler, 1)
    await side.fault("status", path="/api/connect/orders/cancel", order=bad, status=500, times=FOREVER)
    id = await request_cancel(rescind, handler, bad)
    await side.arrived(1, None, bad)
    for _ in range(60):
        if (await rescind.cancellation(id))["final"]:
            break
        for order in await created(side, handler, 1):
            await rescind.settled(await request_cancel(rescind, handler, order))
    known = await rescind.cancellation(id)
    assert (known["state"], known["attempts"] <= ambiguous.TRIES_ALONE) == ("refused", True)
    assert "Nothing says that the order can be canceled" in known["detail"]
    await side.close()
