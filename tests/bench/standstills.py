"""How long each GET of the API and the console holds up the event loop at most, on data that is as bad as it may be.

What counts is the processor time of the loop's thread between two turns of the loop: it is the same on a busy machine.
Run it alone: `python -m tests.bench.standstills`, or with a part of a path for
some of them, and a folder that keeps the data for the next run.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import sys
import tempfile
import threading
import time
import traceback
from asyncio.events import Handle
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import structlog
from rich.console import Console
from rich.table import Table

from app.config.settings import Settings
from app.node import Node
from app.runtime import ids
from app.store import ApiKey
from app.web.console.pages import FILES, PAGES
from app.web.server import ROUTES, start_server

KEY, TOKEN = "bench-api-key-0123456789-0123456789", "bench-hook-secret-0123456789"
MANY, LONG, FAT, LARGE, QUARANTINED = 1000, 3000, 520, 12, 10_000
"""Resources of each kind; events of one order; events of 64 KB; bodies of nearly 1 MB; receipts in quarantine."""
GOAL_S = 0.05
TIMES = 3
"""Each path is asked for so often, and the least counts: what the machine adds is not ours."""
T0 = datetime(2026, 3, 1, tzinfo=UTC)
_ATTRIBUTES = {**{f"text{n}": f"data.text{n}" for n in range(8)}, "n": "data.n"}
_WHOLE = "follow=false&since=2000-01-01T00:00:00Z"
_QUERIES = {
    "/v1/orders": ("", "text=fat", "account=bench&cancelable=yes"),
    "/v1/events": ("", "account=bench", "account=bench&order=long", "text=fat"),
    "/v1/events/facets": ("", "account=bench", "text=fat"),
    "/v1/events/stream": (
        "follow=false&since=2000-01-01T00:00:00Z",
        "follow=false&since=2000-01-01T00:00:00Z&text=fat",
    ),
    "/v1/receipts": ("", "status=quarantined", "text=fat"),
    "/v1/receipts/{id}": ("", "raw=true"),
    "/orders/{account}/{order}": ("", "page=1"),
    "/search": ("q=fat", "q=long", "q=fat-5"),
    "/events": ("", "text=fat", "live="),
    "/receipts/{id}": ("", "raw=true"),
    "/quarantine": ("", "reason=malformed"),
}


class Turns:
    """The longest turn of an event loop since the last look, in processor time of its thread."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self.long: list[str] = []
        """What was done in each turn over the goal."""
        self._began, self._stack = 0.0, ""

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch the loop of this thread."""
        loop, run = asyncio.get_running_loop(), Handle._run

        def timed(handle: Handle) -> None:
            if handle._loop is not loop:
                return run(handle)
            began, self._began, self._stack = time.thread_time(), time.monotonic(), ""
            run(handle)
            self._began = 0.0
            took_s = time.thread_time() - began
            if took_s > GOAL_S:
                self.long.append(f"{took_s * 1e3:.0f} ms: {self._stack or handle}")
            self.longest_s = max(self.longest_s, took_s)
            return None

        Handle._run = timed  # type: ignore[method-assign]
        threading.Thread(target=self._sample, args=(threading.get_ident(),), daemon=True).start()
        try:
            yield
        finally:
            Handle._run = run  # type: ignore[method-assign]

    def _sample(self, thread: int) -> None:
        """Keep what the loop's thread does in a long turn."""
        while True:
            time.sleep(GOAL_S / 2)
            if self._began and time.monotonic() - self._began > GOAL_S and not self._stack:
                frames = traceback.extract_stack(sys._current_frames()[thread])
                places = (f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames)
                self._stack = " > ".join(list(places)[-7:])


