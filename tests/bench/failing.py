"""How long healthy cancels wait beside orders that always fail: every provider at its own limits, on real HTTP."""

from __future__ import annotations

import asyncio
import json
import logging
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import aiohttp
import structlog
from rich.table import Table

import handlers as packages
from app.config.registry import handlers
from app.config.settings import Settings
from app.contract import Handler, Simulator
from app.core.cancellation import Cancellation
from app.core.commands import RequestCancel
from app.dev.sandbox import start_sandbox
from app.node import Node
from app.runtime import ids

FAILING = (0, 1, 8, 50)
HEALTHY = 20
SETTLED_S = 70.0
"""The failing orders are asked for so long before the others: their first calls are out of every window."""
WAIT_S = 60.0


@dataclass(slots=True)
class SimulatedProvider:
    """One account at one simulated provider, with so many orders that always fail."""

    handler: Handler
    failing: int
    simulator: Simulator
    scenario: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.handler.name}-{self.failing}"

    def create(self, number: int) -> list[str]:
        action = self.scenario["create"]
        return [str(self.simulator.act(action, time.time())["order_id"]) for _ in range(number)]

    def account(self, url: str) -> dict[str, Any]:
        config = {**self.scenario["config"], "base_url": f"{url}/{self.name}"}
        rules = self.scenario.get("rules", {})
        return {
            "id": self.name,
            "provider": self.handler.name,
            "config": config,
            "rules": rules,
            "unknown_orders": "send",
        }


def simulated_providers() -> list[SimulatedProvider]:
    """One for each provider and each number of failing orders."""
    made = []
    for handler in handlers().values():
        folder = Path(packages.__path__[0], handler.name, "fixtures")
        scenario = json.loads((folder / "_scenario.json").read_text(encoding="utf-8"))
        assert handler.simulator is not None
        for failing in FAILING:
            simulator = handler.simulator(**(scenario.get("simulator") or {}))
            made.append(SimulatedProvider(handler, failing, simulator, scenario))
    return made


async def measure(folder: Path) -> dict[str, dict[int, list[float]]]:
    """Provider → failing orders → after how many seconds each healthy cancel arrived there, the earliest first."""
    places = simulated_providers()
    async with (
        await start_sandbox(port=0, simulators={each.name: each.simulator for each in places}) as sandbox,
        aiohttp.ClientSession() as session,
    ):
        loopback = (ip_network("127.0.0.0/8"),)
        settings = Settings(database_url=f"sqlite:///{folder}/failing.db", allow_networks=loopback)
        node = await Node.start(settings)
        try:
            await node.apply({"accounts": [each.account(sandbox.url) for each in places]}, by="bench")
            for each in places:
                bad = each.create(each.failing)
                for order in bad:
                    fault = {"fault": "status", "order": order, "status": 500, "times": 1_000_000}
                    await session.post(f"{sandbox.url}/_sandbox/{each.name}/faults", json=fault)
                await request_cancel(node, each, bad)
            await asyncio.sleep(SETTLED_S)
            found: dict[str, dict[int, list[float]]] = {}
            results = await asyncio.gather(*(arrivals(node, session, sandbox.url, each) for each in places))
            for each, arrived in zip(places, results, strict=True):
                found.setdefault(each.handler.name, {})[each.failing] = arrived
            return found
        finally:
            await node.stop()


async def request_cancel(node: Node, provider: SimulatedProvider, orders: Sequence[str]) -> None:
    """Ask for orders to be canceled."""
    now, given = datetime.now(UTC), provider.scenario
    commands = []
    for order in orders:
        id = ids.show(ids.CANCELLATION, node.ids.next())
        words = given["reason"], now, now, given.get("note"), "bench", now + timedelta(hours=1)
        commands.append(RequestCancel(provider.name, order, now, Cancellation(id, provider.name, order, *words)))
    if commands:
        await node.ledger.execute_all(commands)


async def arrivals(node: Node, session: aiohttp.ClientSession, url: str, provider: SimulatedProvider) -> list[float]:
    """After how many seconds each of the healthy cancels arrived; those that did not in time count as never."""
    good = provider.create(HEALTHY)
    asked, first = time.time(), dict[str, float]()
    await request_cancel(node, provider, good)
    while len(first) < HEALTHY and time.time() < asked + WAIT_S:
        await asyncio.sleep(0.2)
        async with session.get(f"{url}/_sandbox/{provider.name}/calls") as answer:
            calls = (await answer.json())["data"]
        for call in calls:
            for order in (call["order"] or "").split(","):
                if order in good:
                    first.setdefault(order, call["at"] - asked)
    return sorted(first.values()) + [float("inf")] * (HEALTHY - len(first))


def table() -> Table:
    """Seconds until the last healthy cancel has arrived at its provider."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory(prefix="rescind-bench-") as folder:
        found = asyncio.run(measure(Path(folder)))
    shown = Table(
        "provider",
        "alone",
        *(f"beside {failing}" for failing in FAILING[1:]),
        "bound",
        title=f"Seconds until the last of {HEALTHY} cancels has left, beside orders that always get a 500",
    )
    for provider, by_failing in found.items():
        alone = by_failing[0][-1]
        beside = [f"{by_failing[failing][-1]:.1f}" for failing in FAILING[1:]]
        shown.add_row(provider, f"{alone:.1f}", *beside, f"{1.2 * alone + 5:.1f}")
    return shown


if __name__ == "__main__":
    from rich.console import Console

    Console().print(table())
