"""One run: start a cluster, load it, do things to it, let it drain, and judge."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from chaos.cluster import LIMITS, Cluster
from chaos.faults import Chaos, Fault, gaps
from chaos.load import Load
from chaos.verdict import Verdict, drain, judge
from postgres import PostgresServer

ORDERS_PER_S = 8.0
ALONE_S = 25.0
SETTLED_S = 0.05
"""So much later no call of a node that was killed arrives any more."""
Script = Callable[[Chaos], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Setup:
    """What a run is made on."""

    nodes: int = 3
    accounts: int = 5
    orders_per_s: float = ORDERS_PER_S
    sqlite: bool = False
    postgres: PostgresServer | None = None
    """One of its own where there is none."""
    url: str = ""
    """What the nodes are given, if not the server's own."""
    preludes: tuple[str, ...] = ()
    """Python that each node runs first."""
    limits: Mapping[str, Any] = field(default_factory=lambda: LIMITS)
    previous: Path | None = None
    """The checkout of the release that the nodes run at first."""


DEFAULT = Setup()


async def run(folder: Path, seed: int, script: Script, setup: Setup = DEFAULT) -> Verdict:
    """What the guarantees came to while `script` did things to the cluster."""
    chance = random.Random(seed)  # noqa: S311 - so that it can be run again
    postgres = None if setup.sqlite else setup.postgres or PostgresServer()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        cluster = Cluster(folder, session, postgres, setup.url, setup.previous)
        try:
            await cluster.start(1 if setup.sqlite else setup.nodes, setup.accounts, setup.preludes, setup.limits)
            load = Load(cluster, random.Random(chance.random()), setup.orders_per_s)  # noqa: S311
            chaos = Chaos(cluster, load, random.Random(chance.random()))  # noqa: S311
            load.run()
            try:
                await script(chaos)
                await chaos.heal()
            finally:
                await load.finish()
            await drain(cluster)
            for node in cluster.nodes:
                assert await node.stop() == 0, f"{node.name} ended badly, see {node.log}"
            verdict = await judge(cluster, load.told)
            verdict.faults += chaos.faults
            faults = chaos.happened.faults
            verdict.figures |= chaos.figures
            verdict.figures["faults"] = chaos.happened.counts
            verdict.figures["gap of ingest, s"] = gaps(load.told.pings, faults)
            verdict.figures["first cancel after a kill, s"] = await _takeovers(cluster, faults)
            return verdict
        finally:
            await cluster.close()


async def _takeovers(cluster: Cluster, faults: list[Fault]) -> list[float]:
    """For each kill that nothing else came upon, when the last of the node's accounts saw a call again."""
    shift, taken = time.time() - time.monotonic(), []
    for fault in faults:
        others = [other for other in faults if other is not fault and other.at < fault.at + ALONE_S]
        alone = all(other.until < fault.at for other in others)
        if not fault.kind.startswith("kill") or not alone or not fault.owned:
            continue
        waits = []
        for account in fault.owned:
            at = [call["at"] for call in await cluster.calls(account) if call["at"] > fault.at + shift + SETTLED_S]
            waits.append(min(at, default=float("inf")) - fault.at - shift)
        taken.append(round(max(waits), 1))
    return taken


def at_random(seconds: float) -> Script:
    """Faults by chance for so long."""

    async def script(chaos: Chaos) -> None:
        await chaos.run(seconds)

    return script
