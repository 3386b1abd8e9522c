"""How long the event loop stands still at most while one order with thousands of events is read and written.

It is measured from outside: a second connection asks for `/healthz` all the time, and waits as long as the loop stands
still, and for its own way there and back, which the first row has.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from rich.table import Table

from tests.bench.processes import SERVE, free_port, running

EVENTS, LATE = 3000, 1000
TOKEN = "bench-hook-secret-0123456789"
KEY = "bench-api-key-0123456789-0123456789"
RESOURCES = """
accounts:
  - id: bench
    provider: generic
    config:
      base_url: http://127.0.0.1:1
      fields: {order: data.id, status: data.status, aliases: {unique: data.number}}
      phases: {placed: open}
      cancel: {url: /cancel}
endpoints:
  - {id: bench-in, account: bench, verify: {scheme: token, secrets: [%s]}}
"""
T0 = datetime(2026, 3, 1, tzinfo=UTC)


def table() -> Table:
    """Each piece of work with what it took, and the longest pause meanwhile."""
    with tempfile.TemporaryDirectory(prefix="rescind-bench-") as folder:
        resources, port = Path(folder, "bench.yaml"), free_port()
        resources.write_text(RESOURCES % TOKEN)
        environment = {
            "RESCIND_DATABASE_URL": f"sqlite:///{folder}/bench.db",
            "RESCIND_PORT": str(port),
            "RESCIND_BOOTSTRAP_KEY": KEY,
            # The limits count, and let all pass.
            "RESCIND_KEY_RATE_PER_S": "1000000",
            "RESCIND_ENDPOINT_RATE_PER_S": "1000000",
        }
        with running([sys.executable, "-c", SERVE, str(resources)], port, environment):
            rows = asyncio.run(_measure(f"http://127.0.0.1:{port}"))
    shown = Table("what", "took", "longest pause", title="The longest pause of the event loop (goal: 50 ms)")
    for what, took_s, pause_s in rows:
        shown.add_row(what, f"{took_s * 1e3:,.0f} ms", f"{pause_s * 1e3:,.0f} ms")
    return shown


async def _measure(url: str) -> list[tuple[str, float, float]]:
    headers = {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(url, headers=headers) as session, aiohttp.ClientSession(url) as watching:
        rows: list[tuple[str, float, float]] = []

        async def measure(what: str, work: Callable[[], Awaitable[None]]) -> None:
            waits: list[float] = []
            watcher = asyncio.create_task(_watch(watching, waits))
            await asyncio.sleep(0.1)
            waits.clear()
            began = time.perf_counter()
            await work()
            took_s = time.perf_counter() - began
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher
            rows.append((what, took_s, max(waits)))

        async def tell(first: int, count: int, **more: Any) -> None:
            events = [_event(first + n, **more) for n in range(count)]
            batch = {"Content-Type": "application/cloudevents-batch+json"}
            body = json.dumps(events).encode()
            async with watching.post(f"/webhooks/bench-in?token={TOKEN}", data=body, headers=batch) as answer:
                await _whole(answer)

        async def timeline() -> None:
            cursor: str | None = ""
            while cursor is not None:
                query = {"limit": "500", **({"cursor": cursor} if cursor else {})}
                async with session.get("/v1/accounts/bench/orders/long/timeline", params=query) as answer:
                    cursor = json.loads(await _whole(answer))["next_cursor"]

        for start in range(LATE, LATE + EVENTS, 500):
            await tell(10 * LATE + start, 500)
        await measure("nothing", lambda: asyncio.sleep(1.0))
        await measure(f"a timeline of {EVENTS:,} events, page by page", timeline)
        await measure(f"{LATE:,} late events in one webhook", lambda: tell(0, LATE))
        await measure("one late event", lambda: tell(5 * LATE, 1))
        await measure(f"a timeline of {EVENTS + LATE:,} events, {LATE:,} of them late", timeline)
        # What only a caller spoke of becomes one with what the source calls it.
        async with session.post("/v1/accounts/bench/orders/alias/cancellations", json={"reason": "bench"}) as answer:
            await _whole(answer)
        joined = f"an order of {EVENTS + LATE:,} events becomes one with another"
        await measure(joined, lambda: tell(9, 1, number="alias"))
        return rows


async def _watch(session: aiohttp.ClientSession, waits: list[float]) -> None:
    while True:
        began = time.perf_counter()
        async with session.get("/healthz") as answer:
            await answer.read()
        waits.append(time.perf_counter() - began)


async def _whole(answer: aiohttp.ClientResponse) -> bytes:
    body = await answer.read()
    if answer.status >= 300:
        raise RuntimeError(f"{answer.status}: {body[:500]!r}")
    return body


def _event(at_s: int, **more: Any) -> dict[str, Any]:
    at = (T0 + timedelta(seconds=at_s)).isoformat()
    told = {"specversion": "1.0", "id": f"e{at_s}{more}", "source": "/shop", "type": "t", "time": at}
    return {**told, "data": {"id": "long", "status": "placed", **more}}
