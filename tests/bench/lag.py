"""How long the event loop makes tasks wait at half the top rate, while people search, backtest and read long histories.

    python -m tests.bench.lag [--events 1000000] [--seconds 20] [--database FILE]

The database has so many events, one order 3,000 of them. A server is sent webhooks at half the rate that it takes at
most; meanwhile one person searches, one backtests and one reads the timeline of the long order, over and over. The log
of the new database is sealed and indexed at the same time. The lag is measured in the server every 5 ms; the waits of
webhooks count from when each was due. On a busy machine the loop's thread also waits for a processor, which Linux
counts: the lag is shown with that and without it, the waits for other threads that do not get one either included. A
database that is given is copied, and so can be used again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import uvloop
from rich.console import Console
from rich.table import Table

from tests.bench import big_database, load
from tests.bench.payload import bodies
from tests.bench.processes import free_port, running

EVENTS, SECONDS = 1_000_000, 20
GOAL_MS, GC_GOAL = 20.0, 0.02
TOP_ORDERS = 1500
"""Orders of five webhooks each, from which the top rate is measured."""
CONNECTIONS = 64
POLL_S = 0.2
KEY, TOKEN = "bench-api-key-0123456789-0123456789", "bench-hook-secret-0123456789"
RESOURCES = """
accounts:
  - {id: bench, provider: planomatic, config: {api_key: bench-provider-key}}
endpoints:
  - {id: bench-in, account: bench, verify: {scheme: token, secrets: [%s]}}
"""
POLICY = {
    "id": "unscheduled",
    "when": 'order.phase == "open" && size(order.appointments) == 0',
    "wait": "90s since order.opened_at",
    "cancel": {"reason": "client_requested_cancelation", "note": "Not scheduled."},
}
SERVE = """
import asyncio, json, sys, threading, time
from pathlib import Path
from app import node
from app.config.settings import Settings
from app.serve import run

