"""The constants of `app/core/capacity.py`: `python -m tests.bench.capacity`. Processor time, memory and bytes.

Processor time (user and system) of the server's process is what carries over to other machines, and what other programs
beside it change least. It has everything that follows a webhook: the index for searches and the hash chain too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from tests.bench import load
from tests.bench.payload import bodies
from tests.bench.processes import SERVE, free_port, running

RESCIND = str(Path(sys.executable).with_name("rescind"))
ORDERS = 4000
EVENTS_AN_ORDER = 5
CANCELS = 400
STREAMS, CONNECTIONS = 80, 200
SUBSCRIPTIONS = 10
TOKEN = "bench-hook-secret-0123456789"
KEY = "bench-api-key-0123456789-0123456789"
WAIT_S = 600.0
RESOURCES = """
accounts:
  - id: bench
    provider: planomatic
    config: {{api_key: y0Ur-AP1-k3y, base_url: "{provider}"}}
    limits: {{requests: 1000, per_s: 1.0}}
    unknown_orders: send
endpoints:
  - {{id: bench-in, account: bench, verify: {{scheme: token, secrets: [{token}]}}}}
"""

Row = tuple[str, float, str]


class Server:
    """A server process, and what it has used."""

    def __init__(self, pid: int, port: int, database: Path) -> None:
        self.pid, self.port, self.database = pid, port, database

    def cpu_s(self) -> float:
        """Processor time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """Resident bytes."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def value(self, sql: str, file: str = "") -> Any:
        """The first column of a query."""
        path = self.database.with_name(file) if file else self.database
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
            return db.execute(sql).fetchone()[0]

    async def settled(self) -> None:
        """Wait until all events are indexed and sealed."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            last = self.value("SELECT max(seq) FROM events")
            sealed = self.value("SELECT max(last_position) FROM log_blocks")
            filled = self.value("SELECT filled_to FROM state", f"{self.database.stem}-index.db")
            if last == sealed == filled:
                return
            await asyncio.sleep(0.5)
        raise TimeoutError("the log is not indexed and sealed")


@contextlib.contextmanager
def server(folder: Path, name: str, more: str = "", provider: str = "http://127.0.0.1:1") -> Iterator[Server]:
    """A server with one account and one endpoint."""
    resources, database, port = folder / f"{name}.yaml", folder / f"{name}.db", free_port()
    resources.write_text(RESOURCES.format(token=TOKEN, provider=provider) + more)
    environment = {
        "RESCIND_DATABASE_URL": f"sqlite:///{database}",
        "RESCIND_PORT": str(port),
        "RESCIND_BOOTSTRAP_KEY": KEY,
        "RESCIND_ALLOW_NETWORKS": "127.0.0.0/8",
        "RESCIND_KEY_RATE_PER_S": "1000000",
        "RESCIND_ENDPOINT_RATE_PER_S": "1000000",
        "RESCIND_CONNECTIONS_PER_ADDRESS": "4096",
        "RESCIND_STREAMS_PER_KEY": "100",
    }
    with running([sys.executable, "-c", SERVE, str(resources)], port, environment) as pid:
        yield Server(pid, port, database)


def _webhooks(orders: int, first: int) -> list[bytes]:
    return [load.post("/webhooks/bench-in", body, TOKEN) for body in bodies(orders, first)]


async def _post(port: int, requests: Sequence[bytes]) -> None:
    good, _ = await load.run(port, requests)
    if good != len(requests):
        raise RuntimeError(f"{len(requests) - good} of {len(requests)} requests were not answered 200")


