"""Faults from a seed: nodes killed and stopped, at random or at the worst moment; the database restarted and killed."""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from chaos.cluster import ChaosServer, Cluster
from chaos.load import Load

STOPS_S = (1.0, 14.0, 16.0, 60.0)
"""Shorter than a lease, about as long, and much longer."""
LOOK_S = 0.002
WATCH_S = 5.0
"""So long a moment is waited for; if it does not come, the fault comes anyhow."""
REST_S = (2.0, 8.0)
"""Between two faults."""


@dataclass
class Fault:
    """One that happened."""

    at: float
    kind: str
    node: str
    until: float = 0.0
    owned: tuple[str, ...] = ()
    """The accounts that the node owned."""
    caught: bool = False
    """Whether the moment for it came."""


@dataclass
class Happened:
    """All that happened, in turn."""

    faults: list[Fault] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        return dict(Counter(fault.kind for fault in self.faults))


class Chaos:
    """Does things to a cluster until it is told to stop. There is always one node that nothing is done to."""

    def __init__(self, cluster: Cluster, load: Load, chance: random.Random) -> None:
        self.cluster, self._load, self._chance = cluster, load, chance
        self.happened, self.told = Happened(), load.told
        self.figures: dict[str, Any] = {}
        """What a script measured."""
        self.faults: list[str] = []
        """What a script found wrong."""
        self._under_way: dict[str, asyncio.Task[None]] = {}

    async def run(self, seconds: float) -> None:
        """Choose fault after fault for so long, then let all end."""
        began = time.monotonic()
        while time.monotonic() < began + seconds:
            await asyncio.sleep(self._chance.uniform(*REST_S))
            self._load.check()
            await self._choose(began + seconds - time.monotonic())
        await self.heal()

    async def heal(self) -> None:
        """Wait until every node runs again."""
        await asyncio.gather(*self._under_way.values())

    async def _choose(self, left_s: float) -> None:
        if self.cluster.postgres is not None and self._chance.random() < 0.2:
            await self.restart_database(self._chance.choice([signal.SIGINT, signal.SIGQUIT]))
            return
        free = [node for node in self.cluster.nodes if not self._is_busy(node)]
        if len(free) < min(2, len(self.cluster.nodes)):
            return
        node = self._chance.choice(free)
        moment = self._chance.choice(["", "claim", "locks"])
        if self._chance.random() < 0.4:
            self.begin(node, self.kill(node, moment, self._chance.choice([0.0, 2.0, 20.0])))
        else:
            stops = [seconds for seconds in STOPS_S if seconds <= max(left_s, STOPS_S[0])]
            self.begin(node, self.stop(node, moment, self._chance.choice(stops)))

    def _is_busy(self, node: ChaosServer) -> bool:
        return node.name in self._under_way and not self._under_way[node.name].done()

    def begin(self, node: ChaosServer, fault: object) -> asyncio.Task[None]:
        """Let a fault of a node take its course."""
        self._under_way[node.name] = asyncio.ensure_future(fault)  # type: ignore[arg-type]
        return self._under_way[node.name]

    async def kill(self, node: ChaosServer, moment: str, down_s: float) -> None:
        """Kill -9, and start again so much later."""
        caught = await self._await_moment(node, moment)
        fault = await self.note(f"kill {moment}".strip(), node)
        fault.caught = caught
        await node.kill()
        await asyncio.sleep(down_s)
        await self.cluster.start_node(node)
        fault.until = time.monotonic()

    async def restart(self, node: ChaosServer) -> None:
        """SIGTERM, and start again."""
        fault = await self.note("restart", node)
        await node.stop()
        await self.cluster.start_node(node)
        fault.until = time.monotonic()

    async def stop(self, node: ChaosServer, moment: str, seconds: float) -> None:
        """SIGSTOP for so long."""
        async with self.stopped(node, moment, f"stop {seconds:g} s"):
            await asyncio.sleep(seconds)

    @asynccontextmanager
    async def stopped(
        self, node: ChaosServer, moment: str, kind: str = "stop", watch_s: float = WATCH_S
    ) -> AsyncIterator[Fault]:
        """SIGSTOP as long as the block lasts; the moment for it is waited for `watch_s` at most."""
        caught = await self._await_moment(node, moment, hold=True, watch_s=watch_s)
        node.signal(signal.SIGSTOP)
        try:
            fault = await self.note(f"{kind} {moment}".strip(), node)
            fault.caught = caught
            yield fault
        finally:
            node.signal(signal.SIGCONT)
        fault.until = time.monotonic()

    async def restart_database(self, how: signal.Signals) -> None:
        """Stop it in order (SIGINT) or crash it (SIGQUIT), and start it again."""
        postgres = self.cluster.postgres
        assert postgres is not None
        fault = Fault(time.monotonic(), f"database {how.name}", "")
        self.happened.faults.append(fault)
        await asyncio.to_thread(postgres.stop, how)
        await asyncio.sleep(self._chance.choice([0.0, 1.0, 3.0]))
        await asyncio.to_thread(postgres.start)
        fault.until = time.monotonic()

    async def note(self, kind: str, node: ChaosServer) -> Fault:
        """A fault of a node begins."""
        fault = Fault(time.monotonic(), kind, node.name)
        self.happened.faults.append(fault)
        fault.owned = tuple(await self.owned(node))
        return fault

    async def owned(self, node: ChaosServer) -> list[str]:
        """The accounts whose lanes a node owns."""
        if self.cluster.watcher is None:
            return list(self.cluster.simulators)
        sql = "SELECT subject FROM @ownership WHERE epoch = $1 AND subject LIKE 'account:%'"
        rows = await self.cluster.watcher.fetch(sql, node.epoch)
        return [row["subject"].removeprefix("account:") for row in rows]

    async def _await_moment(
        self, node: ChaosServer, moment: str, *, hold: bool = False, watch_s: float = WATCH_S
    ) -> bool:
        """Wait until the node has just claimed a call, or until it is in a transaction that holds locks.

        Returns whether it came to that.
        """
        look = {"claim": self._claims, "locks": self._locks}.get(moment)
        if look is None:
            return True
        until, before = time.monotonic() + watch_s, await look(node)
        while time.monotonic() < until and node.running:
            now = await look(node)
            if now - before:
                if not hold or moment == "claim":
                    return True
                node.signal(signal.SIGSTOP)
                if await look(node) & now:
                    return True
                node.signal(signal.SIGCONT)
            before = now
            await asyncio.sleep(LOOK_S)
        return False

    async def _claims(self, node: ChaosServer) -> set[str]:
        """The calls that the node has claimed."""
        if self.cluster.watcher is None:
            with closing(sqlite3.connect(f"file:{self.cluster.folder}/rescind.db?mode=ro", uri=True)) as db:
                return {str(pk) for (pk,) in db.execute("SELECT order_pk FROM jobs WHERE sending")}
        sql = """SELECT order_pk FROM @jobs JOIN @ownership ON subject = 'account:' || account
                 WHERE sending <> 0 AND epoch = $1"""
        return {str(row["order_pk"]) for row in await self.cluster.watcher.fetch(sql, node.epoch)}

    async def _locks(self, node: ChaosServer) -> set[str]:
        """The transactions of the node that have written."""
        if self.cluster.watcher is None:
            return set()
        ports = client_ports(node.pid)
        sql = """SELECT client_port, backend_xid FROM pg_stat_activity
                 WHERE backend_xid IS NOT NULL AND client_port = ANY($1::int[])"""
        return {str(tuple(row.values())) for row in await self.cluster.watcher.fetch(sql, ports)}


def client_ports(pid: int) -> list[int]:
    """The local ports of a process's TCP connections."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            inodes.add(str(link.readlink()).removeprefix("socket:[").removesuffix("]"))
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return [int(row[1].partition(":")[2], 16) for row in rows if row[9] in inodes]


def gaps(pings: dict[str, list[float]], faults: list[Fault]) -> dict[str, float]:
    """Node → the longest time without an acknowledgment, while something was done to another node alone."""
    longest: dict[str, float] = defaultdict(float)
    for name, times in pings.items():
        # Not its own faults and what follows on them, nor the database's.
        own = [(fault.at - 1, fault.until + 5) for fault in faults if fault.node in ("", name)]
        for one, other in pairwise(times):
            if not any(began <= other and one <= ended for began, ended in own):
                longest[name] = max(longest[name], other - one)
    return {name: round(seconds, 2) for name, seconds in longest.items()}
