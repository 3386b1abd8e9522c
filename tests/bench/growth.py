"""What grows with the log, and what does not: `make bench-growth`.

    python -m tests.bench.growth [--events 0 1000000 10000000] [--rounds 5] [--orders 600] [--cache DIR]
                                 [--json FILE] [--plot FOLDER]

A server on each of the databases (`tests.bench.grown`; all have the same 1,000 accounts) does the same in turn, within
one run: it starts, takes webhooks, tells verdicts while webhooks come at a steady rate, lists, backtests. Ratios are to
the empty database.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import uvloop
from rich.console import Console
from rich.table import Table

from tests.bench import console, grown, ingest, load, machine, plots
from tests.bench.paced import paced
from tests.bench.processes import memory_mb, processor_seconds
from tests.bench.recorded import KEY, PLANO
from tests.bench.tables import cells

EVENTS = (0, 1_000_000, 10_000_000)
STARTS = 3
ENDPOINT, ACCOUNT = "plano-0000-in", "plano-0000"
"""One order of ten is of this account."""
WEBHOOKS_PER_S, VERDICTS_PER_S, VERDICTS_S = 200.0, 100.0, 10.0
SAMPLES = 40
"""Moments of the log of whose orders verdicts are asked."""
BACKTEST_EVENTS = 200_000
"""A backtest is over the newest part of the log with about so many events."""
POLICY = {
    "id": "unscheduled",
    "accounts": [f"plano-{index:04}" for index in range(PLANO)],
    "when": 'order.phase == "open" && size(order.appointments) == 0',
    "wait": "90s since order.opened_at",
    "cancel": {"reason": "client_requested_cancelation", "note": "Not scheduled."},
}
GROUPS = ("orders", "events", "receipts", "cancellations", "attempts", "subscriptions", "overview")
SEARCHES = "a text"
"""A search of what no index has ends after a second, and says where to go on."""
_AUTH = {"Authorization": f"Bearer {KEY}"}
Figures = dict[str, Any]


def percentile(values: Iterable[float], share: float) -> float:
    """The value below which `share` of the values are."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


async def start_up(databases: dict[int, Path]) -> dict[int, Figures]:
    """How long each takes until it is ready, and the processor time of that, in turn; a first start does not count."""
    seconds: dict[int, list[float]] = {events: [] for events in databases}
    used: dict[int, list[float]] = {events: [] for events in databases}
    for number in range(STARTS + 1):
        for events, path in databases.items():
            async with console.serving(path) as server:
                if number:
                    seconds[events].append(server.ready_s)
                    used[events].append(processor_seconds(server.pid))
    return {
        events: {"ready_s": statistics.median(seconds[events]), "ready_cpu_s": statistics.median(used[events])}
        for events in databases
    }


