"""What a request needs of a lane that another node has; timers and deliveries of which there is one for all nodes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from clusters import Cluster, account_for, cluster, set_up
from providers import WAIT_S, Provider, Side, until
from servers import webhook
from subscribers import Subscriber

import app.node
from app.workers import duties, errands
from handlers.notpanel.simulator import DEFAULT_KEY, NotPanel

pytestmark = pytest.mark.usefixtures("quick")


async def test_a_node_asks_the_owner_of_a_lane(
    tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duties, "FORECAST_S", WAIT_S)
    async with cluster(tmp_path, 2) as nodes:
        owner, other = nodes.nodes
        account = account_for(owner, nodes.nodes)
        await set_up(other, provider.url, account, limits={"requests": 1, "per_s": 3600})
        assert await nodes.owner(account) is owner
        owner.node.duties.lanes[account].gate.rate.meter.start(0.0)
        soon = datetime.now(UTC) + timedelta(seconds=1)
        expected = [await node.node.duties.expected(account, [soon, soon]) for node in nodes.nodes]
        assert expected[0] is not None
        assert expected[1] is not None
        assert expected[0][1] - soon > timedelta(minutes=50)
        assert abs(expected[1][1] - expected[0][1]) < timedelta(seconds=30)
        owner.node.news.errands.kinds.clear()  # as of another release
        assert await other.node.duties.expected(account, [soon]) is None
        endpoint = other.node.config.endpoints[f"{account}-in"]
        status = await other.node.registrar.check(endpoint, restore=False)
        assert "KeyError" in status.error


async def test_registrations_are_made_by_the_lanes_owner(tmp_path: Path, provider: Provider) -> None:
    async with cluster(tmp_path, 2) as nodes:
        owner, other = nodes.nodes
        account = account_for(owner, nodes.nodes)
        await set_up(other, provider.url, account)
        assert await nodes.owner(account) is owner
        asked: list[Any] = []

        async def check(id: str, request: Any) -> Any:
            asked.append((id, request))
            return {"checked_at": "2026-01-01T00:00:00Z", "url": "https://here/webhooks/x", "missing": ["orders"]}

        owner.node.news.errands.kinds["check-registrations"] = check
        endpoint = other.node.config.endpoints[f"{account}-in"]
        status = await other.node.registrar.check(endpoint, restore=True, renew=True)
        assert (status.url, status.missing) == ("https://here/webhooks/x", ("orders",))
        assert asked == [(account, {"restore": True, "renew": True, "endpoint": f"{account}-in"})]


async def test_a_registration_that_is_under_way_at_a_stop_is_answered_and_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The stop must not cut off what is held here.
    monkeypatch.setattr(app.node, "DRAIN_S", WAIT_S)
    monkeypatch.setattr(errands, "ANSWER_S", WAIT_S)
    begun: list[asyncio.Task[Any]] = []
    panel, nodes = await Side.begin("notpanel", NotPanel(webhook_secret=None)), Cluster(tmp_path)
    try:
        owner, other = [await nodes.start(public_url="https://rescind.example.com") for _ in range(2)]
        account = account_for(owner, nodes.nodes)
        resources = {
            "accounts": [
                {"id": account, "provider": "notpanel", "config": {"base_url": panel.url, "key": DEFAULT_KEY}}
            ],
            "endpoints": [{"id": "hook", "account": account, "verify": {"secrets": ["s"]}}],
        }
        await other.node.apply(resources, by="a")
        assert await nodes.owner(account) is owner
        await until(lambda: asyncio.sleep(0, "hook" in owner.node.config.endpoints), "the owner to know the endpoint")
        await panel.hold()
        check = other.node.registrar.check(other.node.config.endpoints["hook"], restore=True, renew=True)
        asking = asyncio.create_task(check)
        begun.append(asking)
        for number in (1, 2):  # both list webhooks
            await panel.arrived(number)
            await panel.hold()
            panel.release()
        await panel.arrived(3)
        assert len((await panel.act("webhooks"))["webhooks"]) == 1, "it is made, and its answer on its way"
        stopping = asyncio.create_task(owner.stop())
        begun.append(stopping)
        nodes.nodes.remove(owner)
        await until(lambda: asyncio.sleep(0, "registrar" not in owner.node._tasks), "the registrar's end")
        panel.release()
        await stopping
        calls = len(await panel.calls())
        status = await asking
        assert (status.error, len(status.restored) > 0, len(await panel.calls())) == ("", True, calls)
    finally:
        panel.release(cut_off=True)
        await asyncio.gather(*begun, return_exceptions=True)
        await nodes.stop()
        await panel.close()


async def test_timers_fire_once_and_deliveries_are_sent_once(tmp_path: Path, provider: Provider) -> None:
    names = ["crm", "erp", "ops"]
    subscribers = {name: await Subscriber.start() for name in names}
    async with cluster(tmp_path, 2) as nodes:
        first, second = nodes.nodes
        wanted = [{"id": name, "url": subscriber.url, "events": ["*"]} for name, subscriber in subscribers.items()]
        await first.node.apply({"subscriptions": wanted}, by="a")
        accounts = [account_for(node, nodes.nodes) for node in nodes.nodes]
        for account in accounts:
            await set_up(first, provider.url, account)
        orders = {f"o-{number}": accounts[number % 2] for number in range(10)}
        await provider.create(*orders)
        for place, (order, account) in enumerate(orders.items()):
            node = nodes.nodes[place // 2 % 2]
            assert (await node.hook(webhook("order.processed", order), endpoint=f"{account}-in")).status == 200
        await first.ask("POST", "/v1/pause", {"scope": "all", "reason": "the deadline passes meanwhile"})
        soon = datetime.now(UTC) + timedelta(minutes=1)
        ids = [
            await second.cancel(order, account=account, deadline=soon.isoformat()) for order, account in orders.items()
        ]
        for node in nodes.nodes:
            node.later(timedelta(minutes=2))
        for id in ids:
            assert (await first.settled(id))["state"] == "expired"
        for order, account in orders.items():
            assert (await first.states(order, account)).count("expired") == 1

        async def delivered() -> bool:
            # What the timers sent is due by their clock only.
            due_at = await first.node.store.deliveries_due_at(names)
            return all(at > datetime.now(UTC) for at in due_at.values())

        await until(delivered, "all deliveries")
        sent = [[received.id for received in subscriber.received] for subscriber in subscribers.values()]
        assert all(len(ids) == len(set(ids)) >= len(orders) for ids in sent)
        assert sorted(sent[0]) == sorted(sent[1]) == sorted(sent[2])
    for subscriber in subscribers.values():
        await subscriber.close()
