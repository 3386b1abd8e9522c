"""A seeded load on several nodes: webhooks about many orders, some twice, some late, and requests to cancel."""

from __future__ import annotations

import asyncio
import heapq
import random
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec
from chaos.cluster import REQUEST_S, ChaosServer, Cluster
from servers import CANCEL_BODY, Reply, webhook

from app.core.event import event_id

CONNECTIONS = 16
AVOID_S = 1.0
"""So long nobody asks a node that did not answer, as behind a load balancer."""
PING_S = 0.1
READ_S = 0.2
READS = (
    "/v1/orders?account={account}&limit=20",
    "/v1/cancellations?account={account}&limit=20",
    "/v1/events?account={account}&limit=20",
    "/v1/receipts?account={account}&limit=20",
    "/v1/attempts?account={account}&limit=20",
    "/v1/accounts/{account}",
    "/v1/overview",
    "/v1/status",
)
CLOSING = "appointment.scheduled"
OFFERED = (aiohttp.ClientError, ConnectionError, TimeoutError)


@dataclass
class Told:
    """What was sent to Rescind, and what it said."""

    sent: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Order → ids of the events that were sent at all."""
    acknowledged: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    receipts: dict[str, bytes] = field(default_factory=dict)
    """Receipt → the body that it acknowledged."""
    closed: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Order → the event that closed it, and when that was first acknowledged."""
    cancellations: dict[str, str] = field(default_factory=dict)
    """Acknowledged cancellation → its order."""
    pings: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Node → when it acknowledged a webhook that it alone was sent."""
    refused: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    """Status → how many requests got it, and were made again."""
    stage: str = ""
    """What is being done to the cluster, so that statuses are counted by it."""
    statuses: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Stage → what was asked, and the status and the type of problem of the response."""
    lag_s: float = 0.0
    """How late this process itself was at most: its record of when a call arrived is as late."""

    def note(self, what: str, reply: Reply) -> None:
        """Count a response."""
        is_problem = reply.headers.get("Content-Type") == "application/problem+json"
        slug = reply.json["type"].rpartition(":")[2] if is_problem else ""
        self.statuses[self.stage][f"{what} {reply.status} {slug}".strip()] += 1


@dataclass(order=True)
class Line:
    """One thing to say to Rescind, not before its time."""

    at: float
    turn: int
    what: str = field(compare=False)
    order: str = field(compare=False)
    body: dict[str, Any] = field(compare=False, default_factory=dict)


def account_of_order(order: str) -> str:
    return order.partition("-")[0]


