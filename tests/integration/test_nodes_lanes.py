"""What a node knows of a lane that another node has."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from clusters import account_for, cluster, set_up
from providers import CANCEL_PATH, Provider, until
from servers import Rescind, webhook

from app.core.lane.state import LaneState
from app.runtime import metrics
from app.web import overview
from app.web.scrape import measure

HOUR_S = 3600.0


async def look(node: Rescind) -> None:
    """Let the node read now what the owners of lanes have stored."""
    node.node.duties.board._look_at = 0.0
    await node.node.duties.board.look()


async def stored(node: Rescind, account: str, **wanted: Any) -> LaneState:
    """The state of the account's lane, when it is stored as wanted."""

    async def stands() -> LaneState | None:
        state = await node.node.store.lane(account)
        fits = state is not None and all(getattr(state, name) == value for name, value in wanted.items())
        return state if fits else None

    state = await until(stands, f"the lane of {account} to be stored with {wanted}")
    assert state is not None
    return state


async def test_each_node_shows_why_a_lane_waits(
    tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "FRESH_S", 0.0)
    async with cluster(tmp_path, 2) as nodes:
        owner, other = nodes.nodes
        account = account_for(owner, nodes.nodes)
        await set_up(other, provider.url, account)
        assert await nodes.owner(account) is owner
        gate = owner.node.lanes[account].gate
        await gate.restored.wait()

        async def shown(node: Rescind) -> dict[str, Any]:
            one = (await node.get(f"/v1/accounts/{account}"))["lane"]
            (listed,) = (await node.get("/v1/overview"))["lanes"]["first"]
            findings = [row["code"] for row in (await node.get("/v1/status"))["findings"]]
            await measure(node.node, datetime.now(UTC))
            return {
                "state": one["state"],
                "limit": one["limit"],
                "reason": one["reason"],
                "listed": listed["state"],
                "finding": one["state"] in findings,
                "open": metrics.LANES.labels(account)._value.get(),
            }

        await look(other)
        idle = await shown(other)
        assert idle == await shown(owner)
        assert (idle["state"], idle["open"]) == ("idle", 1.0)
        gate.rate.learn(3, time.monotonic())
        gate.hold(HOUR_S)
        await stored(owner, account, learned=3)
        await look(other)
        held = await shown(other)
        assert held == await shown(owner)
        assert (held["state"], held["limit"], held["finding"], held["open"]) == ("throttled", 3, True, 0.0)
        until_at = [(await node.get(f"/v1/accounts/{account}"))["lane"]["until"] for node in nodes.nodes]
        apart = datetime.fromisoformat(until_at[0]) - datetime.fromisoformat(until_at[1])
        assert abs(apart) < timedelta(seconds=2)
        gate.rate.breaker.reopen("all calls fail", time.monotonic())
        gate.memory.note(gate.rate)
        await stored(owner, account, down="all calls fail")
        await look(other)
        assert await shown(other) == await shown(owner)
        assert (await other.get(f"/v1/accounts/{account}"))["lane"]["state"] == "breaker_open"
        paused = await other.ask("POST", "/v1/pause", {"account": account, "reason": "holidays"})
        assert paused.status == 200, paused
        assert (await shown(other))["reason"] == "holidays"


async def test_each_node_shows_the_calls_under_way_of_a_lane(tmp_path: Path, provider: Provider) -> None:
    async with cluster(tmp_path, 2) as nodes:
        owner, other = nodes.nodes
        account = account_for(owner, nodes.nodes)
        await set_up(other, provider.url, account)
        await provider.create("o-1")
        assert (await other.hook(webhook("order.processed", "o-1"), f"{account}-in")).status == 200
        await provider.fault(fault="delay", seconds=HOUR_S)
        await other.cancel("o-1", account=account)
        await provider.arrived(1, CANCEL_PATH)
        await look(other)
        lane = (await other.get(f"/v1/accounts/{account}"))["lane"]
        assert (lane["state"], lane["running"]) == ("sending", 1)
        owner.node.lanes[account].stop_claiming()
        for task in owner.node.lanes[account]._calling:
            task.cancel()


async def test_each_node_reckons_with_how_long_a_cancel_takes(tmp_path: Path, provider: Provider) -> None:
    async with cluster(tmp_path, 2) as nodes:
        owner, other = nodes.nodes
        account = account_for(owner, nodes.nodes)
        await set_up(other, provider.url, account)
        assert await nodes.owner(account) is owner
        gate = owner.node.lanes[account].gate
        await gate.restored.wait()
        assert other.node.latency_s(account) == 0.0
        gate.note_latencies(30.0)
        gate.memory.note(gate.rate)
        await stored(owner, account, latency_s=30.0)
        await look(other)
        assert other.node.latency_s(account) == owner.node.latency_s(account) == 30.0
        # What hardly differs is not stored again, and what was stored is what a new owner begins with.
        gate.note_latencies(*[33.0] * 99)
        gate.memory.note(gate.rate)
        assert gate.memory._current == gate.memory._saved
        await owner.node.store.save_lane(account, LaneState(latency_s=50.0))
        await look(other)
        assert other.node.latency_s(account) == 50.0


async def test_a_node_does_not_poll_while_another_hears(tmp_path: Path, provider: Provider) -> None:
    async with cluster(tmp_path, 2) as nodes:
        owner, other = nodes.nodes
        account = account_for(owner, nodes.nodes)
        polling = {"every_s": 1800.0, "when": "quiet", "quiet_after_s": HOUR_S}
        await set_up(other, provider.url, account, polling=polling)
        assert await nodes.owner(account) is owner
        lane, now = owner.node.lanes[account], datetime.now(UTC)
        lane.polls.heard_at -= HOUR_S  # an hour passes
        told = webhook("order.processed", "o-1", now - timedelta(hours=2))

        async def due(later: timedelta) -> int:
            return len(await lane.polls.due(lane.account, now + later, 9, ()))

        assert (await other.hook(told, f"{account}-in")).status == 200
        for minutes in (31, 59):
            assert await due(timedelta(minutes=minutes)) == 0, "the other node heard"
        assert await due(timedelta(minutes=61)) == 1
