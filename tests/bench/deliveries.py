"""Figures of deliveries. Everything is measured in turn in this run.

- Deliveries a second, recorded on disk, beside a bare aiohttp client loop that posts the same bodies there.
- 1,000 subscriptions: how long after its cause a message arrives (99th percentile), when all work and when 100 hang.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import aiohttp
import structlog
import uvloop
from rich.table import Table

from app.config.subscriptions import SubscriptionSpec, make_secret
from app.core.outbound.message import Message, Target
from app.core.outbound.signing import Signer
from app.core.outbound.types import payload
from app.engine.ledger import Ledger
from app.runtime.ids import Ids
from app.runtime.outgoing import OutgoingHttp
from app.runtime.redaction import Redactor
from app.store import Changes, Store
from app.store.sqlite import open_sqlite
from app.web.connections import allow_files
from app.workers.deliveries.manager import Deliveries
from app.workers.deliveries.send import WebhookSender
from tests.bench.processes import free_port, running

ROUNDS = 5
MESSAGES = 4000
CONNECTIONS = 64
SUBSCRIPTIONS, HANGING = 1000, 100
RATE_PER_S, SECONDS = 200, 10
TIMEOUT_S = 5.0
WAIT_S = 60.0
DATA = (
    b'{"account":"acme","order":"654321","event":"evt_0123456789abcdef0123456789abcdef","test":false,"verdict":{'
    b'"cancelable":"yes","reason":"open","explanation":"The order is open; PlanOmatic cancels it on request.",'
    b'"evidence":["evt_0123456789abcdef0123456789abcdef"],"changes_at":null,"as_of":"2026-03-01T12:00:00Z"},'
    b'"closes_at":null,"previous":null}'
)


class Sending:
    """The workers on a fresh database."""

    def __init__(self, store: Store, http: OutgoingHttp) -> None:
        self.store, self._ids = store, Ids()
        redactor = Redactor()
        ledger = Ledger(store, _no_account, self._ids)
        self.deliveries = Deliveries(
            store,
            ledger,
            self._ids,
            lambda spec: WebhookSender(spec, http, redactor),
            expire=_expire,
            kept=timedelta(days=30),
        )

    async def write(self, subscriptions: Sequence[str]) -> list[Message]:
        """One message for each of these, in one transaction."""
        messages = [
            Message(
                id=self._ids.next(),
                account="acme",
                type="order.verdict_changed",
                order_pk=number,
                at=datetime.now(UTC),
                data=DATA,
                targets=(Target(subscription),),
            )
            for number, subscription in enumerate(subscriptions)
        ]
        async with self.store.transaction() as transaction:
            await transaction.commit(Changes(messages=messages))
        return messages

    async def settled(self) -> None:
        """Wait until nothing is pending."""
        while await self.store.deliveries_due_at(["crm"]):  # noqa: ASYNC110 - the store has no event
            await asyncio.sleep(0.02)


@asynccontextmanager
async def sending() -> AsyncIterator[Sending]:
    """The workers, until the end of the block."""
    with tempfile.TemporaryDirectory() as directory:
        store = await open_sqlite(Path(directory) / "bench.db")
        http = OutgoingHttp((ip_network("127.0.0.0/8"),))
        made = Sending(store, http)
        recording = asyncio.create_task(made.deliveries.record())
        looking = asyncio.create_task(made.deliveries.run())
        try:
            yield made
        finally:
            looking.cancel()
            await made.deliveries.drain(0.1)
            await recording
            await http.close()
            await store.close()


async def bare_rate(url: str, requests: Sequence[tuple[bytes, dict[str, str]]]) -> float:
    """Requests a second of an aiohttp client loop with as many connections, which signs and stores nothing."""
    left = list(requests)

    async def post(session: aiohttp.ClientSession) -> None:
        while left:
            body, headers = left.pop()
            async with session.post(url, data=body, headers=headers) as response:
                await response.read()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        started = time.perf_counter()
        await asyncio.gather(*(post(session) for _ in range(CONNECTIONS)))
        return len(requests) / (time.perf_counter() - started)


async def delivery_rate(url: str) -> tuple[float, list[Message]]:
    """Deliveries a second, from the moment the subscription is enabled until all are recorded."""
    async with sending() as node:
        secret = make_secret()
        fields = {"id": "crm", "url": url, "secret": secret, "concurrency": CONNECTIONS}
        messages = [message for _ in range(MESSAGES // 500) for message in await node.write(["crm"] * 500)]
        started = time.perf_counter()
        node.deliveries.follow({"crm": SubscriptionSpec.model_validate(fields)})
        await node.settled()
        return len(messages) / (time.perf_counter() - started), messages


async def throughput(port: int) -> str:
    """Ours ÷ bare, in several rounds."""
    url, rates = f"http://127.0.0.1:{port}/bare", []
    for _ in range(ROUNDS):
        ours, messages = await delivery_rate(url)
        signer, now = Signer([(make_secret(), None)]), datetime.now(UTC)
        bodies = [payload(message) for message in messages]
        bare = await bare_rate(url, [(body, signer.headers("msg_0", body, now)) for body in bodies])
        rates.append((ours, bare))
        gc.collect()
    shown = ", ".join(f"{ours:,.0f}/{bare:,.0f}" for ours, bare in rates)
    return f"{statistics.median(ours / bare for ours, bare in rates):.2f}  ({shown})"


async def arrivals(port: int, hanging: int) -> tuple[int, float, float]:
    """(messages, median, 99th percentile in seconds) of what the healthy subscriptions receive."""
    base = f"http://127.0.0.1:{port}"
    async with sending() as node, aiohttp.ClientSession() as session:
        specs = {}
        for number in range(SUBSCRIPTIONS):
            path = "hang" if number < hanging else "in"
            fields: dict[str, Any] = {"url": f"{base}/{path}/{number}", "secret": make_secret()}
            specs[f"s{number}"] = SubscriptionSpec.model_validate(
                {"id": f"s{number}", "timeout_s": TIMEOUT_S, **fields}
            )
        node.deliveries.follow(specs)
        names = list(specs)
        # Those that hang have a backlog, as they would.
        await node.write([name for name in names[:hanging] for _ in range(10)])
        node.deliveries.wake(names[:hanging])
        await asyncio.sleep(1)
        await session.delete(f"{base}/latencies")
        healthy, due = set(names[hanging:]), 0
        for tick in range(SECONDS * 20):
            began = time.perf_counter()
            chosen = [names[(tick * 97 + number * 101) % len(names)] for number in range(RATE_PER_S // 20)]
            await node.write(chosen)
            node.deliveries.wake(chosen)
            due += len(healthy.intersection(chosen))
            await asyncio.sleep(max(0.0, 0.05 - (time.perf_counter() - began)))
        return await _latencies(session, f"{base}/latencies", due)


async def _latencies(session: aiohttp.ClientSession, url: str, due: int) -> tuple[int, float, float]:
    """(messages, median, 99th percentile in seconds) when all have arrived: those that come late count most."""
    deadline = time.monotonic() + WAIT_S
    while True:
        async with session.get(url) as response:
            number, median, p99 = await response.json()
        if number >= due:
            return number, median, p99
        if time.monotonic() > deadline:
            raise RuntimeError(f"only {number} of {due} messages to healthy subscriptions have arrived")
        await asyncio.sleep(0.1)


async def bulkhead(port: int) -> str:
    """The 99th percentile without and with subscriptions that hang, in turn."""
    pairs = []
    for _ in range(3):
        pairs.append((await arrivals(port, 0), await arrivals(port, HANGING)))
        gc.collect()
    shown = ", ".join(f"{with_[2] * 1000:.0f}/{without[2] * 1000:.0f} ms" for without, with_ in pairs)
    ratio = statistics.median(with_[2] / without[2] for without, with_ in pairs)
    return f"{ratio:.2f}  (p99 {shown}; {pairs[-1][1][0]} messages)"


async def _measure(port: int) -> list[tuple[str, str, str]]:
    allow_files(SUBSCRIPTIONS * 4)
    return [
        (f"deliveries/s, recorded ÷ bare client loop, {CONNECTIONS} connections", "≥ 0.5", await throughput(port)),
        (f"p99 with {HANGING} of {SUBSCRIPTIONS} hanging ÷ without", "≤ 1.5", await bulkhead(port)),
    ]


async def _expire(_subscription: str) -> None:
    return


def _no_account(account: str) -> Any:
    raise KeyError(account)


def table() -> Table:
    """Both figures, from a process of their own: it sets itself up as the server does."""
    command = [sys.executable, "-m", "tests.bench.deliveries"]
    rows = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    shown = Table("what", "goal", "measured", title="Deliveries")
    for row in rows:
        shown.add_row(*row)
    return shown


def main() -> None:
    """Measure, and print the rows as JSON."""
    # As the server does.
    sys.setswitchinterval(0.0001)
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    port = free_port()
    with running([sys.executable, "-m", "tests.bench.subscriber", str(port)], port, {}):
        print(json.dumps(uvloop.run(_measure(port)), ensure_ascii=False))  # noqa: T201


if __name__ == "__main__":
    main()
