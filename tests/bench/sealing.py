"""What sealing the log costs: the CPU time of two servers, one that seals and one that does not, for the same webhooks.

CPU time, as a server that is loaded has none to spare; and it is measured when everything is sealed.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
from pathlib import Path

import uvloop
from rich.table import Table

from tests.bench import load
from tests.bench.payload import bodies
from tests.bench.processes import SERVE, free_port, running

ROUNDS = 9
ORDERS = 400
SEALED_S = 3.0
"""After so long all is sealed."""
TOKEN = "bench-hook-secret-0123456789"
RESOURCES = """
accounts:
  - {id: bench, provider: planomatic, config: {api_key: bench-provider-key}}
endpoints:
  - {id: bench-in, account: bench, verify: {scheme: token, secrets: [%s]}}
"""
UNSEALED = "from app.workers import log_sealer; log_sealer.SEAL_S = 1e9; "


def table() -> Table:
    """The figure, as a ratio within each round."""
    grid = Table("what", "goal", "measured", title="Sealing the log")
    with tempfile.TemporaryDirectory(prefix="rescind-bench-") as folder:
        resources = Path(folder, "bench.yaml")
        resources.write_text(RESOURCES % TOKEN)
        ports = free_port(), free_port()
        environments = [
            {
                "RESCIND_DATABASE_URL": f"sqlite:///{folder}/{name}/bench.db",
                "RESCIND_PORT": str(port),
                "RESCIND_ENDPOINT_RATE_PER_S": "1000000",
            }
            for name, port in zip(("sealed", "unsealed"), ports, strict=True)
        ]
        with (
            running([sys.executable, "-c", SERVE, str(resources)], ports[0], environments[0]) as sealed,
            running([sys.executable, "-c", UNSEALED + SERVE, str(resources)], ports[1], environments[1]) as unsealed,
        ):
            ratios = uvloop.run(_measure((ports[0], sealed), (ports[1], unsealed)))
    spread = f"{statistics.median(ratios):.3f}  ({min(ratios):.3f} to {max(ratios):.3f})"
    grid.add_row("webhooks per CPU second, sealed ÷ not", "≥ 0.98", spread)
    return grid


async def _measure(*servers: tuple[int, int]) -> list[float]:
    ratios, first = [], 1
    for number in range(ROUNDS + 1):
        requests = [load.post("/webhooks/bench-in", body, TOKEN) for body in bodies(ORDERS, first)]
        first += ORDERS
        spent = []
        for port, process in servers:
            before = _cpu_s(process)
            await load.run(port, requests)
            await asyncio.sleep(SEALED_S)
            spent.append(_cpu_s(process) - before)
        if number:  # the first round warms up
            ratios.append(spent[1] / spent[0])
    return ratios


def _cpu_s(process: int) -> float:
    """CPU time that a process has used, in seconds."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