async def webhooks(server: Server) -> list[Row]:
    """What webhooks cost, in a storm and one after the other, and reads."""
    await asyncio.sleep(3)  # what follows a start
    rows: list[Row] = [
        ("start: processor time", server.cpu_s() * 1e3, "ms"),
        ("start: memory", server.memory() / 1e6, "MB"),
    ]
    await _post(server.port, _webhooks(400, 1))
    await server.settled()
    began = server.cpu_s()
    requests = _webhooks(ORDERS, 401)
    await _post(server.port, requests)
    answered = server.cpu_s()
    await server.settled()
    rows += [
        ("webhook, 64 at once, until answered", (answered - began) / len(requests) * 1e6, "µs"),
        ("webhook, 64 at once, with index and seal", (server.cpu_s() - began) / len(requests) * 1e6, "µs"),
    ]
    requests, began = _webhooks(ORDERS // 5, 401 + ORDERS), server.cpu_s()
    connections, load.CONNECTIONS = load.CONNECTIONS, 1
    await _post(server.port, requests)
    load.CONNECTIONS = connections
    await server.settled()
    rows.append(("webhook, one at a time, with index and seal", (server.cpu_s() - began) / len(requests) * 1e6, "µs"))
    gets = [load.get(f"/v1/accounts/bench/orders/{500_401 + n % ORDERS}/verdict", KEY) for n in range(10_000)]
    began = server.cpu_s()
    await _post(server.port, gets)
    rows.append(("GET verdict", (server.cpu_s() - began) / len(gets) * 1e6, "µs"))
    began = server.cpu_s()
    await asyncio.sleep(20)
    rows.append(("idle: processor time a second", (server.cpu_s() - began) / 20 * 1e3, "ms"))
    return [*rows, ("memory after all webhooks", server.memory() / 1e6, "MB")]


async def memory(server: Server) -> list[Row]:
    """What open connections and streams take."""
    open_ones: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    await asyncio.sleep(3)  # what follows a start
    before = server.memory()
    for _ in range(CONNECTIONS):
        open_ones.append(await asyncio.open_connection("127.0.0.1", server.port))
        open_ones[-1][1].write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        await open_ones[-1][0].readuntil(b"\r\n\r\n")
    idle = (server.memory() - before) / CONNECTIONS
    before = server.memory()
    request = f"GET /v1/events/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n"
    for _ in range(STREAMS):
        open_ones.append(await asyncio.open_connection("127.0.0.1", server.port, limit=1 << 22))
        open_ones[-1][1].write(request.encode())
        await open_ones[-1][0].readuntil(b"\r\n\r\n")
    streams = (server.memory() - before) / STREAMS
    for _, writer in open_ones:
        writer.close()
    return [("memory of an idle connection", idle / 1e3, "KB"), ("memory of a stream", streams / 1e3, "KB")]


def disk(server: Server) -> list[Row]:
    """Bytes an event, in the database and in the index."""
    events = server.value("SELECT count(*) FROM events")
    index = server.database.with_name(f"{server.database.stem}-index.db")
    size = server.value("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
    indexed = server.value("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size", index.name)
    content = server.value("SELECT sum(length(body)) FROM receipts")
    body = len(bodies(1)[0])
    return [
        ("body of a webhook", body, "bytes"),
        ("database", size / events, "bytes an event"),
        ("of which content of receipts, packed", content / events, "bytes an event"),
        ("search index", indexed / events, "bytes an event"),
        ("write-ahead log", Path(f"{server.database}-wal").stat().st_size / 1e6, "MB"),
    ]


def _ran(database: Path, *args: str) -> float:
    """The processor time of a command, in seconds."""
    environment = {**os.environ, "RESCIND_DATABASE_URL": f"sqlite:///{database}"}
    began = os.times()
    subprocess.run([RESCIND, *args], env=environment, check=True, capture_output=True)
    ended = os.times()
    return (ended.children_user + ended.children_system) - (began.children_user + began.children_system)


def maintenance(database: Path) -> list[Row]:
    """What backups and checks cost, less what it costs to start the command."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as db:
        (events,) = db.execute("SELECT count(*) FROM events").fetchone()
    start_s, size = _ran(database, "migrate", "--check"), database.stat().st_size
    copying = _ran(database, "backup", str(database.with_name("copy.db"))) - start_s
    checking = _ran(database, "rebuild", "--check") - start_s
    verifying = _ran(database, "log", "verify") - start_s
    pruned = _pruned(database)
    return [
        ("a command", start_s * 1e3, "ms"),
        ("backup", copying / size * 1e9, "s a GB"),
        ("rebuild --check", checking / events * 1e6, "µs an event"),
        ("log verify", verifying / events * 1e6, "µs an event"),
        *pruned,
    ]


def _pruned(database: Path) -> list[Row]:
    """What stays of an event when its content is expunged."""
    copy = database.with_name("copy.db")
    with closing(sqlite3.connect(copy, isolation_level=None)) as db:
        (events,) = db.execute("SELECT count(*) FROM events").fetchone()
        db.execute("UPDATE receipts SET body = x'', query = '', headers = '', digest = randomblob(32)")
        db.execute("DELETE FROM receipt_dictionaries")
        db.execute("VACUUM")
    return [("database without content of receipts", copy.stat().st_size / events, "bytes an event")]


async def cancels(server: Server, sandbox: str) -> list[Row]:
    """What a cancel costs, from its request until the provider's response is recorded."""
    headers = {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(headers=headers) as session:

        async def create() -> str:
            async with session.post(f"{sandbox}/_sandbox/planomatic/act", json={"do": "create_order"}) as response:
                return str((await response.json())["order_id"])

        limits = {"do": "set_limits", "requests": 1_000_000, "per_s": 1}
        async with session.post(f"{sandbox}/_sandbox/planomatic/act", json=limits) as response:
            response.raise_for_status()
        orders = [await create() for _ in range(CANCELS)]
        began = server.cpu_s()
        body = {"reason": "client_requested_cancelation", "note": "The client no longer wants it."}
        for order in orders:
            url = f"http://127.0.0.1:{server.port}/v1/accounts/bench/orders/{order}/cancellations"
            async with session.post(url, json=body) as response:
                if response.status != 202:
                    raise RuntimeError(await response.text())
        deadline = time.monotonic() + WAIT_S
        while server.value("SELECT count(*) FROM cancellations WHERE state = 'succeeded'") < CANCELS:
            if time.monotonic() > deadline:
                raise TimeoutError(str(server.value("SELECT json_group_array(state) FROM cancellations")))
            await asyncio.sleep(0.2)
    return [("cancel, one call", (server.cpu_s() - began) / CANCELS * 1e6, "µs")]


async def deliveries(plain: Server, subscribed: Server) -> list[Row]:
    """What a delivery costs: a server with ten matching subscriptions against one with none."""
    used, number = [], ORDERS // 5
    for server in (plain, subscribed):
        await _post(server.port, _webhooks(40, 1))
        await _delivered(server)
        began = server.cpu_s()
        await _post(server.port, _webhooks(number, 1000))
        await _delivered(server)
        used.append(server.cpu_s() - began)
    sent = subscribed.value("SELECT count(*) FROM deliveries") * number / (number + 40)
    size = [
        server.value("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
        for server in (plain, subscribed)
    ]
    messages = subscribed.value("SELECT count(*) FROM messages")
    return [
        ("delivery", (used[1] - used[0]) / sent * 1e6, "µs"),
        ("message with ten deliveries", (size[1] - size[0]) / messages, "bytes"),
        ("messages an event", messages / subscribed.value("SELECT count(*) FROM events"), ""),
    ]


async def _delivered(server: Server) -> None:
    await server.settled()
    while server.value("SELECT count(*) FROM deliveries WHERE state = 'pending'"):  # noqa: ASYNC110 - of another process
        await asyncio.sleep(0.5)


def _machine(folder: Path) -> Iterator[list[Row]]:
    with server(folder, "one") as one:
        yield uvloop.run(memory(one))  # first: later there is free memory that it would take
        yield uvloop.run(webhooks(one))
        yield disk(one)
    yield maintenance(one.database)


def _bare(folder: Path) -> Iterator[list[Row]]:
    """The comparator: what a request costs a server that does nothing."""
    port = free_port()
    with running([sys.executable, "-m", "tests.bench.bare", str(port)], port, {}) as pid:
        server, requests = Server(pid, port, folder), _webhooks(ORDERS, 1)
        uvloop.run(_post(port, requests[:2000]))
        began = server.cpu_s()
        uvloop.run(_post(port, requests))
        yield [("bare handler, 64 at once", (server.cpu_s() - began) / len(requests) * 1e6, "µs")]


def _cancels(folder: Path) -> Iterator[list[Row]]:
    provider = free_port()
    sandbox = f"http://127.0.0.1:{provider}"
    with (
        running([RESCIND, "sandbox", "--port", str(provider)], provider, {}),
        server(folder, "two", provider=f"{sandbox}/planomatic") as two,
    ):
        yield uvloop.run(cancels(two, sandbox))


def _deliveries(folder: Path) -> Iterator[list[Row]]:
    sink = free_port()
    lines = [f"  - {{id: s-{n}, url: 'http://127.0.0.1:{sink}/webhooks/s'}}" for n in range(SUBSCRIPTIONS)]
    with (
        running([sys.executable, "-m", "tests.bench.bare", str(sink)], sink, {}),
        server(folder, "plain") as plain,
        server(folder, "full", "\n".join(["subscriptions:", *lines])) as full,
    ):
        yield uvloop.run(deliveries(plain, full))


PARTS = {"bare": _bare, "machine": _machine, "cancels": _cancels, "deliveries": _deliveries}


def main() -> None:
    """Measure the parts given, or all; each figure is printed as it is known."""
    for part in sys.argv[1:] or PARTS:
        with tempfile.TemporaryDirectory(prefix="rescind-bench-") as folder:
            for rows in PARTS[part](Path(folder)):
                for what, value, unit in rows:
                    print(f"{what:50} {value:12,.2f} {unit}", flush=True)  # noqa: T201 - of minutes


if __name__ == "__main__":
    main()
