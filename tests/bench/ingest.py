"""What a webhook costs: rate, waits, processor time and bytes, beside a bare handler and, on request, another checkout.

    python -m tests.bench.ingest [--mix five|new] [--rounds 5] [--orders 1000] [--against DIR]
                                 [--postgres] [--json FILE] [--flame FILE.svg]

All servers take the same webhooks in turn, in rounds; every figure is the median of the rounds, and each ratio that of
the two rates of one round. Processor time (user and system, of all threads of the process) is steadier than the rate.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console
from rich.table import Table

from tests.bench import flame, load, machine, on_postgres
from tests.bench.payload import EVENTS, bodies, body
from tests.bench.processes import SERVE, free_port, processor_seconds, running
from tests.bench.tables import cells

ROUNDS = 5
ORDERS = 1000
"""Orders of five webhooks each in a round; where every webhook is a new order, five times as many."""
TOKEN = "bench-hook-secret-0123456789"
ENDPOINT = "bench-in"
RESOURCES = """
accounts:
  - {id: bench, provider: planomatic, config: {api_key: bench-provider-key}}
endpoints:
  - {id: bench-in, account: bench, verify: {scheme: token, secrets: [%s]}}
"""
REST_S = 0.5
REST_SHARE = 0.05
"""A process that takes less of a processor than this is at rest."""
REST_CHECKS_MAX = 60
WARM_UP = 200
"""Orders before a flame graph."""
FLAME_TIMES = 5
"""A flame graph takes so many times the orders of a round."""
WORKERS = {"postgres": 1, "two workers": 2}
"""Servers on PostgreSQL, and of how many processes each is."""
NONE: Mapping[str, int] = {}
MIXES = {"five": "five webhooks an order", "new": "every webhook is a new order"}


@dataclass(frozen=True, slots=True)
class Round:
    """One round of one server."""

    rate: float
    """Webhooks/s."""
    cpu: float
    """Processor time of the server, in µs a webhook."""
    p50: float
    """Milliseconds that a sender waits, as all below."""
    p99: float
    p999: float
    database_cpu: float = 0.0
    """Processor time of the database's own processes, in µs a webhook."""


def webhooks(mix: str, orders: int, first: int, endpoint: str = ENDPOINT) -> list[bytes]:
    """The requests of one round; `first` is the number of its first order."""
    if mix == "five":
        made = bodies(orders, first)
    else:
        made = [body(order, *EVENTS[0]) for order in range(first, first + orders)]
    return [load.post(f"/webhooks/{endpoint}", each, TOKEN) for each in made]


async def at_rest(pid: int) -> float:
    """Processor time of a process once it does nothing any more: the log is sealed, the search index filled.

    So each server pays for what it leaves for later, and none for what another left.
    """
    spent = processor_seconds(pid)
    for _ in range(REST_CHECKS_MAX):
        await asyncio.sleep(REST_S)
        before, spent = spent, processor_seconds(pid)
        if spent - before <= REST_S * REST_SHARE:
            break
    return spent


async def one_round(port: int, pid: int, requests: list[bytes], database: int | None = None) -> Round:
    """Send the requests; raises if any was answered otherwise than by 200. `database` is that one's process id."""
    waits: list[float] = []
    before, database_before = processor_seconds(pid), processor_seconds(database) if database else 0.0
    good, seconds = await load.run(port, requests, waits)
    if good != len(requests):
        raise RuntimeError(f"{len(requests) - good} of {len(requests)} requests were not answered 200")
    cpu = (await at_rest(pid) - before) / good * 1e6
    database_cpu = (processor_seconds(database) - database_before) / good * 1e6 if database else 0.0
    waits.sort()
    p50, p99, p999 = (waits[int(len(waits) * part)] * 1e3 for part in (0.5, 0.99, 0.999))
    return Round(good / seconds, cpu, p50, p99, p999, database_cpu)


def rounds_of(mix: str, rounds: int, orders: int, first: int = 1, endpoint: str = ENDPOINT) -> Iterator[list[bytes]]:
    """The requests of each round, after those of one that warms up."""
    orders = orders if mix == "five" else orders * len(EVENTS)
    for number in range(rounds + 1):
        yield webhooks(mix, orders, first + number * orders, endpoint)


async def measure(
    servers: dict[str, tuple[int, int]], rounds: Iterable[list[bytes]], databases: Mapping[str, int] = NONE
) -> tuple[dict[str, list[Round]], int]:
    """(the rounds of each server, the webhooks that each got).

    `servers` is name → (port, process id), `databases` name → process id of the database that it has beside it.
    """
    measured: dict[str, list[Round]] = {name: [] for name in servers}
    sent = 0
    for number, requests in enumerate(rounds):
        sent += len(requests)
        # Each is the first in its turn.
        names = list(servers)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            done = await one_round(*servers[name], requests, databases.get(name))
            if number:  # the first round warms up
                measured[name].append(done)
    return measured, sent


def compare(
    mix: str, rounds: int, orders: int, against: Path | None, *, postgres: bool = False
) -> tuple[dict[str, list[Round]], dict[str, float]]:
    """(the rounds of each server, its bytes on disk a webhook)."""
    with tempfile.TemporaryDirectory(prefix="rescind-bench-") as name, contextlib.ExitStack() as started:
        folder, servers = Path(name), dict[str, tuple[int, int]]()
        port = free_port()
        servers["bare"] = (
            port,
            started.enter_context(running([sys.executable, "-m", "tests.bench.bare", str(port)], port, {})),
        )
        checkouts = {"now": Path.cwd()} | ({"before": against.resolve()} if against else {})
        for label, checkout in checkouts.items():
            servers[label] = started.enter_context(serving(folder, label, checkout))
        beside = {}
        if postgres:
            database = started.enter_context(on_postgres.database(folder))
            for label, workers in WORKERS.items():
                schema = label.replace(" ", "_")
                resources = folder / "now.yaml"
                servers[label] = started.enter_context(on_postgres.serving(database.url, schema, resources, workers))
                beside[label] = database.pid
        measured, sent = uvloop.run(measure(servers, rounds_of(mix, rounds, orders), beside))
        sizes = {label: (folder / f"{label}.db").stat().st_size / sent for label in checkouts}
        sizes |= {label: database.bytes_of(label.replace(" ", "_")) / sent for label in beside}
    return measured, sizes


