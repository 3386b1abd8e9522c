"""Run the bench: `make bench`. Every figure is a ratio between two things measured in turn in this run."""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
from pathlib import Path

import aiohttp
import uvloop
from rich.console import Console
from rich.table import Table

from tests.bench import (
    backtest,
    bursts,
    coalescing,
    deliveries,
    failing,
    load,
    pauses,
    providers,
    sealing,
    stages,
    subscribed,
    tails,
)
from tests.bench.payload import bodies
from tests.bench.processes import SERVE, free_port, running

ROUNDS = 5
ORDERS = 3000
READS = 15_000
TOKEN = "bench-hook-secret-0123456789"
KEY = "bench-api-key-0123456789-0123456789"
RESOURCES = """
accounts:
  - {id: bench, provider: planomatic, config: {api_key: bench-provider-key}}
endpoints:
  - {id: bench-in, account: bench, verify: {scheme: token, secrets: [%s]}}
"""


async def rate(port: int, requests: list[bytes]) -> float:
    """Requests answered 200 in a second; raises if any was answered otherwise."""
    good, seconds = await load.run(port, requests)
    if good != len(requests):
        raise RuntimeError(f"{len(requests) - good} of {len(requests)} requests were not answered 200")
    return good / seconds


async def measure(bare: int, ours: int, database: Path) -> list[tuple[str, str, str]]:
    """All figures: (what, goal, measured)."""
    ingest, reads, first = [], [], 1
    warm = [load.post("/webhooks/bench-in", body, TOKEN) for body in bodies(400)]
    first += 400
    await rate(bare, warm)
    await rate(ours, warm)
    rates: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        requests = [load.post("/webhooks/bench-in", body, TOKEN) for body in bodies(ORDERS, first)]
        first += ORDERS
        theirs, mine = await rate(bare, requests), await rate(ours, requests)
        rates.append((theirs, mine))
        ingest.append(mine / theirs)
    gets = [load.get(f"/v1/accounts/bench/orders/{500_001 + number % first}/verdict", KEY) for number in range(READS)]
    for _ in range(3):
        theirs, mine = await rate(bare, gets), await rate(ours, gets)
        reads.append(mine / theirs)
    events = (first - 1) * 5
    size = await asyncio.to_thread(on_disk, database)
    raw = sum(len(load.post("/webhooks/bench-in", body, TOKEN)) for body in bodies(20)) / 100
    shown = ", ".join(f"{mine:,.0f}/{theirs:,.0f}" for theirs, mine in rates)
    return [
        ("webhooks/s, SQLite, 64 connections ÷ bare handler", "≥ 0.5", f"{statistics.median(ingest):.2f}  ({shown})"),
        ("GET …/verdict ÷ bare handler", "≥ 0.6", f"{statistics.median(reads):.2f}"),
        ("bytes on disk an event", f"≤ {1.2 * raw:,.0f}", f"{size / events:,.0f}  (raw {raw:,.0f})"),
        ("submissions a commit", "", await batches(ours)),
    ]


def on_disk(database: Path) -> int:
    """Bytes of the database, without the write-ahead log, which is of bounded size."""
    return database.stat().st_size


async def batches(port: int) -> str:
    """The mean number of submissions in a commit, as the server counts it."""
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session,
        session.get(f"http://127.0.0.1:{port}/metrics") as answer,
    ):
        lines = dict(line.rsplit(" ", 1) for line in (await answer.text()).splitlines() if not line.startswith("#"))
    return f"{float(lines['rescind_commit_requests_sum']) / float(lines['rescind_commit_requests_count']):.1f}"


def main() -> None:
    """Start both servers, measure, print."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="rescind-bench-") as folder:
        resources, database = Path(folder, "bench.yaml"), Path(folder, "db", "bench.db")
        resources.write_text(RESOURCES % TOKEN)
        bare, ours = free_port(), free_port()
        environment = {
            "RESCIND_DATABASE_URL": f"sqlite:///{database}",
            "RESCIND_PORT": str(ours),
            "RESCIND_BOOTSTRAP_KEY": KEY,
            # The limits count, and let all pass.
            "RESCIND_KEY_RATE_PER_S": "1000000",
            "RESCIND_ENDPOINT_RATE_PER_S": "1000000",
        }
        with (
            running([sys.executable, "-m", "tests.bench.bare", str(bare)], bare, {}),
            running([sys.executable, "-c", SERVE, str(resources)], ours, environment),
        ):
            figures = uvloop.run(measure(bare, ours, database))
    table = Table("what", "goal", "measured", title="Ratios within this run")
    for row in figures:
        table.add_row(*row)
    console.print(table)
    console.print(stages.table())
    console.print(providers.table())
    console.print(coalescing.table())
    console.print(bursts.table())
    console.print(failing.table())
    console.print(backtest.table())
    console.print(pauses.table())
    console.print(subscribed.table())
    console.print(tails.table())
    console.print(sealing.table())
    console.print(deliveries.table())


if __name__ == "__main__":
    main()