class Load:
    """Tells the stories of so many new orders a second until `stop_new`, then of those that are left."""

    def __init__(self, cluster: Cluster, chance: random.Random, orders_per_s: float) -> None:
        self.cluster, self.chance, self.told = cluster, chance, Told()
        self._orders_per_s, self._lines = orders_per_s, list[Line]()
        self._avoided: dict[str, float] = {}
        self._turn = self._number = 0
        self._ending = False
        self._tasks: list[asyncio.Task[None]] = []

    def run(self) -> None:
        work = [self._connection() for _ in range(CONNECTIONS)]
        work += [self._arrive(), self._provider_faults(), self._measure_lag()]
        work += [self._read()] if self.cluster.previous else []
        self._tasks = [asyncio.create_task(each) for each in work]
        self._pingers = [asyncio.create_task(self._ping(node)) for node in self.cluster.nodes]

    async def finish(self) -> None:
        """Make no new orders; return when everything was said."""
        self._ending = True
        try:
            await asyncio.gather(*self._tasks)
        finally:
            for task in (*self._tasks, *self._pingers):
                task.cancel()
            await asyncio.gather(*self._tasks, *self._pingers, return_exceptions=True)

    def check(self) -> None:
        """Raise what a connection raised."""
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.result()

    async def _arrive(self) -> None:
        accounts = list(self.cluster.simulators)
        while not self._ending:
            account = self.chance.choice(accounts)
            self._number += 1
            self._plan(f"{account}-{self._number}")
            await asyncio.sleep(self.chance.expovariate(self._orders_per_s))

    def _plan(self, order: str) -> None:
        """An order's story: opened, perhaps closed, perhaps canceled by us; told out of order and twice."""
        now, opened = time.monotonic(), time.time() - 3600
        simulator = self.cluster.simulators[account_of_order(order)]
        simulator.act({"do": "create_order", "order_id": order, "request_id": f"r-{order}", "silent": True}, opened)
        told = [webhook("order.processed", order, opened)]
        more = range(self.chance.randrange(3))
        told += [webhook("appointment.awaiting_availability", order, opened + n + 1) for n in more]
        for body in (*told, self.chance.choice(told)):
            self._add(now + self.chance.random() * 2, "tell", order, body)
        if self.chance.random() < 0.5:
            self._add(now + 0.5 + self.chance.random() * 3, "cancel", order)
        if self.chance.random() < 0.5:
            self._add(now + 0.5 + self.chance.random() * 5, "close", order)

    def _add(self, at: float, what: str, order: str, body: dict[str, Any] | None = None) -> None:
        self._turn += 1
        heapq.heappush(self._lines, Line(at, self._turn, what, order, body or {}))

    async def _connection(self) -> None:
        while self._lines or not self._ending:
            if not self._lines or self._lines[0].at > time.monotonic():
                await asyncio.sleep(0.02)
                continue
            line = heapq.heappop(self._lines)
            node = self._node()
            try:
                async with asyncio.timeout(REQUEST_S):
                    done = await self._say(line, node)
            except OFFERED:
                # It may have arrived. Most senders come again; what closes a window must arrive in the end.
                self._avoided[node.name] = time.monotonic() + AVOID_S
                done = line.what == "tell" and line.body["event"] != CLOSING and self.chance.random() < 0.3
            if not done:
                self._add(time.monotonic() + 0.1 + self.chance.random() * 0.3, line.what, line.order, line.body)

    def _node(self) -> ChaosServer:
        now = time.monotonic()
        nodes = [node for node in self.cluster.nodes if node.url and self._avoided.get(node.name, 0.0) < now]
        return self.chance.choice(nodes or [node for node in self.cluster.nodes if node.url])

    async def _say(self, line: Line, node: ChaosServer) -> bool:
        """True if it need not be said again."""
        match line.what:
            case "tell":
                return await self._tell(line.order, line.body, node)
            case "cancel":
                return await self._cancel(line.order, node)
            case _:
                return self._close(line.order)

    def _close(self, order: str) -> bool:
        """The window closes: first at the provider, then by its webhook."""
        simulator = self.cluster.simulators[account_of_order(order)]
        try:
            simulator.act({"do": "schedule_appointment", "order_id": order, "silent": True}, time.time())
        except ValueError:
            return True  # it is canceled there already
        self._add(time.monotonic(), "tell", order, webhook(CLOSING, order, time.time()))
        return True

    async def _tell(self, order: str, body: dict[str, Any], node: ChaosServer) -> bool:
        raw, account = msgspec.json.encode(body), account_of_order(order)
        id = event_id(account, order, body["event"], raw)
        self.told.sent[order].add(id)
        reply = await node.hook(raw, f"{account}-in")
        self.told.note("webhook", reply)
        if reply.status == 503:
            self.told.refused[503] += 1
            return False
        assert reply.status == 200, (node.name, reply)
        self.told.acknowledged[order].add(id)
        self.told.receipts[reply.json["receipt"]] = raw
        if body["event"] == CLOSING:
            self.told.closed.setdefault(order, (id, time.time()))
        return True

    async def _cancel(self, order: str, node: ChaosServer) -> bool:
        path = f"/v1/accounts/{account_of_order(order)}/orders/{order}/cancellations"
        reply = await node.ask("POST", path, CANCEL_BODY, headers={"Idempotency-Key": f"key-{order}"})
        self.told.note("cancel", reply)
        if reply.status == 202:
            self.told.cancellations[reply.json["id"]] = order
        elif reply.status == 409 and reply.json["type"].endswith("request-in-flight"):
            return False
        elif reply.status not in (202, 409):
            # Nothing else than busy or unknown is the server's to say.
            assert reply.status in (404, 503), (node.name, reply)
            self.told.refused[reply.status] += 1
            return False
        return True

    async def _ping(self, node: ChaosServer) -> None:
        """Ask one node for an acknowledgment again and again, whatever the others do."""
        account, number = next(iter(self.cluster.simulators)), 0
        while True:
            await asyncio.sleep(PING_S)
            if not node.url:
                continue
            number += 1
            order = f"{account}-ping-{node.name}-{number}"
            raw = msgspec.json.encode(webhook("order.processed", order, time.time() - 60))
            id = event_id(account, order, "order.processed", raw)
            self.told.sent[order].add(id)
            try:
                async with asyncio.timeout(REQUEST_S):
                    reply = await node.hook(raw, f"{account}-in")
            except OFFERED:
                continue
            self.told.note("webhook", reply)
            if reply.status == 200:
                self.told.acknowledged[order].add(id)
                self.told.receipts[reply.json["receipt"]] = raw
                self.told.pings[node.name].append(time.monotonic())

    async def _read(self) -> None:
        """Look at what happens, as people and dashboards do."""
        while not self._ending:
            node, account = self._node(), self.chance.choice(list(self.cluster.simulators))
            path = self.chance.choice(READS).format(account=account)
            try:
                async with asyncio.timeout(REQUEST_S):
                    self.told.note("read", await node.ask("GET", path))
            except OFFERED:
                self._avoided[node.name] = time.monotonic() + AVOID_S
            await asyncio.sleep(READ_S)

    async def _provider_faults(self) -> None:
        """The provider is slow at times, and cuts connections."""
        while not self._ending:
            for account in self.cluster.simulators:
                kind, processed = self.chance.random(), self.chance.choice(["before", "after"])
                if kind < 0.1:
                    await self.cluster.fault(account, fault=self.chance.choice(["reset_before", "reset_after"]))
                else:
                    seconds = self.chance.random() ** 2 * 1.5
                    await self.cluster.fault(account, fault="delay", seconds=seconds, processed=processed)
            await asyncio.sleep(1.0)

    async def _measure_lag(self) -> None:
        while not self._ending or self._lines:
            began = time.monotonic()
            await asyncio.sleep(0.01)
            self.told.lag_s = max(self.told.lag_s, time.monotonic() - began - 0.01)