@contextlib.contextmanager
def serving(folder: Path, label: str, checkout: Path) -> Iterator[tuple[int, int]]:
    """(port, process id) of a server of a checkout, whose database is `LABEL.db` in the folder."""
    resources, port = folder / f"{label}.yaml", free_port()
    resources.write_text(RESOURCES % TOKEN)
    python = sys.executable if checkout == Path.cwd() else str(checkout / ".venv" / "bin" / "python")
    environment = {
        "PYTHONPATH": str(checkout),
        "RESCIND_DATABASE_URL": f"sqlite:///{folder / label}.db",
        "RESCIND_PORT": str(port),
        "RESCIND_ENDPOINT_RATE_PER_S": "1000000",  # the limit counts, and lets all pass
    }
    with running([python, "-P", "-c", SERVE, str(resources)], port, environment) as pid:
        yield port, pid


def flame_graph(mix: str, orders: int, target: Path) -> None:
    """Draw what the server does while it takes so many orders of a mix."""
    with tempfile.TemporaryDirectory(prefix="rescind-bench-") as name, serving(Path(name), "now", Path.cwd()) as server:
        port, pid = server
        uvloop.run(one_round(port, pid, webhooks(mix, WARM_UP, 1)))
        number = orders * FLAME_TIMES * (1 if mix == "five" else len(EVENTS))
        requests = webhooks(mix, number, 1 + WARM_UP)
        with flame.recorded(pid, target):
            uvloop.run(load.run(port, requests))
    sys.stderr.write(f"{target}: {len(requests)} webhooks, {flame.LOOKS_PER_S} looks a second\n")


def table(mix: str, measured: dict[str, list[Round]], sizes: dict[str, float]) -> Table:
    """What was measured, as people read it."""
    beside = any(rounds[0].database_cpu for rounds in measured.values())
    costs = ("µs CPU", "database") if beside else ("µs CPU",)
    shown = Table("server", "webhooks/s", "÷ bare", *costs, "p50 ms", "p99", "p99.9", "bytes", title=MIXES[mix])
    for name, rounds in measured.items():
        ratios = [mine.rate / bare.rate for mine, bare in zip(rounds, measured["bare"], strict=True)]
        middle = {field: statistics.median(getattr(each, field) for each in rounds) for field in Round.__slots__}
        shown.add_row(
            name,
            f"{middle['rate']:,.0f}",
            f"{statistics.median(ratios):.3f}",
            f"{middle['cpu']:.0f}",
            *([f"{middle['database_cpu']:.0f}"] if beside else []),
            *(f"{middle[field]:.1f}" for field in ("p50", "p99", "p999")),
            f"{sizes[name]:,.0f}" if name in sizes else "",
        )
    for one, other in (("now", "before"), ("postgres", "now"), ("two workers", "postgres")):
        if one in measured and other in measured:
            pairs = list(zip(measured[one], measured[other], strict=True))
            rate = statistics.median(mine.rate / theirs.rate for mine, theirs in pairs)
            cpu = statistics.median(mine.cpu / theirs.cpu for mine, theirs in pairs)
            shown.add_row(f"{one} ÷ {other}", f"{rate:.3f}", "", f"{cpu:.3f}")
    return shown


def written(measured: dict[str, list[Round]], sizes: dict[str, float]) -> dict[str, Any]:
    """What was measured, as JSON has it."""
    return {name: {"bytes": sizes.get(name), "rounds": [asdict(each) for each in measured[name]]} for name in measured}


def add_options(options: argparse.ArgumentParser) -> None:
    """Those that `make bench` has too."""
    options.add_argument("--rounds", type=int, default=ROUNDS)
    options.add_argument("--orders", type=int, default=ORDERS, help="five webhooks each; of a round")
    options.add_argument("--json", type=Path, metavar="FILE", help="write every figure here")
    options.add_argument("--flame", type=Path, metavar="FILE.svg", help="draw a flame graph of the server under load")


def main() -> None:
    """Measure as the arguments say, and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--mix", choices=MIXES, action="append", help="both, where none is given")
    options.add_argument("--against", type=Path, metavar="DIR", help="another checkout, with its own .venv")
    options.add_argument("--postgres", action="store_true", help="also on a PostgreSQL, by one process and by two")
    add_options(options)
    given = options.parse_args()
    if given.flame:
        flame.tool()  # not after minutes
    command = "python -m tests.bench.ingest" + (" --against DIR" if given.against else "")
    described = machine.describe(command)
    result: dict[str, Any] = {"machine": described, "measured": machine.line(described), "tables": []}
    for mix in given.mix or MIXES:
        measured, sizes = compare(mix, given.rounds, given.orders, given.against, postgres=given.postgres)
        shown = table(mix, measured, sizes)
        Console().print(shown)
        result["tables"].append(cells(shown))
        result[mix] = written(measured, sizes)
    if given.json:
        given.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    if given.flame:
        flame_graph((given.mix or ["five"])[0], given.orders, given.flame)


if __name__ == "__main__":
    main()