async def measure(folder: str, part: str, turns: Turns) -> list[tuple[float, int, int, str]]:
    """(longest turn in seconds, status, bytes, path), the longest first. A folder that was filled before stays so."""
    is_filled = Path(folder, "bench.db").exists()  # noqa: ASYNC240 - nothing waits yet
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with turns.watched():
        settings = Settings(
            database_url=f"sqlite:///{folder}/bench.db",
            bootstrap_key=KEY,  # type: ignore[arg-type]
            port=0,
            key_rate_per_s=0,
            endpoint_rate_per_s=0,
            log_level="error",
        )
        node = await Node.start(settings)
        runner, url = await start_server(node)
        try:
            if not is_filled:
                await _configure(node)
            rows = await asyncio.to_thread(lambda: asyncio.run(_drive(url, turns, part, is_filled=is_filled)))
        finally:
            await runner.cleanup()
            await node.stop()
    return sorted(rows, reverse=True)


async def _configure(node: Node) -> None:
    fields = {"order": "data.id", "status": "data.status", "attributes": _ATTRIBUTES}
    config = {
        "base_url": "http://127.0.0.1:1",
        "fields": fields,
        "phases": {"placed": "open"},
        "cancel": {"url": "/cancel"},
    }
    names = ["bench", *(f"bench-{n:04}" for n in range(MANY))]
    verify = {"scheme": "token", "secrets": [TOKEN]}
    await node.apply(
        {
            "accounts": [{"id": name, "provider": "generic", "config": config} for name in names],
            "endpoints": [{"id": f"{name}-in", "account": name, "verify": verify} for name in names],
            "subscriptions": [
                {"id": name, "url": f"https://{name}.example/", "events": ["policy.proposed"]} for name in names
            ],
            "policies": [
                {
                    "id": name,
                    "accounts": [name],
                    "when": 'order.phase == "open" && size(order.appointments) == 0',
                    "cancel": {"reason": "bench"},
                    "mode": "shadow",
                }
                for name in names
            ],
        },
        by="bench",
    )
    for n in range(MANY):
        key = ApiKey(ids.show(ids.KEY, node.ids.next()), f"key {n}", "read", n.to_bytes(32, "big"), T0, "bench")
        await node.store.save_key(key, None)
    await node.keys.load()


async def _drive(url: str, turns: Turns, part: str, *, is_filled: bool) -> list[tuple[float, int, int, str]]:
    """Send the hostile webhooks, then ask for every path. Runs in a thread of its own."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar, headers={"Connection": "close"}) as session:
        rows = []
        if not is_filled:
            turns.longest_s = 0.0
            await _tell(session, url)
            rows.append((turns.longest_s, 200, 0, "the webhooks themselves"))
        async with session.post(f"{url}/sign-in", data={"key": KEY}) as answer:
            assert answer.status == 200, await answer.text()
        authorized = {"Authorization": f"Bearer {KEY}"}

        async def get(path: str) -> Any:
            async with session.get(url + path, headers=authorized) as answer:
                return await answer.json()

        variables = await _variables(get)
        for path in _paths(variables):
            if part not in path:
                continue
            longest, status, size = 1e9, 0, 0
            for _ in range(TIMES):
                turns.longest_s = 0.0
                async with session.get(url + path, headers=authorized if "/v1/" in path else {}) as answer:
                    status, size = answer.status, len(await answer.read())
                longest = min(longest, turns.longest_s)
            rows.append((longest, status, size, path))
    return rows


async def _tell(session: aiohttp.ClientSession, url: str) -> None:
    async def post(body: bytes, type: str, status: int = 200) -> None:
        headers = {"Content-Type": type, "Authorization": f"Bearer {TOKEN}"}
        async with session.post(f"{url}/webhooks/bench-in", data=body, headers=headers) as answer:
            assert answer.status == status, (answer.status, await answer.text())

    def event(n: int, order: str, **more: Any) -> dict[str, Any]:
        at = (T0 + timedelta(seconds=n)).isoformat()
        told = {"specversion": "1.0", "id": f"e{order}{n}", "source": "/shop", "type": "t", "time": at}
        return {**told, "data": {"id": order, "status": "placed", "n": n, **more}}

    batch, single = "application/cloudevents-batch+json", "application/cloudevents+json"
    for start in range(0, LONG, 500):
        await post(json.dumps([event(n, "long") for n in range(start, start + 500)]).encode(), batch)
    for n in range(FAT):
        await post(json.dumps(event(n, f"fat-{n}", **_texts(n))).encode(), single)
    for n in range(LARGE):
        rows = {"rows": [{"key": f"value {i}", "<b>": i} for i in range(20_000)]}
        await post(json.dumps(event(n, "large", **_texts(n), **rows)).encode(), single)
        body = b'{"no": [' + b'"fat", ' * 140_000 + b'"order"]}'
        await post(body, "application/json", 202)
    waiting = asyncio.Semaphore(16)

    async def malformed(n: int) -> None:
        async with waiting:
            await post(b'{"number": %d}' % n, "application/json", 202)

    await asyncio.gather(*(malformed(n) for n in range(QUARANTINED)))
    async with session.post(
        f"{url}/v1/accounts/bench/orders/long/cancellations",
        json={"reason": "bench"},
        headers={"Authorization": f"Bearer {KEY}"},
    ) as answer:
        assert answer.status in (202, 409), await answer.text()


def _texts(n: int) -> dict[str, str]:
    """As much as an event may have of the order's attributes."""
    words = " ".join(f"fat{n}x{i}" for i in range(1600))
    return {name: words[:8000] for name in _ATTRIBUTES if name != "n"}


