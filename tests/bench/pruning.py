"""What pruning costs webhooks: `python -m tests.bench.pruning 1000000`.

A server whose database has so many old events of real orders. Webhooks come at a steady rate; phases in which it prunes
alternate with phases in which it does not, so that both see the same machine. Latencies count from when a request was
due, so what waits behind a slow one counts too. It is no part of `make bench`: a million events take minutes.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain, count
from pathlib import Path
from time import perf_counter
from typing import Any

import aiohttp
import uvloop
from rich.console import Console
from rich.table import Table

from app.core.event import order_key
from app.store.codec import moment
from app.store.sqlite.functions import add_functions
from tests.bench import load
from tests.bench.payload import INTERLEAVED, bodies
from tests.bench.processes import SERVE, free_port, running
from tests.bench.recorded import COMPRESSED

TEMPLATE_ORDERS = 2_000
"""Orders that the server is told of; the others are copies of them at earlier times."""
EVENTS_AN_ORDER = 5
APART_DAYS = 10
RATE_PER_S, CONNECTIONS = 50.0, 48
PHASE_S, PHASES = 8.0, 6
STEP = 1000
"""Events that the first phase prunes."""
LOOK_S = 0.01
DEFAULT = 100_000
TOKEN = "bench-hook-secret-0123456789"
KEY = "bench-api-key-0123456789-0123456789"
RESOURCES = """
accounts:
  - {id: bench, provider: planomatic, config: {api_key: bench-provider-key}}
endpoints:
  - {id: bench-in, account: bench, verify: {scheme: token, secrets: [%s]}}
"""
_DAY_US, _ID_DAY = 86_400_000_000, 86_400_000 << 21
_NAME = "iif(instr({0}, 'req-'), replace({0}, 'req-', 'req-' || :tag), :tag || {0})"
_SERVED = ("orders", "events", "receipts", "receipt_dictionaries", "names")


@dataclass
class Phase:
    """What was measured while the server pruned, or did not."""

    webhooks: list[float] = field(default_factory=list)
    """Milliseconds of each webhook."""
    stalls: list[float] = field(default_factory=list)
    """Milliseconds of `GET /healthz`, which does nothing: above them the event loop was held up."""
    log_bytes: int = 0
    """The largest size of the write-ahead log."""
    expunged: int = 0

    def p(self, share: float) -> float:
        """The quantile of the webhooks' latencies."""
        return quantile(self.webhooks, share)