def waited_s():
    try:
        return int(Path(f"/proc/self/task/{threading.get_native_id()}/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0

async def measure_lag(period_s=0.005):
    lags, waited, due = [], waited_s(), time.monotonic() + period_s
    try:
        while True:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            now = time.monotonic()
            missed = int((now - due) / period_s)
            before, waited = waited, waited_s()
            lags += [(now, now - due - number * period_s, waited - before) for number in range(missed + 1)]
            due = max(due + (missed + 1) * period_s, now)
    finally:
        Path(sys.argv[2]).write_text(json.dumps(lags))

node.measure_lag = measure_lag
run(Settings(), Path(sys.argv[1]))
"""


@dataclass(slots=True)
class Result:
    """What was measured."""

    top_rate: float = 0.0
    waits_ms: list[float] = field(default_factory=list)
    lags_ms: list[float] = field(default_factory=list)
    own_lags_ms: list[float] = field(default_factory=list)
    """Without what the loop's thread waited for a processor."""
    gc_share: float = 0.0
    began: float = 0.0
    ended: float = 0.0
    work: dict[str, int] = field(default_factory=dict)
    """How often each piece of work beside was done."""


def table() -> Table:
    """Measured on a new database."""
    return shown(measure(EVENTS, SECONDS, None))


def measure(events: int, seconds: int, database: Path | None) -> Result:
    """Make or copy the database, serve it and load it."""
    with tempfile.TemporaryDirectory(prefix="rescind-bench-") as name:
        folder, port, result = Path(name), free_port(), Result()
        path = folder / "rescind.db"
        if database is None:
            asyncio.run(big_database.make(path, events))
        else:
            for file in (database, Path(f"{database}.key")):
                shutil.copy(file, folder / file.name.replace(database.name, path.name))
        with closing(sqlite3.connect(path)) as db:
            sql = """SELECT account, id FROM orders WHERE pk =
                     (SELECT order_pk FROM events WHERE order_pk > 0 GROUP BY 1 ORDER BY count(*) DESC LIMIT 1)"""
            account, order = db.execute(sql).fetchone()
        resources, lags = folder / "bench.yaml", folder / "lags.json"
        resources.write_text(RESOURCES % TOKEN)
        environment = {
            "RESCIND_DATABASE_URL": f"sqlite:///{path}",
            "RESCIND_PORT": str(port),
            "RESCIND_BOOTSTRAP_KEY": KEY,
            "RESCIND_KEY_RATE_PER_S": "1000000",
            "RESCIND_ENDPOINT_RATE_PER_S": "1000000",
        }
        with running([sys.executable, "-c", SERVE, str(resources), str(lags)], port, environment):
            uvloop.run(_load(port, result, seconds, f"/v1/accounts/{account}/orders/{order}/timeline", account))
        measured = [row for row in json.loads(lags.read_text()) if result.began <= row[0] <= result.ended]
        result.lags_ms = [lag * 1e3 for _, lag, _ in measured]
        result.own_lags_ms = [max(0.0, lag - waited) * 1e3 for _, lag, waited in measured]
        return result


async def _load(port: int, result: Result, seconds: int, timeline: str, account: str) -> None:
    requests = [load.post("/webhooks/bench-in", body, TOKEN) for body in bodies(TOP_ORDERS)]
    good, took_s = await load.run(port, requests)
    result.top_rate = good / took_s
    count = int(result.top_rate / 2 * seconds)
    requests = [load.post("/webhooks/bench-in", body, TOKEN) for body in bodies(count // 5 + 1, TOP_ORDERS + 1)][:count]
    headers = {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers) as session:
        before = await _gc(session)
        async with People(session, result, timeline, account).looking():
            result.began = time.monotonic()
            await _send(port, requests, result.top_rate / 2, result.waits_ms)
            result.ended = time.monotonic()
        paused_s, used_s = (now - then for now, then in zip(await _gc(session), before, strict=True))
        result.gc_share = paused_s / used_s


class People:
    """Who looks while webhooks come in."""

    def __init__(self, session: aiohttp.ClientSession, result: Result, timeline: str, account: str) -> None:
        self._session, self._result, self._timeline, self._account = session, result, timeline, account

    @asynccontextmanager
    async def looking(self) -> AsyncIterator[None]:
        """Until the end of the block, each at one thing over and over."""
        works = {"searches": self._search, "timelines": self._read, "backtests": self._backtest}
        tasks = [asyncio.create_task(self._repeat(name, work)) for name, work in works.items()]
        yield
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended

    async def _repeat(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await work()
            self._result.work[name] = self._result.work.get(name, 0) + 1

    async def _search(self) -> None:
        for text in ("denver", "street", "o-77"):
            await self._ask("GET", "/v1/events", params={"text": text, "limit": "100"})

    async def _read(self) -> None:
        query: dict[str, Any] = {"limit": "500"}
        while query.get("cursor", "") is not None:
            page = await self._ask("GET", self._timeline, params=query)
            query["cursor"] = page["next_cursor"]

    async def _backtest(self) -> None:
        body, backtests = {"policy": {**POLICY, "accounts": [self._account]}}, "/v1/policies/unscheduled/backtest"
        run = await self._ask("POST", backtests, json=body)
        while run["state"] in ("queued", "running"):
            await asyncio.sleep(POLL_S)
            run = await self._ask("GET", f"{backtests}s/{run['id']}")

    async def _ask(self, method: str, path: str, **more: Any) -> Any:
        async with self._session.request(method, path, **more) as answer:
            body = await answer.read()
            if answer.status >= 300:
                raise RuntimeError(f"{method} {path}: {answer.status}: {body[:500]!r}")
            return json.loads(body)


async def _send(port: int, requests: Sequence[bytes], rate: float, waits_ms: list[float]) -> None:
    """Send each request when it is due, whether those before are answered or not."""
    idle: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        idle.put_nowait(await asyncio.open_connection("127.0.0.1", port))

    async def send(request: bytes, due: float) -> None:
        reader, writer = connection = await idle.get()
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n", 1)[0]))
        if not head.startswith(b"http/1.1 200"):
            raise RuntimeError(head.decode())
        waits_ms.append((time.perf_counter() - due) * 1e3)
        idle.put_nowait(connection)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as sending:
        for number, request in enumerate(requests):
            due = began + number / rate
            if due > time.perf_counter():
                await asyncio.sleep(due - time.perf_counter())
            sending.create_task(send(request, due))
    while not idle.empty():
        idle.get_nowait()[1].close()


async def _gc(session: aiohttp.ClientSession) -> tuple[float, float]:
    """(seconds that collections took, processor seconds of the server)."""
    async with session.get("/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return (
        sum(_values(lines, "rescind_gc_pause_seconds_sum")),
        sum(_values(lines, "process_cpu_seconds_total")),
    )


def _values(lines: Sequence[str], name: str) -> Iterator[float]:
    for line in lines:
        if line.startswith(name):
            with suppress(ValueError):
                yield float(line.rpartition(" ")[2])


def shown(result: Result) -> Table:
    """The result, as people read it."""
    title = f"At half the top rate ({result.top_rate / 2:,.0f} webhooks/s; goal: p99.9 of the lag ≤ {GOAL_MS:.0f} ms)"
    table = Table("ms", "p50", "p99", "p99.9", "longest", title=title)
    rows = {
        "lag of the event loop": result.lags_ms,
        "of it, without waiting for a processor": result.own_lags_ms,
        "wait of a webhook": result.waits_ms,
    }
    for name, values in rows.items():
        ordered = sorted(values)
        quantiles = (ordered[min(int(len(ordered) * part), len(ordered) - 1)] for part in (0.5, 0.99, 0.999, 1.0))
        table.add_row(name, *(f"{value:.1f}" for value in quantiles))
    work = ", ".join(f"{count} {name}" for name, count in sorted(result.work.items()))
    table.caption = (
        f"garbage collection: {result.gc_share:.2%} of processor time (goal ≤ {GC_GOAL:.0%}); beside: {work}"
    )
    return table


def main() -> None:
    """Measure as the arguments say, and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--events", type=int, default=EVENTS)
    options.add_argument("--seconds", type=int, default=SECONDS)
    options.add_argument("--database", type=Path, metavar="FILE", help="made before by tests.bench.big_database")
    given = options.parse_args()
    Console().print(shown(measure(given.events, given.seconds, given.database)))


if __name__ == "__main__":
    main()
