"""What the console and the API's lists take on a big database: `python -m tests.bench.console /tmp/big/rescind.db`.

Starts a server on a database of `tests.bench.big_database`, waits until it is ready, and asks for each list, page and
look-up several times; then, where there is Chromium, opens the pages in it. Prints the median and the longest time of
each, its size, and the server's memory. What is over its goal is marked.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import statistics
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import aiohttp
from rich.console import Console
from rich.table import Table

from tests.bench.processes import SERVE, free_port, running
from tests.bench.recorded import KEY, LONG, environment

OPEN = "from app.serve import run; from app.config.settings import Settings; run(Settings())"
RUNS = 5
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
GOAL_MS, GOAL_KB, GOAL_PAINT_MS = 50, 200, 300
_AUTH = {"Authorization": f"Bearer {KEY}"}
_NAMED = re.compile(r"{(\w+)}")
_METRICS = """() => ({
    paint: performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0,
    bytes: [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
        .reduce((sum, entry) => sum + entry.encodedBodySize, 0)})"""


@dataclass(frozen=True, slots=True)
class Server:
    """A server process on a big database."""

    url: str
    pid: int
    ready_s: float

    @property
    def rss_mb(self) -> float:
        """Memory that the process holds of its own; mapped pages of the database are the system's."""
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{self.pid}/status").read_text().splitlines())
        return int(fields["RssAnon"].split()[0]) / 1024

    @property
    def cpu_s(self) -> float:
        """CPU seconds that the process has used."""
        return sum(
            int(Path(thread, "schedstat").read_text(encoding="ascii").split()[0]) / 1e9
            for thread in Path(f"/proc/{self.pid}/task").iterdir()
        )


@asynccontextmanager
async def serving(database: Path, resources: Path | None = None) -> AsyncIterator[Server]:
    """A server on the database, with further resources, from when it says that it is ready."""
    port, began = free_port(), time.monotonic()
    command = ["-c", OPEN] if resources is None else ["-c", SERVE, str(resources)]
    process = running([sys.executable, *command], port, environment(database, port))
    pid = await asyncio.to_thread(process.__enter__)
    try:
        url = f"http://127.0.0.1:{port}"
        async with aiohttp.ClientSession(url) as session:
            while True:
                async with session.get("/readyz") as response:
                    if response.status == 200:
                        break
                await asyncio.sleep(0.02)
        yield Server(url, pid, time.monotonic() - began)
    finally:
        await asyncio.to_thread(process.__exit__, None, None, None)


async def _json(session: aiohttp.ClientSession, path: str) -> Any:
    async with session.get(path, headers=_AUTH) as response:
        if response.status != 200:
            raise RuntimeError(f"{path}: {response.status} {await response.text()}")
        return await response.json()


async def _first(session: aiohttp.ClientSession, path: str) -> dict[str, Any]:
    """The last of a page of a list: one that is a little older than the newest."""
    found: dict[str, Any] = (await _json(session, path))["data"][-1]
    return found


async def samples(session: aiohttp.ClientSession) -> dict[str, str]:
    """Ids of things that are there."""
    order = await _first(session, "/v1/orders?phase=completed&limit=40")
    long = await _first(session, "/v1/orders?account=plano-0001&limit=1")
    cancellation = await _first(session, "/v1/cancellations?state=succeeded&limit=40")
    delivery = await _first(session, "/v1/subscriptions/erp/deliveries?limit=40")
    return {
        "order": f"{order['account']}/{order['id']}",
        "id": order["id"],
        "long": f"{long['account']}/{long['id']}",
        "canceled": f"{cancellation['account']}/{cancellation['order']}",
        "cancellation": cancellation["id"],
        "attempt": (await _first(session, f"/v1/attempts?cancellation={cancellation['id']}"))["id"],
        "event": (await _first(session, "/v1/events?limit=40"))["id"],
        "receipt": (await _first(session, "/v1/receipts?limit=40"))["id"],
        "message": delivery["message"]["id"] if isinstance(delivery["message"], dict) else delivery["message"],
    }


def times(now: datetime) -> dict[str, str]:
    named = {"now": now, "hour": now + timedelta(hours=1), "past": now - timedelta(days=30)}
    named |= {"past_hour": named["past"] + timedelta(hours=1), "yesterday": now - timedelta(days=1)}
    return {name: quote(moment.isoformat()) for name, moment in named.items()}


def _filled(wanted: str, given: Mapping[str, str]) -> list[str]:
    """The paths; those of things that are not there are left out."""
    return [path.format_map(given) for path in wanted.split() if set(_NAMED.findall(path)) <= given.keys()]


def lists(given: Mapping[str, str]) -> list[str]:
    """Requests to the API."""
    wanted = """
        /v1/overview /v1/overview?account=plano-0000 /v1/overview?account=shop-0007 /v1/status
        /v1/orders /v1/orders?account=plano-0000 /v1/orders?account=plano-0042 /v1/orders?cancelable=yes
        /v1/orders?phase=open /v1/orders?phase=in_progress /v1/orders?phase=completed /v1/orders?reason=nonesuch
        /v1/orders?account=plano-0042&phase=open /v1/orders?reason=already_canceled
        /v1/orders?account=shop-0007&reason=already_canceled
        /v1/orders?closes_after={now}&closes_before={hour} /v1/orders?account=shop-0000&closes_before={hour}
        /v1/orders?opened_since={past}&opened_until={past_hour} /v1/orders?text={id} /v1/orders?text=1012
        /v1/orders?text=nonesuch
        /v1/events /v1/events?account=plano-0042 /v1/events?type=order.canceled /v1/events?type=cancellation.*
        /v1/events?source=operator /v1/events?since={past}&until={past_hour} /v1/events?account=shop-0007&since={past}
        /v1/events?text=city77 /v1/events?text=Larimer /v1/events?text=NH-{id} /v1/events?text=nonesuch
        /v1/events?text=city77&account=shop-0007 /v1/events?text=nam /v1/events?receipt={receipt}
        /v1/events/facets /v1/events/facets?account=plano-0042 /v1/events/facets?text=city77 /v1/events/{event}
        /v1/receipts /v1/receipts?account=plano-0042 /v1/receipts?status=quarantined /v1/receipts?status=accepted
        /v1/receipts?account=shop-0007&status=quarantined /v1/receipts?status=ignored /v1/receipts?text=lost
        /v1/receipts?since={past}&until={past_hour} /v1/receipts?account=plano-0042&since={past}&until={past_hour}
        /v1/receipts/{receipt}
        /v1/cancellations /v1/cancellations?account=plano-0042 /v1/cancellations?state=refused
        /v1/cancellations?state=succeeded /v1/cancellations?state=failed /v1/cancellations?waiting=approval
        /v1/cancellations?account=shop-0007&state=refused /v1/cancellations?since={past}&until={past_hour}
        /v1/cancellations?account=shop-0007&since={past}&until={past_hour} /v1/cancellations/{cancellation}
        /v1/attempts /v1/attempts?account=plano-0042 /v1/attempts?kind=probe /v1/attempts?outcome=refused
        /v1/attempts?account=plano-0042&outcome=refused /v1/attempts?since={past}&until={past_hour}
        /v1/attempts/{attempt}
        /v1/subscriptions /v1/subscriptions/erp/deliveries /v1/subscriptions/erp/deliveries?state=failed
        /v1/subscriptions/erp/deliveries?state=pending /v1/subscriptions/erp/deliveries?state=delivered
        /v1/messages/{message} /v1/changes /v1/accounts /v1/endpoints
        /v1/accounts/{order_} /v1/accounts/{long_} /v1/accounts/{long_}/timeline /v1/accounts/{long_}/explanation
        /v1/accounts/{long_}?at={past} /v1/accounts/{order_}/cancellations /v1/log/checkpoints
    """
    ways = {f"{name}_": value.replace("/", "/orders/") for name, value in given.items()}
    return _filled(wanted, {**given, **ways})


def pages(given: Mapping[str, str]) -> list[str]:
    """Pages of the console."""
    wanted = """
        / /?account=plano-0000 /orders /orders?cancelable=yes /orders?closes_after={now}&closes_before={hour}
        /orders?account=plano-0042 /orders/{order} /orders/{canceled} /orders/{long} /orders/{long}?at={past}
        /orders/{order}/cancel /search?text={id} /events /events?type=cancellation.* /events?text=city77 /events/{event}
        /receipts /receipts?status=quarantined /receipts/{receipt} /quarantine /cancellations
        /cancellations?state=refused /cancellations/{cancellation} /accounts /accounts/plano-0000 /endpoints
        /endpoints/plano-0000-in /subscriptions /subscriptions/erp /messages/{message} /policies /keys /audit
    """
    return _filled(wanted, given)


class Measured(NamedTuple):
    """A request, after a first one that is not counted."""

    took_ms: list[float]
    cpu_ms: float
    """Of the server, the mean of all runs: it tells more than the time where others use the machine."""
    size: int
    """Bytes as sent."""
    about: str


async def measure(server: Server, session: aiohttp.ClientSession, path: str, headers: Mapping[str, str]) -> Measured:
    """Ask several times."""
    took, size, about, cpu_s = list[float](), 0, "", 0.0
    for run in range(RUNS + 1):
        if path in ("/", "/v1/overview"):
            await asyncio.sleep(1.1)  # an answer counts for a second
        began, used = time.perf_counter(), server.cpu_s
        async with session.get(path, headers=headers) as response:
            body = await response.read()
        if run:
            took.append((time.perf_counter() - began) * 1000)
            cpu_s += server.cpu_s - used
        size = int(response.headers.get("Content-Length", len(body)))
        about = "" if response.status == 200 else str(response.status)
        if response.content_type == "application/json":
            given = await response.json()
            if isinstance(given.get("data"), list):
                about += f" {len(given['data'])} rows{'' if given.get('complete', True) else ', incomplete'}"
    return Measured(took, cpu_s / RUNS * 1000, size, about.strip())


async def sign_in(url: str) -> str:
    """The cookie of a session of the console."""
    async with aiohttp.ClientSession(url, cookie_jar=aiohttp.DummyCookieJar()) as session:
        sent = {"Origin": url, "Sec-Fetch-Site": "same-origin"}
        async with session.post("/sign-in", data={"key": KEY}, headers=sent, allow_redirects=False) as response:
            return "; ".join(f"{name}={cookie.value}" for name, cookie in response.cookies.items())


async def paints(url: str, cookie: str, paths: list[str]) -> list[tuple[str, list[float], float]]:
    """(page, milliseconds until something is shown, KB that were transferred at the first visit) in Chromium."""
    from playwright.async_api import async_playwright  # noqa: PLC0415 - only where there is a browser

    name, _, value = cookie.partition("=")
    results = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        for path in paths:
            shown, size = list[float](), 0.0
            context = await browser.new_context(base_url=url)
            await context.add_cookies([{"name": name, "value": value, "url": url}])
            page = await context.new_page()
            for run in range(4):
                await page.goto(path, wait_until="load")
                await page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
                metrics = await page.evaluate(_METRICS)
                shown.append(metrics["paint"])
                size = size if run else metrics["bytes"] / 1024
            results.append((path, shown, size))
            await context.close()
        await browser.close()
    return results


def _mark(value: float, goal: float, form: str) -> str:
    return f"{value:{form}}" + (" !" if value > goal else "")


async def main(database: Path, only: str = "") -> None:
    console = Console(width=150)
    async with serving(database) as server, aiohttp.ClientSession(server.url) as session:
        console.print(f"ready after {server.ready_s:.1f} s, {server.rss_mb:.0f} MB")
        given = await samples(session) | times(datetime.now(UTC))
        cookie = await sign_in(server.url)
        asked = [("API", lists(given), _AUTH), ("Console", pages(given), {"Cookie": cookie, "Accept-Encoding": "gzip"})]
        for title, paths, headers in asked:
            table = Table(
                "request", "shortest ms", "median", "longest", "CPU ms", "KB", "", title=f"{title}: {RUNS} times each"
            )
            for path in paths:
                if only not in path:
                    continue
                took, cpu_ms, size, about = await measure(server, session, path, headers)
                shown = [f"{value:.0f}" for value in (min(took), statistics.median(took), max(took))]
                shown[0] = _mark(min(took), GOAL_MS, ".0f")
                table.add_row(path[:90], *shown, f"{cpu_ms:.0f}", _mark(size / 1024, GOAL_KB, ".0f"), about)
            console.print(table)
        console.print(f"then {server.rss_mb:.0f} MB; the longest order has {LONG} events")
        if BROWSER is not None:
            title = "Chromium: at the first visit, and the best of three more"
            table = Table("page", "first paint ms", "and again", "KB", title=title)
            for path, shown, size in await paints(server.url, cookie, [path for path in pages(given) if only in path]):
                again = _mark(min(shown[1:]), GOAL_PAINT_MS, ".0f")
                first = _mark(shown[0], GOAL_PAINT_MS, ".0f")
                table.add_row(path[:90], first, again, _mark(size, GOAL_KB, ".0f"))
            console.print(table)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:3]))
