"""What subscriptions cost ingest: webhooks/s with ten of them that match, against none, in turn in one run.

Every webhook is the first of an order, so each gives an `order.verdict_changed` to all ten. Where deliveries are held,
that is the cost of writing them; where they are sent, the same process sends ten for each webhook meanwhile, to a
server that answers at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import sys
import tempfile
from pathlib import Path

import aiohttp
import uvloop
from rich.table import Table

from tests.bench import load
from tests.bench.payload import INTERLEAVED, bodies
from tests.bench.processes import SERVE, free_port, running

ROUNDS = 5
ORDERS = 2000
SUBSCRIPTIONS = 10
TOKEN = "bench-hook-secret-0123456789"
KEY = "bench-api-key-0123456789-0123456789"
RESOURCES = """
accounts:
  - {id: bench, provider: planomatic, config: {api_key: bench-provider-key}}
endpoints:
  - {id: bench-in, account: bench, verify: {scheme: token, secrets: [%s]}}
"""


def table() -> Table:
    """The rates with deliveries held and sent, and the median ratios to the rate without subscriptions."""
    shown = Table("deliveries", "goal", "none", "ten", "ratio", title="Webhooks/s with ten matching subscriptions")
    for name, goal in (("held", "≥ 0.7"), ("sent", "≥ 0.7")):
        rates = _rates(sent=name == "sent")
        none, ten = ([pair[number] for pair in rates] for number in (0, 1))
        ratio = statistics.median(mine / theirs for theirs, mine in rates)
        shown.add_row(name, goal, f"{statistics.median(none):,.0f}", f"{statistics.median(ten):,.0f}", f"{ratio:.2f}")
    return shown


def _rates(*, sent: bool) -> list[tuple[float, float]]:
    """(webhooks/s without subscriptions, with ten) of each round."""
    with tempfile.TemporaryDirectory(prefix="rescind-bench-") as folder, contextlib.ExitStack() as servers:
        sink, none, ten = free_port(), free_port(), free_port()
        servers.enter_context(running([sys.executable, "-m", "tests.bench.bare", str(sink)], sink, {}))
        url = f"http://127.0.0.1:{sink}/webhooks/s"
        for port, number in ((none, 0), (ten, SUBSCRIPTIONS)):
            subscriptions = [f"  - {{id: s-{n}, url: '{url}', enabled: {str(sent).lower()}}}" for n in range(number)]
            servers.enter_context(_server(Path(folder), port, subscriptions))
        return uvloop.run(_measure(none, ten))


def _server(folder: Path, port: int, subscriptions: list[str]) -> contextlib.AbstractContextManager[None]:
    resources = folder / f"{port}.yaml"
    resources.write_text(RESOURCES % TOKEN + "\n".join(["subscriptions:", *subscriptions] if subscriptions else []))
    environment = {
        "RESCIND_DATABASE_URL": f"sqlite:///{folder / str(port)}.db",
        "RESCIND_PORT": str(port),
        "RESCIND_BOOTSTRAP_KEY": KEY,
        "RESCIND_ALLOW_NETWORKS": "127.0.0.0/8",
        # The limits count, and let all pass.
        "RESCIND_KEY_RATE_PER_S": "1000000",
        "RESCIND_ENDPOINT_RATE_PER_S": "1000000",
    }
    return running([sys.executable, "-c", SERVE, str(resources)], port, environment)


async def _measure(none: int, ten: int) -> list[tuple[float, float]]:
    rounds = []
    for number in range(ROUNDS + 1):
        first = 1 + number * ORDERS
        requests = [
            load.post("/webhooks/bench-in", body, TOKEN)
            for block in range(first, first + ORDERS, INTERLEAVED)
            for body in bodies(INTERLEAVED, block)[:INTERLEAVED]  # of each order the first webhook alone
        ]
        rates = {}
        for port in (none, ten) if number % 2 else (ten, none):
            good, seconds = await load.run(port, requests)
            if good != len(requests):
                raise RuntimeError(f"{len(requests) - good} of {len(requests)} requests were not answered 200")
            rates[port] = good / seconds
            await _drained(port)
        rounds.append((rates[none], rates[ten]))
    return rounds[1:]  # the first warms up


async def _drained(port: int) -> None:
    """Wait until everything was sent that is to be sent: it would be sent while the other server is measured."""
    url = f"http://127.0.0.1:{port}/v1/subscriptions"
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:
        while True:
            async with session.get(url) as answer:
                subscriptions = (await answer.json())["data"]
            if not any(spec["enabled"] and spec["delivery"]["pending"] for spec in subscriptions):
                return
            await asyncio.sleep(0.5)
