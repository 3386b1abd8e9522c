"""A node that is stopped while it holds the lock of an order does not hold up the others' ingest: its lock is ended."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from asyncio import sleep
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path

from chaos.cluster import REQUEST_S, ChaosServer
from chaos.faults import Chaos, client_ports
from chaos.load import OFFERED
from chaos.run import Setup, run
from providers import WAIT_S, until
from servers import webhook

SEED = int(os.environ.get("CHAOS_SEED", "0")) or secrets.randbits(32)
ORDER = "a0-hot"
ROUNDS_MAX = 30


class Tellers:
    """Deliver webhooks of one order to every node, one after the other to each."""

    def __init__(self, chaos: Chaos) -> None:
        self.acknowledged: dict[str, list[float]] = defaultdict(list)
        """Node → when deliveries began that it acknowledged."""
        self._tasks = [asyncio.create_task(self._tell(node)) for node in chaos.cluster.nodes]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _tell(self, node: ChaosServer) -> None:
        number = 0
        while True:
            number += 1
            body = webhook(
                "appointment.awaiting_availability", ORDER, time.time(), metadata={"from": node.name, "n": number}
            )
            began = time.monotonic()
            with suppress(*OFFERED):
                async with asyncio.timeout(REQUEST_S):
                    if (await node.hook(body, "a0-in")).status == HTTPStatus.OK:
                        self.acknowledged[node.name].append(began)
            await sleep(0.01)

    def went_on(self, nodes: Iterable[ChaosServer], since: float) -> bool:
        """Whether each of these nodes has acknowledged a webhook that was sent since then."""
        return all(max(self.acknowledged[node.name], default=0.0) > since for node in nodes)


async def script(chaos: Chaos) -> None:
    """All nodes are told of the same order; one is stopped while others wait for its lock, until they go on."""
    stopped, *others = chaos.cluster.nodes
    tellers, in_the_way_at = Tellers(chaos), 0.0
    try:
        for _ in range(ROUNDS_MAX):
            await sleep(1)  # under load
            async with chaos.stopped(stopped, "locks", watch_s=WAIT_S) as fault:
                assert fault.caught, "it held no lock when it was stopped, so this shows nothing"

                async def go_on(since: float = fault.at) -> bool:
                    nonlocal in_the_way_at
                    if not in_the_way_at and await blocks(chaos, stopped):
                        in_the_way_at = time.monotonic()
                    return tellers.went_on(others, in_the_way_at or since)

                await until(go_on, "the other nodes to acknowledge webhooks of the order while one holds its lock")
            if in_the_way_at:
                break
        assert in_the_way_at, "no other transaction ever waited for the stopped node's"
    finally:
        await tellers.stop()


async def blocks(chaos: Chaos, node: ChaosServer) -> bool:
    """Whether a transaction waits for one of the node's."""
    assert chaos.cluster.watcher is not None
    sql = """SELECT 1 FROM pg_stat_activity AS waiting, unnest(pg_blocking_pids(waiting.pid)) AS blocking
             JOIN pg_stat_activity AS holder ON holder.pid = blocking WHERE holder.client_port = ANY($1::int[])"""
    return bool(await chaos.cluster.watcher.fetch(sql, client_ports(node.pid)))


async def test_ingest_goes_on(tmp_path: Path) -> None:
    print(f"CHAOS_SEED={SEED}")  # noqa: T201 - to run it again
    verdict = await run(tmp_path, SEED, script, Setup(accounts=2))
    verdict.raise_faults()
