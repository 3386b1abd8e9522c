"""Brings a running Rescind into each state that an alert is about: one node, with an account or endpoint for each.

The functions are named in `PROVOKED`, by the alerts that they are to bring about. What waits for a long time waits by
the clock of what measures it: that is put an hour ahead.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from commits import full_disk, one_commit
from prometheus import Prometheus
from prometheus_client import REGISTRY
from providers import RETRIEVE_PATH, Provider, Side, until
from receivers import Down, Receiver
from servers import ENDPOINT, Rescind, Server, account_of, endpoint_of, webhook

from app.core.commands import FireTimer
from app.engine.backup import back_up, record
from app.runtime import disk
from app.web.scrape import SCRAPES
from app.workers.endpoint_watch import FAILING_MIN
from handlers.shoplazza.simulator import DEFAULT_ACCESS_TOKEN, DEFAULT_CLIENT_SECRET, DEFAULT_SHOP_DOMAIN

LATER = timedelta(hours=1)
WORDS = {"reason": "client_requested_cancelation", "note": "By policy."}
ACCOUNTS = ("well", "slow", "broken", "throttled", "refused", "paused", "unsure", "asked", "limited", "failing", "late")
POLICIES: dict[str, dict[str, Any]] = {
    "asked": {"mode": "approve", "approve_within": "45m"},
    "limited": {"limits": {"per_hour": 1}},
    "failing": {"when": "order.attributes.nothing.at_all == 1"},
}
HOSTS = {"hosts": ["nobody.invalid"]}
SOURCE = {
    "base_url": "http://127.0.0.1:1",
    "fields": {"order": "id", "status": "status"},
    "phases": {"open": "open"},
    "cancel": "none",
    "challenges": [
        {"method": "GET", "when": "has(request.query.challenge)", "body": "{{ request.query.challenge }}"},
        {
            "method": "POST",
            "when": "has(request.json.confirm)",
            "confirm": {"url": "{{ request.json.confirm }}", **HOSTS},
        },
    ],
}


class Disk:
    """The file system of the node's database: a tenth of it is free, and half of that at each look once it shrinks."""

    SIZE = 1e11

    def __init__(self, directory: Path, patch: pytest.MonkeyPatch) -> None:
        self._directory, self._real = directory, os.statvfs
        self.shrinks, self._free = False, self.SIZE / 10
        patch.setattr(disk.os, "statvfs", self._look)

    def _look(self, path: Any) -> Any:
        if Path(path) != self._directory:
            return self._real(path)
        if self.shrinks:
            self._free = max(5e8, self._free / 2)
        return SimpleNamespace(f_bavail=int(self._free) // 4096, f_blocks=int(self.SIZE) // 4096, f_frsize=4096)


@dataclass
class Scene:
    """What the provocations act on."""

    rescind: Rescind
    provider: Provider
    shop: Side
    receiver: Receiver
    server: Server
    """A Rescind in a process of its own, which is restarted and never backed up."""
    prometheus: Prometheus
    disk: Disk
    directory: Path
    calm: pytest.MonkeyPatch
    """Until it is undone, the loop shows no lag: what the machine does besides is no fault of the server's."""

    async def begin(self) -> None:
        """Set up an installation that works, with traffic."""
        rescind = self.rescind
        for id in ACCOUNTS:
            limits = {"concurrency": 1 if id == "slow" else 4}
            await rescind.put("accounts", id, account_of(self.provider.url, limits=limits))
            await rescind.put("endpoints", f"{id}-in", endpoint_of(id))
        for id, more in POLICIES.items():
            policy = {"accounts": [id], "when": "order.phase == 'open'", "cancel": WORDS, "mode": "enforce", **more}
            reply = await rescind.ask("PUT", f"/v1/policies/{id}?confirm=true", policy)
            assert reply.status == 201, reply
        await rescind.put("endpoints", ENDPOINT, endpoint_of("well"))
        await rescind.put("endpoints", "silent-in", endpoint_of("well", silent_after="30m"))
        await rescind.put("endpoints", "rotated-in", endpoint_of("well"))
        config = {"base_url": self.shop.url, "shop_domain": DEFAULT_SHOP_DOMAIN, "access_token": DEFAULT_ACCESS_TOKEN}
        await rescind.put("accounts", "shop", {"provider": "shoplazza", "config": config})
        verify = {"secrets": [DEFAULT_CLIENT_SECRET]}
        await rescind.put("endpoints", "shop-in", {"account": "shop", "verify": verify, "keep_registered": True})
        await rescind.put("accounts", "source", {"provider": "generic", "config": SOURCE})
        await rescind.put("endpoints", "source-in", endpoint_of("source"))
        url = f"{self.receiver.url}/in"
        await rescind.put("subscriptions", "crm", {"url": url, "events": ["cancellation.*"]})
        await rescind.put("subscriptions", "off", {"url": url, "events": ["cancellation.*"]})
        await self.orders("well", "w-1", "w-2")
        await rescind.settled(await rescind.cancel("w-1", "well"))
        await rescind.tell("order.processed", "w-3", "silent-in")
        await self.registered()
        await self.back_up()

    async def orders(self, account: str, *orders: str) -> None:
        """Orders that the provider and Rescind know, and that can be canceled."""
        await self.provider.create(*orders)
        for order in orders:
            await self.rescind.tell("order.processed", order, f"{account}-in")

    async def registered(self) -> None:
        async def look() -> bool:
            return measured("rescind_registrations_missing", endpoint="shop-in") == 0

        await until(look, "the shop's registrations")

    async def back_up(self, ago: timedelta = timedelta()) -> None:
        database = self.rescind.node.settings.database_path
        file = self.directory / "backup.db"
        copied = await asyncio.to_thread(back_up, database, file, secret_key="", tell=lambda *_: None, force=True)
        record(database, replace(copied, at=copied.at - ago))

    @property
    def scrapes(self) -> Any:
        assert self.rescind._runner.app is not None
        return self.rescind._runner.app[SCRAPES]


def measured(name: str, **labels: str) -> float | None:
    """A sample as the node would show it."""
    return REGISTRY.get_sample_value(name, labels)


def soon(**ahead: float) -> str:
    return (datetime.now(UTC) + timedelta(**ahead)).isoformat()


async def put_clocks_ahead(scene: Scene) -> None:
    """An hour later for what measures, and not for what acts: as if nothing had been done since."""
    node = scene.rescind.node

    def later() -> datetime:
        return datetime.now(UTC) + LATER

    scene.scrapes.clock = node.watch._clock = node.deliveries._clock = later
    await node.watch.look()
    await node.deliveries._look()


async def break_provider(scene: Scene) -> None:
    gone = account_of("http://127.0.0.1:1")
    await scene.rescind.put("accounts", "broken", gone)
    orders = [f"b-{number}" for number in range(6)]
    await scene.orders("broken", *orders)
    for order in orders:
        await scene.rescind.cancel(order, "broken")


async def keep_out(scene: Scene) -> None:
    await scene.rescind.put("accounts", "refused", account_of(scene.provider.url, config={"api_key": "former"}))
    await scene.orders("refused", "r-1")
    await scene.rescind.cancel("r-1", "refused")


async def throttle(scene: Scene) -> None:
    await scene.orders("throttled", "t-1")
    await scene.provider.fault("status", order="t-1", status=429, headers={"Retry-After": "3600"}, times=100)
    await scene.rescind.cancel("t-1", "throttled")


async def hold_up_a_lane(scene: Scene) -> None:
    await scene.orders("slow", "s-1", "s-2")
    await scene.provider.hold(order="s-1")
    await scene.rescind.cancel("s-1", "slow")
    await scene.provider.arrived(order="s-1")
    await scene.rescind.cancel("s-2", "slow")


async def pause_with_cancels(scene: Scene) -> None:
    """One expires in a moment, one is urgent by then, and one should have expired when it is measured."""
    rescind = scene.rescind
    await rescind.ask("POST", "/v1/pause", {"account": "paused"})
    await rescind.ask("POST", "/v1/pause", {"policies": True})
    await scene.orders("paused", "p-1", "p-2", "p-3")
    expiring = await rescind.cancel("p-1", "paused", deadline=soon(seconds=5))
    await rescind.cancel("p-2", "paused", deadline=soon(minutes=70))
    await rescind.cancel("p-3", "paused", deadline=soon(minutes=30))
    assert (await rescind.settled(expiring))["state"] == "expired"


async def lose_an_answer(scene: Scene) -> None:
    await scene.orders("unsure", "u-1")
    await scene.provider.fault("status", RETRIEVE_PATH, order="u-1", times=1000)
    await scene.provider.fault("reset_after", order="u-1")
    await scene.rescind.settled(await scene.rescind.cancel("u-1", "unsure"), "indeterminate")


async def decide(scene: Scene) -> None:
    await scene.orders("asked", "a-1")
    await scene.orders("limited", "l-1", "l-2")
    for number in range(3):
        await scene.orders("failing", f"f-{number}")


async def send_nonsense(scene: Scene) -> None:
    for _ in range(12):
        assert (await scene.rescind.hook(b"no json", "well-in")).status == 202


async def use_secrets(scene: Scene) -> None:
    """Wrong ones, former ones, and a key that ends; a challenge, and a subscription that cannot be confirmed."""
    rescind = scene.rescind
    assert (await rescind.ask("GET", "/webhooks/source-in?challenge=c-1", key=None)).status == 200
    reply = await rescind.hook({"confirm": "https://nobody.invalid/c-1"}, "source-in")
    assert reply.status == 503, reply
    for _ in range(FAILING_MIN):
        assert (await rescind.hook({}, "failing-in", token="a-wrong-token")).status == 401
    if measured("rescind_webhooks_retired_secret_total", endpoint="rotated-in") is None:
        assert (await rescind.ask("POST", "/v1/endpoints/rotated-in/rotate", {})).status == 200
        await rescind.tell("order.processed", "w-4", "rotated-in")
        await scene.prometheus.has("rescind_webhooks_retired_secret_total == 1")
    await rescind.tell("order.processed", "w-5", "rotated-in")
    reply = await rescind.ask("POST", "/v1/keys", {"name": "ends", "scope": "read", "expires_at": soon(days=5)})
    assert reply.status == 201, reply


async def drop_registrations(scene: Scene) -> None:
    await scene.shop.act("drop_webhook", topic="orders/cancelled")
    found = await scene.rescind.get("/v1/endpoints/shop-in/registrations")
    assert found["missing"] == ["orders/cancelled"]


async def stop_subscribers(scene: Scene) -> None:
    """One does not answer, nobody listens at the other."""
    rescind, worker = scene.rescind, scene.rescind.node.deliveries._workers["off"]
    await rescind.put("subscriptions", "off", {"url": "http://127.0.0.1:1/", "events": ["cancellation.*"]})
    await scene.receiver.fail(Down.HANGS)
    orders = [f"w-{number}" for number in range(10, 18)]
    await scene.orders("well", *orders)
    for order in orders:
        await rescind.cancel(order, "well")
    await until(lambda: asyncio.sleep(0, not worker.up), "the subscription that is down")


async def fill_the_disk(scene: Scene) -> None:
    """First the database cannot grow; then its file system has less room from scrape to scrape."""
    async with full_disk(scene.rescind.node.store):
        # Until what the file has room for is used up; random, as content is compressed.
        while (
            await scene.rescind.hook(webhook("order.processed", "w-9", filler=os.urandom(9000).hex()), "well-in")
        ).status < 503:
            pass
    scene.disk.shrinks = True


async def hold_the_loop(scene: Scene) -> None:
    scene.calm.undo()
    for _ in range(3):
        time.sleep(1.0)  # noqa: ASYNC251 - that is what is measured
        await asyncio.sleep(0.3)


async def crowd_the_writer(scene: Scene) -> None:
    """The writer is held while more wait for it than may."""
    node, command = scene.rescind.node, FireTimer("well", "w-2", datetime.now(UTC))
    async with one_commit(scene.rescind, 1001):
        waiting = [asyncio.create_task(node.ledger.execute(command)) for _ in range(1200)]
        await scene.prometheus.has("rescind_queue_requests > 1000")
    await asyncio.gather(*waiting)


async def spoil_the_index(scene: Scene) -> None:
    """Another program reads the index while an order is erased, and then writes it."""
    index = scene.rescind.node.database_files[1]
    with closing(sqlite3.connect(index)) as reader, closing(sqlite3.connect(index, isolation_level=None)) as writer:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_master").fetchall()
        reply = await scene.rescind.ask("POST", "/v1/accounts/well/orders/w-1/erase", {})
        assert reply.status < 300, reply
        await scene.prometheus.has("rescind_search_index_erasing == 1")
        writer.execute("BEGIN IMMEDIATE")
        await scene.rescind.tell("order.processed", "w-6", "well-in")
        await scene.prometheus.has("rescind_search_index_up == 0")


async def age_the_backup(scene: Scene) -> None:
    await scene.back_up(timedelta(days=2))


async def end_a_worker(scene: Scene) -> None:
    scene.rescind.node._tasks["log sealer"].cancel()


async def restart_and_stop(scene: Scene) -> None:
    target = scene.server.url.removeprefix("http://")
    await scene.prometheus.scrape(target)
    for number in range(1, 4):
        await scene.server.kill()
        await scene.server.start()
        await scene.prometheus.has(f'changes(process_start_time_seconds{{instance="{target}"}}[30m]) >= {number}')
    await scene.server.kill()


PROVOKED: dict[Callable[[Scene], Awaitable[None]], dict[str, str]] = {
    break_provider: {"RescindBreakerOpen": "account=broken", "RescindProviderCallsFailing": "account=broken"},
    keep_out: {"RescindCredentialsRefused": "scope=account:refused"},
    throttle: {"RescindLaneThrottled": "account=throttled"},
    hold_up_a_lane: {"RescindCancelsOverdue": "account=slow"},
    lose_an_answer: {"RescindCancelsIndeterminate": ""},
    decide: {
        "RescindApprovalsWaiting": "",
        "RescindApprovalsExpiring": "",
        "RescindPolicyHalted": "scope=policy:limited",
        "RescindPolicyFailing": "policy=failing",
    },
    pause_with_cancels: {
        "RescindAccountPaused": "scope=account:paused",
        "RescindSendingPaused": "scope=policies",
        "RescindCancelsExpired": "account=paused",
        "RescindWindowsClosing": "account=paused",
        "RescindTimersLate": "",
    },
    send_nonsense: {"RescindQuarantineGrowing": "endpoint=well-in", "RescindWebhooksQuarantined": ""},
    use_secrets: {
        "RescindWebhooksRefused": "endpoint=failing-in",
        "RescindRetiredSecretUsed": "endpoint=rotated-in",
        "RescindKeyExpiring": "",
    },
    drop_registrations: {"RescindRegistrationsMissing": "endpoint=shop-in"},
    stop_subscribers: {"RescindDeliveriesOverdue": "subscription=crm", "RescindSubscriptionDown": "subscription=off"},
    crowd_the_writer: {"RescindIngestQueueFilling": ""},
    spoil_the_index: {"RescindSearchIndexDown": "", "RescindErasedWordsStay": ""},
    fill_the_disk: {"RescindDatabaseUnavailable": "", "RescindDiskFull": "", "RescindDiskFilling": ""},
    hold_the_loop: {"RescindEventLoopLag": ""},
    age_the_backup: {"RescindBackupOld": ""},
    end_a_worker: {"RescindWorkerEnded": "", "RescindLogNotSealed": ""},
    put_clocks_ahead: {"RescindEndpointSilent": "endpoint=silent-in"},
    restart_and_stop: {"RescindServerDown": "", "RescindRestarting": "", "RescindBackupMissing": ""},
}
"""Provocation → the alerts that it brings about, each with a label that says of what."""
