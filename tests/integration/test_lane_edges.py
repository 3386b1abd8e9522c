"""Lanes at their edges: limits that change, processes that end, and databases that fail in the middle of a flow."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from conftest import Start
from integration.test_coalescing import PANEL, orders, while_paused
from integration.test_coalescing import account as panel_account
from integration.test_token_flows import CANCEL_PATH, LOOP, account, keys, order, request_cancel, waits_for_its_place
from providers import Provider, Side, until
from servers import ACCOUNT, Rescind, account_of

from app.core.commands import CheckFence
from app.store import StoreError
from handlers.notpanel.simulator import NotPanel
from handlers.superloop.simulator import Superloop

pytestmark = pytest.mark.usefixtures("quick")


@pytest_asyncio.fixture
async def loop() -> AsyncIterator[Side]:
    side = await Side.begin("superloop", Superloop(client_id="acme", key_id="k1", public_key=keys()[1], requests=1000))
    yield side
    await side.close()


@pytest_asyncio.fixture
async def panel() -> AsyncIterator[Side]:
    side = await Side.begin("notpanel", NotPanel())
    yield side
    await side.close()


async def test_a_higher_limit_frees_what_waits_between_token_and_cancel(rescind: Rescind, loop: Side) -> None:
    await account(rescind, loop, limits={"requests": 1, "per_s": 3600})
    id = await request_cancel(rescind, await order(rescind, loop))
    await waits_for_its_place(rescind, loop)
    await account(rescind, loop, limits={"requests": 100, "per_s": 1})
    assert (await rescind.settled(id))["state"] == "succeeded"


async def test_a_longer_window_counts_the_calls_that_are_in_it(rescind: Rescind, provider: Provider) -> None:
    await rescind.put("accounts", ACCOUNT, account_of(provider.url, limits={"requests": 3, "per_s": 0.2}))
    await provider.create("o-1", "o-2", "o-3", "o-4")
    for each in ("o-1", "o-2", "o-3"):
        await rescind.tell("order.processed", each)
        await rescind.settled(await rescind.cancel(each))
    calls = len(await provider.calls(None))

    async def forgotten() -> bool:
        return (await rescind.get(f"/v1/accounts/{ACCOUNT}"))["lane"]["used"] == 0

    await until(forgotten)
    await rescind.put("accounts", ACCOUNT, account_of(provider.url, limits={"requests": 3, "per_s": 3600}))

    async def counted() -> bool:
        return bool((await rescind.get(f"/v1/accounts/{ACCOUNT}"))["lane"]["used"] == calls)

    await until(counted, f"the {calls} calls of the last hour")


async def test_the_calls_of_a_flow_that_was_cut_off_are_counted(start: Start, loop: Side) -> None:
    rescind = await start()
    await account(rescind, loop)
    await loop.hold(path=CANCEL_PATH)
    await request_cancel(rescind, await order(rescind, loop))
    await loop.arrived(1, CANCEL_PATH)
    made = len(await loop.calls())
    await rescind.stop()
    rescind = await start()
    await rescind.ask("POST", "/v1/pause", {"scope": "all"})
    known = await rescind.node.store.calls_within(LOOP, 60, datetime.now(UTC), None)
    assert sum(count for _, count in known) >= made == 2


async def test_a_database_that_fails_at_the_second_fence_makes_no_lost_call(
    rescind: Rescind, loop: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    await account(rescind, loop)
    number = await order(rescind, loop)
    execute_all, failed = rescind.node.ledger.execute_all, []

    async def stumbles(commands: Any, **more: Any) -> Any:
        if not failed and any(isinstance(command, CheckFence) for command in commands):
            failed.append(1)
            raise StoreError("SQLite: disk I/O error")
        return await execute_all(commands, **more)

    monkeypatch.setattr(rescind.node.ledger, "execute_all", stumbles)
    done = await rescind.settled(await request_cancel(rescind, number), "succeeded", "indeterminate", "failed")
    assert failed
    states = await rescind.states(number, LOOP)
    assert "indeterminate" not in states, f"the cancel never left: {states}, {done['detail']}"


async def test_what_waits_for_its_place_when_the_process_ends_was_not_sent(start: Start, loop: Side) -> None:
    rescind = await start()
    await account(rescind, loop, limits={"requests": 1, "per_s": 3600})
    number = await order(rescind, loop)
    id = await request_cancel(rescind, number)
    await waits_for_its_place(rescind, loop)
    await rescind.stop()
    assert await loop.calls(CANCEL_PATH) == []
    rescind = await start()
    assert (await rescind.cancellation(id))["state"] == "scheduled", await rescind.cancellation(id)


async def test_one_call_for_many_orders_that_was_cut_off_counts_once(start: Start, panel: Side) -> None:
    rescind = await start()
    await panel_account(rescind, panel, unknown_orders="send", limits={"requests": 60, "per_s": 3600})
    wanted = await orders(panel, 80)
    await panel.hold()
    await while_paused(rescind, wanted)
    await panel.arrived(1)
    made = len(await panel.calls())
    await rescind.stop()
    rescind = await start()

    async def restored() -> Any:
        lane = (await rescind.get(f"/v1/accounts/{PANEL}")).get("lane")  # once the account is this node's
        return lane if lane and lane["used"] else None

    lane = await until(restored)
    assert lane["used"] <= made + 5, f"{made} calls were made, and the lane says {lane}"


async def test_a_cancel_that_was_held_back_was_not_attempted(rescind: Rescind, loop: Side) -> None:
    await account(rescind, loop, limits={"requests": 1, "per_s": 3600})
    id = await request_cancel(rescind, await order(rescind, loop))
    await waits_for_its_place(rescind, loop)
    await rescind.ask("POST", "/v1/pause", {"account": LOOP})
    await account(rescind, loop)
    await rescind.settled(id, "scheduled")
    await rescind.ask("POST", "/v1/resume", {"account": LOOP})
    done = await rescind.settled(id)
    assert len(await loop.calls(CANCEL_PATH)) == 1
    assert done["attempts"] == 1, done


@pytest.mark.parametrize(
    "more",
    [{"limits": {"burst": 1000, "rate_per_s": 1e-9}}, {"stale_after_s": 1e12}],
    ids=["a bucket that never leaks", "a freshness of ages"],
)
async def test_settings_that_could_never_work_are_refused(rescind: Rescind, provider: Provider, more: Any) -> None:
    reply = await rescind.ask("PUT", "/v1/accounts/odd", account_of(provider.url, **more))
    reply.problem(422, "invalid-request")
