"""What nodes ask of the database while nothing happens does not grow with the accounts: nobody polls by account.

`python -m tests.bench.many_accounts` counts the same with ten thousand.
"""

from __future__ import annotations

import re
import time
from asyncio import sleep
from collections import Counter
from pathlib import Path

import aiohttp
from chaos.cluster import LIMITS, Cluster
from postgres import PostgresServer
from providers import until

ACCOUNTS = 120
STATEMENTS_PER_S = 20
COUNTED_S = 6.0
STATEMENT = re.compile(rb"LOG:  (?:statement|execute [^:]*): (.{0,60})")


async def test_statements_of_quiet_nodes(tmp_path: Path) -> None:
    postgres = PostgresServer(log_statement="all")
    async with aiohttp.ClientSession() as session:
        cluster = Cluster(tmp_path, session, postgres)
        try:
            await cluster.start(3, ACCOUNTS, (), LIMITS)
            assert cluster.watcher is not None
            watcher = cluster.watcher

            async def settled() -> bool:
                await sleep(0.5)
                sql = "SELECT epoch, count(*) FROM @ownership WHERE subject LIKE 'account:%' GROUP BY epoch"
                owned = {row[0]: row[1] for row in await watcher.fetch(sql)}
                return len(owned) == 3 and sum(owned.values()) == ACCOUNTS and 0 not in owned

            await until(settled, "every account to have its owner")
            log, calm = postgres.directory / "log", 0

            async def loaded() -> bool:
                """Whether no lane still reads what it begins with."""
                nonlocal calm
                skipped = log.stat().st_size
                await sleep(2.0)
                calm = calm + 1 if len(STATEMENT.findall(log.read_bytes()[skipped:])) <= 2 * STATEMENTS_PER_S else 0
                return calm == 2

            await until(loaded, "the lanes to have begun")
            skipped, began = log.stat().st_size, time.monotonic()
            await sleep(COUNTED_S)
            statements = Counter(STATEMENT.findall(log.read_bytes()[skipped:]))
            per_s = statements.total() / (time.monotonic() - began)
            assert 0 < per_s <= STATEMENTS_PER_S, statements.most_common()
        finally:
            await cluster.close()
