"""Nodes that share a database: what only one may do at a time, and what becomes of it when nodes come, go and die."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from clusters import Cluster, account_for, cluster, set_up, share_of
from providers import Provider, until
from servers import Rescind, webhook

from app.store.node_protocol import ACCOUNT, CLAIM_S
from app.store.postgres.waking import Waking
from app.workers import ownership

pytestmark = pytest.mark.usefixtures("quick")


async def placed(node: Rescind, provider: Provider, account: str, *orders: str) -> None:
    await provider.create(*orders)
    for order in orders:
        assert (await node.hook(webhook("order.processed", order), endpoint=f"{account}-in")).status == 200


async def lane_of(nodes: Cluster, owner: Rescind, provider: Provider, **more: Any) -> str:
    """Make an account whose lane is at `owner`."""
    account = account_for(owner, nodes.nodes)
    await set_up(nodes.nodes[0], provider.url, account, **more)
    assert await nodes.owner(account) is owner
    return account


async def test_a_dead_nodes_calls_are_recorded_and_settled_by_another(tmp_path: Path, provider: Provider) -> None:
    async with cluster(tmp_path, 2) as nodes:
        doomed, other = nodes.nodes
        account = await lane_of(nodes, doomed, provider)
        await placed(other, provider, account, "o-1", "o-2")
        await provider.hold(processed="after")
        id = await other.cancel("o-1", account=account)
        await provider.arrived(1)
        began = datetime.now(UTC)  # before its lease ends: the other may take over at once
        await nodes.kill(doomed)
        provider.release()
        assert (await other.settled(id))["state"] == "succeeded"
        assert len(await provider.calls()) == 1
        assert await other.states("o-1", account) == [
            "scheduled",
            "sending",
            "indeterminate",
            "succeeded",
        ]
        stored = await other.node.store.order(account, "o-1")
        assert stored is not None
        attempts = await other.node.store.attempts(stored[0], 9)
        interrupted = next(attempt for attempt in attempts if attempt.outcome == "interrupted")
        assert interrupted.ended_at is not None
        assert interrupted.ended_at > began + timedelta(seconds=CLAIM_S)
        probed = next(attempt for attempt in attempts if attempt.kind == "probe")
        assert probed.started_at > interrupted.ended_at
        assert await other.node.store.unfinished_attempts() == []
        assert (await other.settled(await other.cancel("o-2", account=account)))["state"] == "succeeded"


async def test_a_new_node_takes_its_share_when_calls_under_way_have_ended(tmp_path: Path, provider: Provider) -> None:
    async with cluster(tmp_path, 1) as nodes:
        first = nodes.nodes[0]
        accounts = [f"acct-{number}" for number in range(12)]
        for account in accounts:
            await set_up(first, provider.url, account)
            await placed(first, provider, account, f"o-{account}")
        assert set(first.node.lanes) == set(accounts)
        await provider.hold(processed="after", times=len(accounts))
        ids = {account: await first.cancel(f"o-{account}", account=account) for account in accounts}
        await provider.arrived(len(accounts))
        second = await nodes.start()
        leaves = {ACCOUNT + account for account in share_of(second, nodes.nodes, accounts)}
        assert leaves

        async def leaving() -> bool:
            return leaves <= first.node.ownership._leaving.keys()

        await until(leaving, "the second node's accounts to be given up")
        assert second.node.lanes == {}  # not while their calls are out
        provider.release()

        async def shared() -> bool:
            return bool(second.node.lanes) and set(first.node.lanes) | set(second.node.lanes) == set(accounts)

        await until(shared, "the accounts to be shared")
        for account, id in ids.items():
            assert (await second.settled(id))["state"] == "succeeded"
            assert await second.states(f"o-{account}", account) == ["scheduled", "sending", "succeeded"]
        assert not set(first.node.lanes) & set(second.node.lanes)
        assert len(await provider.calls()) == len(accounts)


async def test_a_node_that_was_stopped_sends_nothing_when_it_goes_on(tmp_path: Path, provider: Provider) -> None:
    async with cluster(tmp_path, 2) as nodes:
        stopped, other = nodes.nodes
        account = await lane_of(nodes, stopped, provider)
        await placed(other, provider, account, "o-1")
        ledger, claimed, go_on = stopped.node.ledger, asyncio.Event(), asyncio.Event()
        execute = ledger.execute_all

        async def stop_after_the_claim(commands: Any, **more: Any) -> Any:
            results = await execute(commands, **more)
            if commands and type(commands[0]).__name__ == "ClaimJob" and not claimed.is_set():
                claimed.set()
                await go_on.wait()
            return results

        ledger.execute_all = stop_after_the_claim  # type: ignore[method-assign]
        id = await other.cancel("o-1", account=account)
        await claimed.wait()
        sleeping = stopped.node.store.lease
        calling = stopped.node.lanes[account]._calling
        awake = await nodes.stall(stopped)

        async def taken() -> bool:
            return account in other.node.lanes

        await until(taken, "the lane at the other node")
        assert (await other.settled(id))["state"] == "succeeded"
        before = len(await provider.calls(None))
        go_on.set()  # to the fence, by its own clock with a lease that lasts

        awake.set()

        async def anew() -> bool:
            lease = stopped.node.store.lease
            return lease is not None and sleeping is not None and lease.epoch > sleeping.epoch

        await until(anew, "the stopped node to join anew")

        async def recorded() -> bool:
            return not calling

        await until(recorded, "the end of the attempt")
        assert len(await provider.calls(None)) == before
        assert (await other.cancellation(id))["state"] == "succeeded"


async def test_draining_gives_everything_up(tmp_path: Path, provider: Provider) -> None:
    async with cluster(tmp_path, 2) as nodes:
        first, second = nodes.nodes
        accounts = [f"acct-{number}" for number in range(8)]
        for account in accounts:
            await set_up(first, provider.url, account)
        before = await first.get("/v1/node")
        assert (before["nodes"], before["draining"], before["fault"]) == (2, False, "")
        assert 0 < before["lease_left_s"] <= 15
        reply = await first.ask("POST", "/v1/node/drain", {})
        assert (reply.status, reply.json["draining"]) == (200, True)

        async def drained() -> bool:
            return not first.node.ownership.owned and set(second.node.lanes) == set(accounts)

        await until(drained, "the first node to own nothing")
        assert (await second.get("/v1/node"))["accounts"] == len(accounts)
        assert "log sealer" in second.node._tasks
        assert "log sealer" not in first.node._tasks
        reply = await first.ask("GET", "/readyz")
        assert (reply.status, reply.json) == (503, {"status": "draining"})
        assert (await second.ask("GET", "/readyz")).status == 200
        await placed(first, provider, "acct-0", "o-1")  # requests are served on
        assert (await first.settled(await first.cancel("o-1", account="acct-0")))["state"] == "succeeded"


async def test_a_fenced_node_is_not_ready_and_joins_anew(tmp_path: Path, provider: Provider) -> None:
    async with cluster(tmp_path, 2) as nodes:
        first, second = nodes.nodes
        account = await lane_of(nodes, first, provider)
        epoch = first.node.store.lease.epoch  # type: ignore[union-attr]
        awake = await nodes.stall(first)

        async def taken() -> bool:
            return account in second.node.lanes

        await until(taken, "the lane at the other node")
        assert (await first.ask("GET", "/readyz")).status == 200  # it cannot know yet
        awake.set()

        async def anew() -> bool:
            lease = first.node.store.lease
            return lease is not None and lease.epoch > epoch and not first.node.ownership.fault

        await until(anew, "a new lease")
        await nodes.all_know()
        await placed(second, provider, account, "o-1")
        assert (await first.settled(await first.cancel("o-1", account=account)))["state"] == "succeeded"
        assert len(await provider.calls()) == 1


async def test_what_a_lost_answer_left_with_a_node_is_given_up(
    tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that took a subject, and of which the answer was lost, binds it to a node that does not know."""
    monkeypatch.setattr(ownership, "COMPARE_S", 0.0)
    async with cluster(tmp_path, 2) as nodes:
        first, second = nodes.nodes
        taken, lost = account_for(second, nodes.nodes), account_for(first, nodes.nodes)
        await first.node.store.take({f"account:{taken}"})
        await set_up(first, provider.url, taken)
        assert await nodes.owner(taken) is second
        await set_up(first, provider.url, lost)
        assert await nodes.owner(lost) is first
        before = first.node.lanes[lost]
        await first.node.store.release({f"account:{lost}"})

        async def anew() -> bool:
            return first.node.lanes.get(lost) not in {None, before}

        await until(anew, "the lane to be taken anew")
        await placed(second, provider, lost, "o-1")
        assert (await second.settled(await second.cancel("o-1", account=lost)))["state"] == "succeeded"


