"""An upgrade under load: expand, replace node after node, contract; one node goes back to the earlier release between.

The new release is this checkout with two steps of its own, as releases have them: one adds columns to the tables that
are written most, and one drops them when no node of the earlier release is left.
"""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus

from chaos.cluster import ChaosServer
from chaos.faults import Chaos
from chaos.run import Script
from providers import until
from servers import ROOT

from app.store.migrations import migrations

EXPAND, CONTRACT = 9001, 9002
"""Numbers of the two steps, after all others."""
TABLES = ("orders", "events", "receipts", "jobs")
ADD = "; ".join(f"ALTER TABLE @{table} ADD COLUMN upgraded bigint" for table in TABLES)
DROP = "; ".join(f"ALTER TABLE @{table} DROP COLUMN upgraded" for table in TABLES)
NEW = f"""
from app.store import migrations as files
from app.store.postgres import migrate as steps
from app.workers import ownership
known = files.migrations
expand = files.Migration({EXPAND}, "expand", {ADD!r})
contract = files.Migration(
    {CONTRACT}, "contract", "-- phase: contract\\n-- works with: {EXPAND}\\n" + {DROP!r})
steps.migrations = lambda dialect: [*known(dialect), expand, contract]
steps.__version__ = ownership.__version__ = ownership.__version__ + "+new"
"""
"""What makes a process of this checkout one of the new release."""
BUSY = " 503 busy"
AFTER = "after"
STAGES = 7
"""Before, expanded, three times all nodes but one, contracted, after: each as long."""


def upgrade(seconds: float) -> Script:
    """The upgrade takes so long, and the time that nodes need to start and stop."""

    async def script(chaos: Chaos) -> None:
        cluster, told, pause_s = chaos.cluster, chaos.told, seconds / STAGES
        assert cluster.previous is not None
        told.stage = "before"
        await asyncio.sleep(pause_s)
        told.stage = "expand"
        said = await _migrate(chaos)
        _check(chaos, f"{CONTRACT} contract" in said, f"the step that contracts does not wait: {said}")
        await asyncio.sleep(pause_s)
        nodes = cluster.nodes
        turns = [*((node, NEW) for node in nodes[:-1]), (nodes[0], ""), (nodes[0], NEW), (nodes[-1], NEW)]
        for number, (node, prelude) in enumerate(turns):
            told.stage = "roll" if prelude else "roll back"
            await _replace(chaos, node, prelude, drains=number % 2 == 0)
            await asyncio.sleep(3 * pause_s / len(turns))
        told.stage = "contract"
        said = await _migrate(chaos)
        _check(chaos, "no node of another release" not in said, f"the step that contracts still waits: {said}")
        await asyncio.sleep(pause_s)
        told.stage = AFTER
        await asyncio.sleep(pause_s)
        refused = await _starts_no_more(chaos)
        _check(chaos, refused, "the earlier release starts on the contracted schema")
        _judge_statuses(chaos)
        assert cluster.watcher is not None
        # What looks at the database now is this checkout without those steps.
        newest = migrations("postgres")[-1].version
        await cluster.watcher.fetch("UPDATE @schema_version SET version = $1, works_with = $1", newest)

    return script


async def _migrate(chaos: Chaos) -> str:
    """Migrate by the new release; returns what it said."""
    began = time.monotonic()
    code, said = await chaos.cluster.command("migrate", prelude=NEW)
    _check(chaos, code == 0, f"rescind migrate: {said}")
    chaos.figures.setdefault("rescind migrate, s", []).append(round(time.monotonic() - began, 1))
    return said


async def _replace(chaos: Chaos, node: ChaosServer, prelude: str, *, drains: bool) -> None:
    """Stop a node, after `rescind drain` or at once, and start the new release; the earlier one without `prelude`."""
    fault = await chaos.note(f"replace{' after drain' if drains else ''}{'' if prelude else ' by the earlier'}", node)
    if drains:

        async def drained() -> bool:
            return not (await node.get("/v1/node"))["accounts"]

        assert (await node.ask("POST", "/v1/node/drain")).status == HTTPStatus.OK
        await until(drained, f"{node.name} to give up its accounts")
    code = await node.stop()
    _check(chaos, code == 0, f"{node.name} ended with {code}, see {node.log}")
    assert chaos.cluster.previous is not None
    node.prelude, node.root = prelude, ROOT if prelude else chaos.cluster.previous
    await node.start()
    fault.until = time.monotonic()


async def _starts_no_more(chaos: Chaos) -> bool:
    """Whether a node of the earlier release refuses to start."""
    cluster = chaos.cluster
    late = ChaosServer("late", cluster.folder / "late", cluster.session, cluster.environment)
    assert cluster.previous is not None
    late.root = cluster.previous
    code = await late.fails_to_start()
    return code != 0 and "install a later release" in late.log.read_text()


def _judge_statuses(chaos: Chaos) -> None:
    """No 5xx but `busy`, and none of those after the upgrade."""
    statuses = chaos.told.statuses
    chaos.figures["responses"] = {stage: dict(sorted(counts.items())) for stage, counts in statuses.items()}
    for stage, counts in statuses.items():
        for what, number in counts.items():
            is_busy = what.endswith(BUSY) and stage != AFTER
            fails = int(what.split()[1]) >= HTTPStatus.INTERNAL_SERVER_ERROR
            _check(chaos, is_busy or not fails, f"{number} times {what} at stage {stage!r}")


def _check(chaos: Chaos, holds: bool, fault: str) -> None:
    if not holds:
        chaos.faults.append(fault)
