"""The limits of accounts whose lanes go from node to node, by clocks that differ: no window of any is over it."""

from __future__ import annotations

import os
import secrets
from asyncio import sleep
from datetime import timedelta
from pathlib import Path

from chaos.cluster import LIMIT, ChaosServer
from chaos.faults import Chaos
from chaos.run import Setup, run
from moved_clock import prelude
from providers import until

SEED = int(os.environ.get("CHAOS_SEED", "0")) or secrets.randbits(32)
HANDOVERS, EACH_S = 3, 2.0
OFF_S = (-2, 0, 2)
ORDERS_PER_S = 13.0
"""More cancels than two accounts may send."""


async def script(chaos: Chaos) -> None:
    """Whoever owns most gives it up, again and again; at the end one is killed, and what it owned is taken."""
    for _ in range(HANDOVERS):
        await sleep(EACH_S)  # under load
        await chaos.restart(await owner(chaos))
    await chaos.kill(await owner(chaos), "claim", 0.0)


async def owner(chaos: Chaos) -> ChaosServer:
    """The node that owns most; what another one gave up has no owner for a moment."""

    async def look() -> ChaosServer | None:
        owned = [(len(await chaos.owned(node)), node) for node in chaos.cluster.nodes]
        number, node = max(owned, key=lambda pair: pair[0])
        return node if number else None

    found = await until(look, "an owner of an account")
    assert found is not None
    return found


async def test_handovers_by_clocks_that_differ(tmp_path: Path) -> None:
    print(f"CHAOS_SEED={SEED}")  # noqa: T201 - to run it again
    preludes = tuple(prelude(timedelta(seconds=seconds)) for seconds in OFF_S)
    verdict = await run(tmp_path, SEED, script, Setup(accounts=2, orders_per_s=ORDERS_PER_S, preludes=preludes))
    verdict.raise_faults()
    # Or else the limit was not tried.
    assert verdict.figures["fullest window"] == LIMIT, verdict.figures