def quantile(values: list[float], share: float) -> float:
    """The value below which `share` of the values are."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0.0


def environment(folder: Path, port: int) -> dict[str, str]:
    """The settings of the server."""
    return {
        "RESCIND_DATABASE_URL": f"sqlite:///{folder}/bench.db",
        "RESCIND_PORT": str(port),
        "RESCIND_BOOTSTRAP_KEY": KEY,
        "RESCIND_RETENTION_DAYS": "0",
        "RESCIND_KEY_RATE_PER_S": "1000000",
        "RESCIND_ENDPOINT_RATE_PER_S": "1000000",
    }


def hooks(orders: int, first: int) -> list[bytes]:
    """Requests with webhooks about so many orders."""
    return [load.post("/webhooks/bench-in", body, TOKEN) for body in bodies(orders, first)]


def copy(path: Path, events: int) -> int:
    """Copy what the server was told to earlier times until there are so many events; returns how many copies."""
    copies = max(1, round(events / (TEMPLATE_ORDERS * EVENTS_AN_ORDER)))
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        add_functions(db)
        db.create_function("order_key", 2, order_key, deterministic=True)
        db.executescript("PRAGMA synchronous = OFF; BEGIN")
        for name in _SERVED:
            db.execute(f"CREATE TEMP TABLE told_{name} AS SELECT * FROM {name} {_where(name)}")  # noqa: S608
            db.execute(f"DELETE FROM {name} {_where(name)}")  # noqa: S608
        db.execute("DELETE FROM jobs")
        for number in range(copies):
            days = (copies - number) * APART_DAYS
            for name in _SERVED:
                db.execute(_copying(db, name), {"ids": days * _ID_DAY, "us": days * _DAY_US, "tag": f"{number}-"})
        db.execute("COMMIT")
    return copies


def _where(table: str) -> str:
    return "WHERE order_pk > 0" if table == "events" else ""


def _copying(db: sqlite3.Connection, table: str) -> str:
    """SQL that inserts the rows of a table anew, with other ids, names and times."""
    earlier = dict.fromkeys(("last_event_at", "occurred_at", "received_at"), ":us")
    earlier |= dict.fromkeys(("pk", "order_pk", "receipt", "dictionary", "last_use"), ":ids")
    if table != "orders":
        earlier["id"] = ":ids"
    unset = {"seq"}
    if table in COMPRESSED:
        unset.add("dictionary")
        del earlier["dictionary"]
    chosen = []
    for _, column, *_ in db.execute(f"PRAGMA table_info({table})").fetchall():
        if column in earlier:
            chosen.append(f"iif({column} > 0, {column} - {earlier[column]}, {column})")
        elif column in unset:
            chosen.append("NULL")
        elif column in ("name", "id"):
            chosen.append(_NAME.format(column))
        elif table == "names" and column == "key":
            chosen.append(f"order_key(account, {_NAME.format('name')})")
        elif column == "sources":
            chosen.append("(SELECT json_group_array(value - :ids) FROM json_each(sources))")
        elif table in COMPRESSED and column == COMPRESSED[table][0]:
            named = f"replace({COMPRESSED[table][1]}, 'req-', 'req-' || :tag)"
            chosen.append(f"""replace({named}, '"id":"', '"id":"' || :tag)""")
        else:
            chosen.append(column)
    order = {"events": "ORDER BY seq", "names": "ORDER BY order_pk"}.get(table, "ORDER BY 1")
    return f"INSERT INTO {table} SELECT {', '.join(chosen)} FROM temp.told_{table} {order}"  # noqa: S608


async def steady(port: int, requests: Iterator[bytes], phase: Phase, over: asyncio.Event) -> None:
    """Send requests at the rate until the phase is over."""
    began, sent, idle = perf_counter(), 0, asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]]()
    for _ in range(CONNECTIONS):
        idle.put_nowait(await asyncio.open_connection("127.0.0.1", port))

    async def send(request: bytes, due: float) -> None:
        connection = await idle.get()
        await answered(*connection, request)
        phase.webhooks.append((perf_counter() - due) * 1000)
        idle.put_nowait(connection)

    under_way = set[asyncio.Task[None]]()
    while not over.is_set():
        due = began + sent / RATE_PER_S
        await asyncio.sleep(max(0.0, due - perf_counter()))
        task = asyncio.create_task(send(next(requests), due))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        sent += 1
    await asyncio.gather(*under_way)
    while not idle.empty():
        idle.get_nowait()[1].close()


async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
    """Send a request and read its response, which must be a 200."""
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if not head.startswith(b"http/1.1 200"):
        raise RuntimeError(head)
    await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n", 1)[0]))


async def watch(port: int, log: Path, phase: Phase, over: asyncio.Event) -> None:
    """Look for stalls of the event loop, and at the size of the write-ahead log."""
    connection = await asyncio.open_connection("127.0.0.1", port)
    while not over.is_set():
        began = perf_counter()
        await answered(*connection, load.get("/healthz", KEY))
        phase.stalls.append((perf_counter() - began) * 1000)
        phase.log_bytes = max(phase.log_bytes, await asyncio.to_thread(size_of, log))
        await asyncio.sleep(LOOK_S)
    connection[1].close()


def size_of(file: Path) -> int:
    """Its bytes; 0 if it is not there."""
    with suppress(FileNotFoundError):
        return file.stat().st_size
    return 0


@asynccontextmanager
async def measured(port: int, log: Path, requests: Iterator[bytes]) -> AsyncIterator[Phase]:
    """A phase: webhooks come for as long as the block runs."""
    phase, over = Phase(), asyncio.Event()
    tasks = [asyncio.create_task(steady(port, requests, phase, over))]
    tasks.append(asyncio.create_task(watch(port, log, phase, over)))
    try:
        yield phase
    finally:
        over.set()
        await asyncio.gather(*tasks)


def received_at(database: Path, event: int) -> datetime:
    """When the event at this place of the log was received."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        (at,) = db.execute("SELECT received_at FROM events WHERE order_pk > 0 LIMIT 1 OFFSET ?", (event,)).fetchone()
    return moment(at)


async def prune(session: aiohttp.ClientSession, port: int, before: datetime) -> int:
    """Prune what is older; returns how many rows were expunged."""
    url, headers = f"http://127.0.0.1:{port}/v1/prune", {"Authorization": f"Bearer {KEY}"}
    async with session.post(url, json={"older_than": before.isoformat()}, headers=headers) as response:
        response.raise_for_status()
    while True:
        async with session.get(url, headers=headers) as response:
            latest: dict[str, Any] = (await response.json())["latest"]
        if not latest["running"]:
            if latest["error"]:
                raise RuntimeError(latest["error"])
            return int(latest["receipts"] + latest["events"])
        await asyncio.sleep(LOOK_S * 10)