async def _variables(get: Any) -> dict[str, list[str]]:
    """Values for the variables of paths."""
    event = (await get("/v1/events?account=bench&order=large&limit=1"))["data"][0]
    malformed = (await get("/v1/receipts?account=bench&status=quarantined&limit=500"))["data"]
    large = max(malformed, key=lambda receipt: receipt["size"])
    cancellations = (await get("/v1/cancellations?limit=1"))["data"]
    keys = (await get("/v1/keys?limit=1"))["data"]
    return {
        "events": [event["id"]],
        "receipts": [event["receipt"], large["id"]],
        "cancellations": [one["id"] for one in cancellations],
        "keys": [one["id"] for one in keys],
        **{kind: ["bench"] for kind in ("accounts", "policies", "subscriptions")},
        "endpoints": ["bench-in"],
        "orders": ["long", "large", "fat-5"],
    }


def _paths(variables: dict[str, list[str]]) -> Iterator[str]:
    """Every path with values for its variables, and the largest pages of lists."""
    limits = {route.path for route in ROUTES if "limit" in route.query.model_fields}
    routes = [route.path for route in ROUTES if route.method == "GET"]
    for template in (*routes, *(page.path for page in (*PAGES, *FILES) if page.method == "GET")):
        if template == "/events/stream":
            continue  # It does not end; the API's is the same.
        for path in _filled(template, variables):
            for query in _QUERIES.get(template, ("",)):
                given = f"{query}&limit=500" if template in limits and _WHOLE not in query else query
                yield f"{path}?{given.lstrip('&')}" if given else path


def _filled(template: str, variables: dict[str, list[str]]) -> list[str]:
    path = template.replace("{account}", "bench").replace("{kind}", "accounts")
    if "{backtest}" in path or "{message}" in path:
        return []
    kind = "accounts" if "{kind}" in template else template.removeprefix("/v1").split("/")[1]
    if "{order}" in path:
        return [path.replace("{order}", order) for order in variables["orders"]]
    return [path.replace("{id}", id) for id in variables.get(kind, ())] if "{id}" in path else [path]


def table(part: str = "", folder: str = "") -> tuple[Turns, Table]:
    """What was watched, and the longest turns."""
    turns = Turns()
    # As the server does; see `app.serve`.
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)
    with tempfile.TemporaryDirectory(prefix="rescind-bench-") as made:
        rows = asyncio.run(measure(folder or made, part, turns))
    shown = Table("longest turn", "status", "size", "path", title=f"The event loop (goal: {GOAL_S * 1e3:.0f} ms)")
    for longest_s, status, size, path in rows:
        style = "red" if longest_s > GOAL_S else None
        shown.add_row(f"{longest_s * 1e3:,.1f} ms", str(status), f"{size:,}", path, style=style)
    return turns, shown


def main() -> None:
    """Print the table, then what was done in turns that were too long, also those that were not asked for."""
    console = Console(width=140)
    turns, shown = table(*sys.argv[1:3])
    console.print(shown)
    for line in turns.long:
        console.print(line)


if __name__ == "__main__":
    main()