async def test_a_node_that_stops_is_followed_at_once(
    tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cluster(tmp_path, 2) as nodes:
        first, second = nodes.nodes
        account = await lane_of(nodes, first, provider)
        monkeypatch.setattr(ownership, "HEARTBEAT_S", 3600.0)
        for node in nodes.nodes:
            node.node.ownership.look_at_nodes()  # what is waited for next is an hour away
        nodes.nodes.remove(first)
        await first.stop()
        assert await nodes.owner(account) is second
        await nodes.all_know()


async def test_nodes_that_hear_nothing_find_everything(
    tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Notifications save time only: without them, as behind some poolers, nodes look each second."""
    monkeypatch.setattr(Waking, "notifies", False)
    async with cluster(tmp_path, 2) as nodes:
        first, second = nodes.nodes
        account = await lane_of(nodes, first, provider)
        await placed(second, provider, account, "o-1", "o-2")
        assert (await second.settled(await second.cancel("o-1", account=account)))["state"] == "succeeded"
        await second.node.pause("all", "checked", "a")

        async def paused() -> bool:
            return bool(first.node.lanes[account].paused)

        await until(paused, "the other node to know of the pause")
        await second.node.resume("all", "a")
        await nodes.kill(first)
        assert await nodes.owner(account) is second
        assert (await second.settled(await second.cancel("o-2", account=account)))["state"] == "succeeded"
        assert len(await provider.calls()) == 2


async def test_ids_of_nodes_never_collide(tmp_path: Path) -> None:
    async with cluster(tmp_path, 2) as nodes:
        drawn = [node.node.ids.next() for node in nodes.nodes for _ in range(5000)]
        assert len(set(drawn)) == 10_000
        numbers = {node.node.store.lease.number for node in nodes.nodes}  # type: ignore[union-attr]
        assert {id >> 12 & 511 for id in drawn} == numbers