async def verdicts(server: console.Server, paths: list[str], first: int) -> Figures:
    """Waits for verdicts, in milliseconds, while webhooks come in."""
    port = int(server.url.rpartition(":")[2])
    reads = [load.get(path, KEY) for path in paths] * (int(VERDICTS_PER_S * VERDICTS_S) // len(paths) + 1)
    webhooks = ingest.webhooks("new", int(WEBHOOKS_PER_S * VERDICTS_S), first, ENDPOINT)
    for number in range(2):  # the first time warms up
        part = slice(None) if number else slice(100)
        recorded, read = await asyncio.gather(
            paced(port, webhooks[part], WEBHOOKS_PER_S),
            paced(port, reads[: int(VERDICTS_PER_S * VERDICTS_S)][part], VERDICTS_PER_S),
        )
    return {
        "verdict_p50": percentile(read, 0.5),
        "verdict_p99": percentile(read, 0.99),
        "webhook_p50": percentile(recorded, 0.5),
        "webhook_p99": percentile(recorded, 0.99),
    }


async def orders_of(session: aiohttp.ClientSession, now: datetime) -> list[str]:
    """Paths of verdicts: of orders from all over the log."""
    paths = []
    for number in range(SAMPLES):
        since = now - timedelta(days=big_days()) * (number / SAMPLES) - timedelta(hours=1)
        span = f"opened_since={quote(since.isoformat())}&opened_until={quote((since + timedelta(hours=1)).isoformat())}"
        async with session.get(f"/v1/orders?{span}&limit=25", headers=_AUTH) as response:
            orders = (await response.json())["data"]
        paths += [f"/v1/accounts/{order['account']}/orders/{order['id']}/verdict" for order in orders]
    return paths


def big_days() -> int:
    """Days that the log of each database covers."""
    return grown.big_database.DAYS


async def lists(server: console.Server, session: aiohttp.ClientSession, events: int) -> Figures:
    """Waits for lists, in milliseconds: of each group all requests together, and the slowest of all."""
    given = console.times(datetime.now(UTC)) | (await console.samples(session) if events else {})
    groups: dict[str, list[float]] = {group: [] for group in (*GROUPS, SEARCHES)}
    slowest = 0.0, ""
    for path in console.lists(given):
        is_search = "text=" in path
        group = next((group for group in GROUPS if path.removeprefix("/v1/").startswith(group)), None)
        if group is None or "nonesuch" in path:
            continue
        took = (await console.measure(server, session, path, _AUTH)).took_ms
        groups[SEARCHES if is_search else group] += took
        slowest = slowest if is_search else max(slowest, (statistics.median(took), path))
    shown = {group: {"p50": percentile(took, 0.5), "p99": percentile(took, 0.99)} for group, took in groups.items()}
    return {"lists": shown, "slowest_list": {"p50": slowest[0], "path": slowest[1]}}


async def backtest(server: console.Server, session: aiohttp.ClientSession, events: int) -> Figures:
    """Processor time an event of a backtest, in µs, and the memory that its processes had in MB."""
    days = big_days() * min(1.0, BACKTEST_EVENTS / events)
    since = datetime.now(UTC) - timedelta(days=days)
    memory, before, began = memory_mb(server.pid), processor_seconds(server.pid), time.monotonic()
    body, peak = {"policy": POLICY, "since": since.isoformat(), "listed": 0}, 0.0
    async with session.post("/v1/policies/unscheduled/backtest", json=body, headers=_AUTH) as response:
        run = await response.json()
        if response.status != 202:
            raise RuntimeError(f"a backtest got {response.status}: {run}")
    while run["state"] not in ("done", "failed"):
        await asyncio.sleep(0.1)
        peak = max(peak, memory_mb(server.pid) - memory)
        async with session.get(f"/v1/policies/unscheduled/backtests/{run['id']}", headers=_AUTH) as response:
            run = await response.json()
    if run["state"] == "failed":
        raise RuntimeError(run["failure"])
    seconds, used = time.monotonic() - began, processor_seconds(server.pid) - before
    number = run["report"]["events"]
    return {
        "backtest_events": number,
        "backtest_us": used / number * 1e6,
        "backtest_s": seconds,
        "backtest_mb": peak,
    }


async def measure(databases: dict[int, Path], rounds: int, orders: int) -> dict[int, Figures]:
    """Everything, of each database."""
    figures = await start_up(databases)
    first = int(time.time()) % 100_000_000 + 100_000_000  # of orders that no run before this one has sent
    async with AsyncExitStack() as started:
        servers = {
            events: await started.enter_async_context(console.serving(path)) for events, path in databases.items()
        }
        for events, server in servers.items():
            await ingest.at_rest(server.pid)
            figures[events]["rest_mb"] = memory_mb(server.pid)
        ports = {str(events): (int(each.url.rpartition(":")[2]), each.pid) for events, each in servers.items()}
        measured, sent = await ingest.measure(ports, ingest.rounds_of("five", rounds, orders, first, ENDPOINT))
        empty = str(min(servers))
        for events, server in servers.items():
            mine = measured[str(events)]
            pairs = zip(mine, measured[empty], strict=True)
            figures[events] |= {
                "rate": statistics.median(each.rate for each in mine),
                "ingest": statistics.median(each.rate / base.rate for each, base in pairs),
                "cpu_us": statistics.median(each.cpu for each in mine),
                "p50": statistics.median(each.p50 for each in mine),
                "p99": statistics.median(each.p99 for each in mine),
                "loaded_mb": memory_mb(server.pid),
            }
        for events, server in servers.items():
            async with aiohttp.ClientSession(server.url) as session:
                paths = await orders_of(session, datetime.now(UTC)) if events else []
                news = range(first, first + orders)
                paths = paths or [f"/v1/accounts/{ACCOUNT}/orders/{500_000 + order}/verdict" for order in news]
                figures[events] |= await verdicts(server, paths, first + sent)
                figures[events] |= await lists(server, session, events)
                figures[events]["listed_mb"] = memory_mb(server.pid)
                if events:
                    figures[events] |= await backtest(server, session, events)
    return figures


ROWS = (
    ("webhooks/s", "rate", "{:,.0f}", ""),
    ("webhooks/s ÷ empty", "ingest", "{:.3f}", "≥ 0.9"),
    ("µs of processor time a webhook", "cpu_us", "{:.0f}", ""),
    ("webhook at saturation, p50 ms", "p50", "{:.1f}", ""),
    ("webhook at saturation, p99 ms", "p99", "{:.1f}", ""),
    (f"webhook at {WEBHOOKS_PER_S:.0f}/s, p50 ms", "webhook_p50", "{:.1f}", ""),
    (f"webhook at {WEBHOOKS_PER_S:.0f}/s, p99 ms", "webhook_p99", "{:.1f}", ""),
    (f"verdict beside {WEBHOOKS_PER_S:.0f} webhooks/s, p50 ms", "verdict_p50", "{:.1f}", ""),
    (f"verdict beside {WEBHOOKS_PER_S:.0f} webhooks/s, p99 ms", "verdict_p99", "{:.1f}", "≤ 2"),
    ("start until ready, s", "ready_s", "{:.2f}", "≤ 1.5 times that of empty"),
    ("start until ready, s of processor time", "ready_cpu_s", "{:.2f}", ""),
    ("memory at rest, MB", "rest_mb", "{:.0f}", "flat"),
    ("memory after the webhooks, MB", "loaded_mb", "{:.0f}", "flat"),
    ("memory after all lists, MB", "listed_mb", "{:.0f}", ""),
    ("backtest, µs of processor time an event", "backtest_us", "{:.1f}", ""),
    ("backtest, MB", "backtest_mb", "{:.0f}", "flat"),
)


def table(figures: dict[int, Figures]) -> Table:
    """What was measured, as people read it."""
    shown = Table("what", "goal", *(f"{events:,} events" for events in figures), title="What grows with the log")
    for what, name, form, goal in ROWS:
        shown.add_row(what, goal, *(form.format(each[name]) if name in each else "" for each in figures.values()))
    for group in (*GROUPS, SEARCHES):
        cells = (f"{each['lists'][group]['p50']:.1f} / {each['lists'][group]['p99']:.1f}" for each in figures.values())
        shown.add_row(f"lists of {group}, p50 / p99 ms", "" if group == SEARCHES else "≤ 50", *cells)
    cells = (f"{each['slowest_list']['p50']:.0f}  {each['slowest_list']['path'][:40]}" for each in figures.values())
    shown.add_row("the slowest list, ms", "≤ 50", *cells)
    return shown


def main() -> None:
    """Make the databases, measure as the arguments say, and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--events", type=int, nargs="+", default=EVENTS, help="of the databases; 0 is always one")
    options.add_argument("--rounds", type=int, default=ingest.ROUNDS)
    options.add_argument("--orders", type=int, default=600, help="five webhooks each; of a round")
    options.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir(), "rescind-bench-databases"))
    options.add_argument("--make", action="store_true", help="make the databases, and measure nothing")
    options.add_argument("--json", type=Path, metavar="FILE", help="write every figure here")
    options.add_argument("--plot", type=Path, metavar="FOLDER", help="draw growth.svg and growth.png there")
    given = options.parse_args()
    if given.plot:
        plots.require()
    databases = {events: grown.database(given.cache, events) for events in sorted({0, *given.events})}
    if given.make:
        return
    described = machine.describe("make bench-growth")
    Console().print(machine.line(described))
    figures = uvloop.run(measure(databases, given.rounds, given.orders))
    shown = table(figures)
    Console(width=140).print(shown)
    result = {
        "machine": described,
        "measured": machine.line(described),
        "events": {str(events): each for events, each in figures.items()},
        "tables": [cells(shown)],
    }
    if given.json:
        given.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    if given.plot:
        plots.growth(result, given.plot)


if __name__ == "__main__":
    main()
