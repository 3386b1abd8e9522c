"""What people who look do to those who work: `python -m tests.bench.inspectors /tmp/big/rescind.db`.

On a big database (`tests.bench.big_database`), webhooks come at a fixed rate and cancels at another, in phases: in
every other phase ten tails follow the log, and twenty searches run at once, each the next when it has its answer.
Reported are, with and without: how long a webhook waits for its answer, counted from when it was to be sent, and how
long it takes from the request of a cancel until the call arrives at the provider; and the ratios, by pairs of phases,
as what else the machine does changes from minute to minute.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import NamedTuple

import aiohttp
import uvloop
from rich.console import Console
from rich.table import Table

from tests.bench.console import serving
from tests.bench.payload import body
from tests.bench.recorded import CANCEL_BODIES, KEY, TOKEN, provider

ROUNDS, PHASE_S = 6, 15.0
WEBHOOKS_PER_S, CANCELS_PER_S = 50, 4
SENDERS = 64
TAILS, SEARCHES = 10, 20
SETTLE_S = 2.0
GOAL = 1.2
_AUTH = {"Authorization": f"Bearer {KEY}"}
_HOOK = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}


class Latencies(NamedTuple):
    """Of one phase, in milliseconds."""

    webhooks: list[float]
    cancels: list[float]


@dataclass(slots=True)
class Load:
    """Sends webhooks and cancels, and notes how long they take."""

    session: aiohttp.ClientSession
    arrived: dict[str, float] = field(default_factory=dict)
    """Order → when a cancel of it arrived at the provider."""
    numbers: count[int] = field(default_factory=lambda: count(int(time.time()) % 10**8 * 10_000))

    async def phase(self, seconds: float) -> Latencies:
        """Send for so long."""
        took = list[float]()
        orders, asked = list[int](), dict[str, float]()
        slots, start = iter(range(int(seconds * WEBHOOKS_PER_S))), time.monotonic()
        await asyncio.gather(
            *(self._send(slots, start, took, orders) for _ in range(SENDERS)),
            self._cancel(seconds, start, orders, asked),
        )
        until = time.monotonic() + 30
        while len(self.arrived.keys() & asked.keys()) < len(asked) and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        never = float("inf")
        cancels = [(self.arrived.get(order, never) - at) * 1000 for order, at in asked.items()]
        return Latencies(took, cancels)

    async def _send(self, slots: Sequence[int], start: float, took: list[float], orders: list[int]) -> None:
        for slot in slots:
            due = start + slot / WEBHOOKS_PER_S
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            number = next(self.numbers)
            content = body(number, "order.processed", "new_request", order_id=number)
            async with self.session.post("/webhooks/live-in", data=content, headers=_HOOK) as response:
                await response.read()
                if response.status != 200:
                    raise RuntimeError(f"a webhook got {response.status}")
            took.append((time.monotonic() - due) * 1000)
            orders.append(number)

    async def _cancel(self, seconds: float, start: float, orders: list[int], asked: dict[str, float]) -> None:
        for slot in range(1, int(seconds * CANCELS_PER_S)):
            await asyncio.sleep(max(0.0, start + slot / CANCELS_PER_S - time.monotonic()))
            if not orders:
                continue
            order = str(orders.pop(len(orders) // 2))
            asked[order] = time.monotonic()
            path = f"/v1/accounts/live/orders/{order}/cancellations"
            async with self.session.post(path, json=CANCEL_BODIES["plano"], headers=_AUTH) as response:
                if response.status != 202:
                    raise RuntimeError(f"a cancel got {response.status} {await response.text()}")


def resources(url: str) -> dict[str, object]:
    """The account that is worked on."""
    limits = {"requests": 100_000, "per_s": 1, "concurrency": 8}
    config = {"api_key": "bench-provider-key", "base_url": url}
    account = {"id": "live", "provider": "planomatic", "config": config, "limits": limits}
    verify = {"scheme": "token", "secrets": [TOKEN]}
    return {"accounts": [account], "endpoints": [{"id": "live-in", "account": "live", "verify": verify}]}


def searches(seed: int) -> list[str]:
    """What one person looks for: what is there and what is not, rare and common."""
    draw = random.Random(seed)  # noqa: S311 - the same in each run
    number = 100_000_000 + draw.randrange(1_000_000)
    account = f"shop-{draw.randrange(400):04}"
    paths = [
        f"/v1/events?text=NH-{number}",
        f"/v1/events?text=city{draw.randrange(9973)}",
        f"/v1/events?text=name{number}+surname{number}",
        "/v1/events?text=Larimer+request",
        f"/v1/events?text=nonesuch{seed}",
        f"/v1/events?text=city{draw.randrange(9973)}&account={account}",
        f"/v1/events?type=cancellation.*&account={account}",
        f"/v1/events/facets?text=city{draw.randrange(9973)}",
        f"/v1/orders?text={number // 100}",
        f"/v1/orders?text=No-{number}",
        "/v1/receipts?text=lost",
        f"/v1/cancellations?account={account}",
    ]
    draw.shuffle(paths)
    return paths


async def look(url: str) -> None:
    """Follow the log and search until the input ends; then say how many searches were answered, and how."""
    done, unanswered, incomplete, took, events = 0, 0, 0, list[float](), 0

    async def tail(session: aiohttp.ClientSession) -> None:
        nonlocal events
        async with session.get("/v1/events/stream") as response:
            async for line in response.content:
                events += line.startswith(b"data:")

    async def search(session: aiohttp.ClientSession, seed: int) -> None:
        nonlocal done, unanswered, incomplete
        while True:
            for path in searches(seed):
                began = time.monotonic()
                async with session.get(path) as response:
                    content = await response.read()
                took.append(time.monotonic() - began)
                done += 1
                unanswered += response.status != 200
                incomplete += b'"complete":false' in content
            seed += SEARCHES

    timeout, connector = aiohttp.ClientTimeout(total=None), aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, headers=_AUTH, timeout=timeout, connector=connector) as session:
        tasks = [asyncio.create_task(tail(session)) for _ in range(TAILS)]
        tasks += [asyncio.create_task(search(session, seed)) for seed in range(SEARCHES)]
        ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await asyncio.wait([ended, *tasks], return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            await asyncio.gather(*(task for task in tasks if task.done()))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    said = {"searches": done, "refused": unanswered, "incomplete": incomplete, "events": events}
    sys.stdout.write(json.dumps(said | {"median_s": statistics.median(took), "longest_s": max(took)}))


async def phases(url: str, load: Load, rounds: int) -> list[tuple[Latencies, Latencies, dict[str, float]]]:
    """(without, with, what the lookers say) of each round."""
    results = []
    await load.phase(5)  # warms up
    for number in range(rounds):
        of: dict[bool, Latencies] = {}
        said: dict[str, float] = {}
        for is_watched in (False, True) if number % 2 else (True, False):
            looker = None
            if is_watched:
                # Behind the server: those who look are on other machines.
                command = ["nice", "-n", "10", sys.executable, "-m", "tests.bench.inspectors", "look", url]
                looker = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
                await asyncio.sleep(SETTLE_S)
            of[is_watched] = await load.phase(PHASE_S)
            if looker is not None:
                output, _ = await looker.communicate(b"")
                said = json.loads(output)
            await asyncio.sleep(SETTLE_S)
        results.append((of[False], of[True], said))
        shown = [f"{_percentile(each.webhooks, 99):.0f}/{statistics.median(each.cancels):.0f}" for each in of.values()]
        sys.stderr.write(f"round {number + 1}: {shown} {said}\n")
    return results


def _percentile(values: Sequence[float], percent: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]


def table(results: Sequence[tuple[Latencies, Latencies, dict[str, float]]]) -> Table:
    """Medians over the rounds, and the ratios of each pair of phases."""
    shown = Table(
        "ms", "goal", "without", "with", "ratio", title=f"Beside {TAILS} tails and {SEARCHES} searches at once"
    )
    for what, index, percent in (
        ("webhook, median", 0, 50),
        ("webhook, p99", 0, 99),
        ("cancel, median", 1, 50),
        ("cancel, p95", 1, 95),
    ):
        pairs = [[_percentile(phase[index], percent) for phase in of[:2]] for of in results]
        ratios = [mine / theirs for theirs, mine in pairs]
        spread = f"{statistics.median(ratios):.2f}  ({min(ratios):.2f} to {max(ratios):.2f})"
        medians = (f"{statistics.median(pair[side] for pair in pairs):.1f}" for side in (0, 1))
        shown.add_row(what, f"≤ {GOAL}", *medians, spread)
    return shown


async def main(database: Path, rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="rescind-bench-") as folder:
        file, arrived = Path(folder, "live.json"), dict[str, float]()
        async with provider(arrived.setdefault) as url:
            await asyncio.to_thread(file.write_text, json.dumps(resources(url)))
            async with serving(database, file) as server:
                connector = aiohttp.TCPConnector(limit=0)
                async with aiohttp.ClientSession(server.url, connector=connector) as session:
                    results = await phases(server.url, Load(session, arrived), rounds)
                    Console().print(table(results))
                    Console().print(f"{server.rss_mb:.0f} MB; those who look: {results[-1][2]}")


if __name__ == "__main__":
    if sys.argv[1] == "look":
        uvloop.run(look(sys.argv[2]))
    else:
        uvloop.run(main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else ROUNDS))
