"""What live streams of the log cost ingest: webhooks/s and the server's CPU time with ten open streams, against none.

Measured in turn in one run. Each stream gets every event. Its client only reads bytes; when the round is over, it must
have had all events.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import uvloop
from rich.table import Table

from tests.bench import load
from tests.bench.payload import bodies
from tests.bench.processes import SERVE, free_port, running

ROUNDS = 7
ORDERS = 600
TAILS = 10
TOKEN = "bench-hook-secret-0123456789"
KEY = "bench-api-key-0123456789-0123456789"
RESOURCES = """
accounts:
  - {id: bench, provider: planomatic, config: {api_key: bench-provider-key}}
endpoints:
  - {id: bench-in, account: bench, verify: {scheme: token, secrets: [%s]}}
"""
_REQUEST = f"GET /v1/events/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n"
_EVENT = b"\ndata: "


def table() -> Table:
    """The rates, the median of the ratios, and how long the streams took to catch up."""
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
        with running([sys.executable, "-c", SERVE, str(resources)], port, environment) as pid:
            rounds = uvloop.run(_measure(port, pid))
    shown = Table("", "goal", "none", "ten", "ratio", title="Webhooks with ten streams of all events")
    for what, goal, none, ten, form in (
        ("webhooks/s", "≥ 0.83", *_columns(rounds, 0), ",.0f"),
        ("webhooks per CPU second", "≥ 0.83", *_columns(rounds, 1), ",.0f"),
    ):
        ratios = [mine / theirs for theirs, mine in zip(none, ten, strict=True)]
        spread = f"{statistics.median(ratios):.2f}  ({min(ratios):.2f} to {max(ratios):.2f})"
        shown.add_row(what, goal, format(statistics.median(none), form), format(statistics.median(ten), form), spread)
    behind = statistics.median(ten.behind_s for _, ten in rounds) * 1000
    shown.add_row("last event after the last response", "", "", f"{behind:,.0f} ms", "")
    return shown


class _Rates(NamedTuple):
    per_s: float
    per_cpu_s: float
    behind_s: float


def _columns(rounds: list[tuple[_Rates, _Rates]], index: int) -> tuple[list[float], list[float]]:
    return [none[index] for none, _ in rounds], [ten[index] for _, ten in rounds]


def _cpu_s(pid: int) -> float:
    """CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _measure(port: int, pid: int) -> list[tuple[_Rates, _Rates]]:
    """(without streams, with ten) of each round."""
    rounds, first = [], 1
    loop = asyncio.get_running_loop()
    for number in range(ROUNDS + 1):
        rates: dict[bool, _Rates] = {}
        for with_tails in (False, True) if number % 2 else (True, False):
            requests = [load.post("/webhooks/bench-in", body, TOKEN) for body in bodies(ORDERS, first)]
            first += ORDERS
            tails = [asyncio.create_task(_tail(port, len(requests))) for _ in range(TAILS if with_tails else 0)]
            await asyncio.sleep(0.5)  # until they are open
            cpu_s = _cpu_s(pid)
            good, seconds = await load.run(port, requests)
            if good != len(requests):
                raise RuntimeError(f"{len(requests) - good} of {len(requests)} requests were not answered 200")
            ended = loop.time()
            await asyncio.gather(*tails)
            behind_s = loop.time() - ended
            rates[with_tails] = _Rates(good / seconds, good / (_cpu_s(pid) - cpu_s), behind_s)
        rounds.append((rates[False], rates[True]))
    return rounds[1:]  # the first warms up


async def _tail(port: int, number: int) -> None:
    """Read a stream until it has given so many events."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    writer.write(_REQUEST.encode())
    events, rest = 0, b""
    while events < number:
        chunk = await reader.read(1 << 18)
        if not chunk:
            raise RuntimeError(f"the stream ended after {events} events")
        events += (rest + chunk).count(_EVENT)
        rest = (rest + chunk)[1 - len(_EVENT) :]
    writer.close()


if __name__ == "__main__":
    from rich.console import Console

    Console().print(table())
