"""Three nodes on one PostgreSQL, killed and stopped under load, and the database, too: the guarantees hold.

`make chaos` does the same for ten minutes, by chance.
"""

from __future__ import annotations

import os
import secrets
import signal
from asyncio import sleep
from pathlib import Path

from chaos.faults import Chaos
from chaos.run import run

SEED = int(os.environ.get("CHAOS_SEED", "0")) or secrets.randbits(32)


async def script(chaos: Chaos) -> None:
    """A node is killed and one stopped right after claims, one while it holds locks; the database dies twice."""
    first, second, third = chaos.cluster.nodes
    chaos.begin(first, chaos.kill(first, "claim", 1.0))
    await sleep(2)  # under load
    stopped = chaos.begin(second, chaos.stop(second, "claim", 16.0))
    await sleep(2)
    await chaos.restart_database(signal.SIGQUIT)
    await chaos.stop(third, "locks", 1.0)
    await chaos.restart_database(signal.SIGINT)
    await stopped


async def test_three_nodes_under_load(tmp_path: Path) -> None:
    print(f"CHAOS_SEED={SEED}")  # noqa: T201 - to run it again
    verdict = await run(tmp_path, SEED, script)
    verdict.raise_faults()
    # How many calls were out when a node ended is luck: `make chaos` runs long enough to show it.
    assert verdict.figures["webhooks"] > 0, verdict.figures
    assert len(verdict.figures["faults"]) == 5, verdict.figures
