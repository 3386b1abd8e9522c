"""What three nodes ask of PostgreSQL while nothing happens, with ten thousand accounts: statements a second, by kind.

    python -m tests.bench.many_accounts [--accounts 10000] [--nodes 3] [--seconds 30]

Every statement that the server logs is counted (`log_statement = all`): heartbeats, ownership, polling, and what else.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from rich.console import Console
from rich.table import Table

from tests.bench import on_postgres
from tests.bench.processes import processor_seconds
from tests.postgres import PostgresServer

SETTLED_S, LOOKS_S = 600.0, 1.0
SETTLED_LOOKS = 5
"""Ownership is settled when it is balanced and the same so many times in a row."""
STATEMENT = re.compile(r"LOG:  (?:statement|execute [^:]*): (.*)")
SHOWN = 100
"""Characters of a statement."""


@dataclass(frozen=True, slots=True)
class Quiet:
    """What was asked while nothing happened."""

    statements: Counter[str]
    seconds: float
    nodes_cpu: float
    """Of a processor, of all nodes together."""
    database_cpu: float
    settled_s: float
    """How long it took until every account had its owner, after the last node was there."""

    @property
    def per_s(self) -> float:
        return self.statements.total() / self.seconds


def resources(accounts: int) -> str:
    """A resource file with so many accounts."""
    ids = [f"merchant-{number:05d}" for number in range(accounts)]
    made = [f"  - {{id: {id}, provider: planomatic, config: {{api_key: key-of-{id}}}}}" for id in ids]
    return "\n".join(["accounts:", *made]) + "\n"


async def settle(server: PostgresServer, accounts: int, nodes: int) -> float:
    """Wait until every account is owned, by nodes that own about as many each; returns how long that took."""
    sql = "SELECT epoch, count(*) FROM rescind.ownership WHERE subject LIKE 'account:%' AND epoch > 0 GROUP BY epoch"
    connection = await asyncpg.connect(server.url)
    began, before, same = time.monotonic(), dict[int, int](), 0
    try:
        while same < SETTLED_LOOKS:
            await asyncio.sleep(LOOKS_S)
            now = {row[0]: row[1] for row in await connection.fetch(sql)}
            same = same + 1 if now == before and sum(now.values()) == accounts and len(now) == nodes else 0
            before = now
            if time.monotonic() > began + SETTLED_S:
                raise RuntimeError(f"ownership did not settle within {SETTLED_S:g} s: {now}")
    finally:
        await connection.close()
    return time.monotonic() - began - SETTLED_LOOKS * LOOKS_S


def logged(server: PostgresServer, skipped: int) -> Counter[str]:
    """The statements in the server's log after so many bytes."""
    with (server.directory / "log").open("rb") as log:
        log.seek(skipped)
        text = log.read().decode(errors="replace")
    return Counter(" ".join(line.split())[:SHOWN] for line in STATEMENT.findall(text))


def measure(accounts: int, nodes: int, seconds: float) -> Quiet:
    """Start everything, let it settle, and count."""
    with tempfile.TemporaryDirectory(prefix="rescind-bench-") as name, contextlib.ExitStack() as started:
        folder = Path(name)
        database = started.enter_context(on_postgres.database(folder, log_statement="all"))
        file = folder / "resources.yaml"
        file.write_text(resources(accounts))
        pids = []
        for number in range(nodes):
            given = file if number == 0 else None
            pids.append(started.enter_context(on_postgres.serving(database.url, "rescind", given, 1))[1])
        settled_s = asyncio.run(settle(database.server, accounts, nodes))
        size = (database.server.directory / "log").stat().st_size
        before, database_before = sum(map(processor_seconds, pids)), processor_seconds(database.pid)
        time.sleep(seconds)
        cpu, database_cpu = sum(map(processor_seconds, pids)) - before, processor_seconds(database.pid)
        statements = logged(database.server, size)
    return Quiet(statements, seconds, cpu / seconds, (database_cpu - database_before) / seconds, settled_s)


def main() -> None:
    """Measure as the arguments say, and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--accounts", type=int, default=10_000)
    options.add_argument("--nodes", type=int, default=3)
    options.add_argument("--seconds", type=float, default=30.0)
    given = options.parse_args()
    quiet = measure(given.accounts, given.nodes, given.seconds)
    table = Table("statements/s", "statement")
    for statement, number in quiet.statements.most_common():
        table.add_row(f"{number / quiet.seconds:.2f}", statement)
    Console(width=120).print(table)
    sys.stdout.write(
        f"{quiet.per_s:.1f} statements/s in all; processor: nodes {quiet.nodes_cpu:.2f}, database"
        f" {quiet.database_cpu:.2f}; settled after {quiet.settled_s:.0f} s\n"
    )


if __name__ == "__main__":
    main()