async def measure(port: int, database: Path, events: int) -> tuple[list[Phase], list[Phase]]:
    """(phases without pruning, phases with it)."""
    log = Path(f"{database}-wal")
    firsts = count(TEMPLATE_ORDERS + 1, INTERLEAVED)
    requests = chain.from_iterable(hooks(INTERLEAVED, first) for first in firsts)
    without, with_pruning = [], []
    reached, number = 0, STEP
    async with aiohttp.ClientSession() as session:
        async with measured(port, log, requests):
            await asyncio.sleep(PHASE_S)  # warms up
        for _ in range(PHASES):
            async with measured(port, log, requests) as phase:
                await asyncio.sleep(PHASE_S)
            without.append(phase)
            reached = min(reached + number, events - 1)
            before, began = await asyncio.to_thread(received_at, database, reached), perf_counter()
            async with measured(port, log, requests) as phase:
                pruning = asyncio.create_task(prune(session, port, before))
                await asyncio.wait([pruning], timeout=PHASE_S)
            phase.expunged = await pruning
            took_s = perf_counter() - began
            # So much that the next phase takes as long as those without.
            number = max(STEP, int(number * PHASE_S / took_s))
            with_pruning.append(phase)
            report(without[-1], phase, took_s)
    return without, with_pruning


def report(without: Phase, phase: Phase, took_s: float) -> None:
    """Print a pair of phases at once."""
    line = f"p99 {without.p(0.99):.1f} / {phase.p(0.99):.1f} ms, expunged {phase.expunged} in {took_s:.1f} s"
    sys.stdout.write(f"{line}, log {phase.log_bytes / 1e6:.0f} MB, longest stall {max(phase.stalls):.0f} ms\n")
    sys.stdout.flush()


def table(without: list[Phase], with_pruning: list[Phase]) -> Table:
    """The medians over the phases."""
    shown = Table("", "goal", "without", "with", "ratio", title=f"{RATE_PER_S:.0f} webhooks a second beside pruning")
    for name, goal, share in (("p50 ms", "", 0.5), ("p99 ms", "≤ 1.2", 0.99), ("p99.9 ms", "", 0.999)):
        theirs, mine = ([phase.p(share) for phase in phases] for phases in (without, with_pruning))
        ratio = statistics.median(mine) / statistics.median(theirs)
        shown.add_row(name, goal, f"{statistics.median(theirs):.1f}", f"{statistics.median(mine):.1f}", f"{ratio:.2f}")
    pooled = [quantile([ms for phase in phases for ms in phase.webhooks], 0.99) for phases in (without, with_pruning)]
    shown.add_row("p99 of all, ms", "≤ 1.2", *(f"{ms:.1f}" for ms in pooled), f"{pooled[1] / pooled[0]:.2f}")
    stalls = [quantile([ms for phase in phases for ms in phase.stalls], 0.999) for phases in (without, with_pruning)]
    shown.add_row("event loop, p99.9 ms", "≤ 50", *(f"{ms:.1f}" for ms in stalls), "")
    logs = [max(phase.log_bytes for phase in phases) / 1e6 for phases in (without, with_pruning)]
    shown.add_row("write-ahead log, MB", "", *(f"{size:.0f}" for size in logs), "")
    return shown


def main(events: int, kept: Path | None) -> None:
    """Make the database, measure, and print the table."""
    with tempfile.TemporaryDirectory(prefix="rescind-bench-") as name:
        folder = Path(name)
        resources, port = folder / "bench.yaml", free_port()
        resources.write_text(RESOURCES % TOKEN)
        command = [sys.executable, "-c", SERVE, str(resources)]
        if kept is not None and kept.is_dir():
            copies = json.loads((kept / "copies.json").read_text())
            for file in kept.glob("bench.db*"):
                shutil.copy(file, folder)
        else:
            with running(command, port, environment(folder, port)):
                uvloop.run(load.run(port, hooks(TEMPLATE_ORDERS, 1)))
            copies = copy(folder / "bench.db", events)
            if kept is not None:
                shutil.copytree(folder, kept)
                (kept / "copies.json").write_text(str(copies))
        with running(command, port, environment(folder, port)):
            number = copies * TEMPLATE_ORDERS * EVENTS_AN_ORDER
            without, with_pruning = uvloop.run(measure(port, folder / "bench.db", number))
        Console().print(table(without, with_pruning))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT, Path(sys.argv[2]) if sys.argv[2:] else None)
