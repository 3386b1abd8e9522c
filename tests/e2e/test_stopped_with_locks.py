"""A node that is stopped while it holds the lock of an order holds up the others' ingest for three seconds at most."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from asyncio import sleep
from contextlib import suppress
from pathlib import Path

from chaos.cluster import ChaosServer
from chaos.faults import Chaos
from chaos.load import OFFERED
from chaos.run import Setup, run
from servers import webhook

SEED = int(os.environ.get("CHAOS_SEED", "0")) or secrets.randbits(32)
GAP_S = 3.0
ORDER = "a0-hot"


async def tell(node: ChaosServer) -> None:
    """Deliver webhooks of one order to a node, one after the other."""
    number = 0
    while True:
        number += 1
        body = webhook(
            "appointment.awaiting_availability", ORDER, time.time(), metadata={"from": node.name, "n": number}
        )
        with suppress(*OFFERED):
            await node.hook(body, "a0-in")
        await sleep(0.01)


async def script(chaos: Chaos) -> None:
    """All nodes are told of the same order; one is stopped in the middle of a transaction."""
    tellers = [asyncio.create_task(tell(node)) for node in chaos.cluster.nodes]
    try:
        await sleep(2)  # under load
        await chaos.stop(chaos.cluster.nodes[0], "locks", 5.0)
    finally:
        for teller in tellers:
            teller.cancel()
        await asyncio.gather(*tellers, return_exceptions=True)
    assert chaos.happened.faults[-1].caught, "it held no lock when it was stopped, so this shows nothing"


async def test_ingest_goes_on(tmp_path: Path) -> None:
    print(f"CHAOS_SEED={SEED}")  # noqa: T201 - to run it again
    verdict = await run(tmp_path, SEED, script, Setup(accounts=2))
    verdict.raise_faults()
    gaps = verdict.figures["gap of ingest, s"]
    assert max(gaps["node-1"], gaps["node-2"]) <= GAP_S, gaps
