"""`GET …/verdict` beside a bare handler, in turn; and how many submissions a commit serves under load."""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

import aiohttp
import uvloop
from rich.table import Table

from tests.bench import load
from tests.bench.ingest import RESOURCES, TOKEN, webhooks
from tests.bench.processes import SERVE, free_port, running

ORDERS = 3000
READS = 15_000
ROUNDS = 3
KEY = "bench-api-key-0123456789-0123456789"


async def rate(port: int, requests: list[bytes]) -> float:
    """Requests answered 200 in a second; raises if any was answered otherwise."""
    good, seconds = await load.run(port, requests)
    if good != len(requests):
        raise RuntimeError(f"{len(requests) - good} of {len(requests)} requests were not answered 200")
    return good / seconds


async def measure(bare: int, ours: int) -> list[tuple[str, str, str]]:
    """All figures: (what, goal, measured)."""
    await rate(ours, webhooks("five", ORDERS, 1))
    submissions = await batches(ours)
    gets = [load.get(f"/v1/accounts/bench/orders/{500_001 + number % ORDERS}/verdict", KEY) for number in range(READS)]
    ratios = []
    for _ in range(ROUNDS):
        theirs, mine = await rate(bare, gets), await rate(ours, gets)
        ratios.append(mine / theirs)
    return [
        ("GET …/verdict ÷ bare handler", "≥ 0.6", f"{statistics.median(ratios):.2f}"),
        (f"submissions a commit, at {load.CONNECTIONS} connections", "", submissions),
    ]


async def batches(port: int) -> str:
    """The mean number of submissions in a commit, as the server counts it."""
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session,
        session.get(f"http://127.0.0.1:{port}/metrics") as answer,
    ):
        lines = dict(line.rsplit(" ", 1) for line in (await answer.text()).splitlines() if not line.startswith("#"))
    return f"{float(lines['rescind_commit_requests_sum']) / float(lines['rescind_commit_requests_count']):.1f}"


def table() -> Table:
    """Start both servers and measure."""
    with tempfile.TemporaryDirectory(prefix="rescind-bench-") as folder:
        resources = Path(folder, "bench.yaml")
        resources.write_text(RESOURCES % TOKEN)
        bare, ours = free_port(), free_port()
        environment = {
            "RESCIND_DATABASE_URL": f"sqlite:///{folder}/bench.db",
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
            figures = uvloop.run(measure(bare, ours))
    shown = Table("what", "goal", "measured", title="Reads and commits")
    for row in figures:
        shown.add_row(*row)
    return shown
