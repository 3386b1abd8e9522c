"""The store alone: the same commits through SQLite and PostgreSQL, without the ledger's decisions and without HTTP.

What one event costs PostgreSQL is measured beside it: bytes of its write-ahead log and on disk, and how many updates of
orders stayed within their page (HOT).
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import uvloop
from rich.table import Table

from app.contract import Facts, Order, Phase, Source
from app.core.aggregate import OrderAggregate
from app.core.event import Event, event_id
from app.runtime.ids import Ids
from app.store import Changes, OrderWrite, Receipt, Store
from app.store.opening import open_store
from app.store.postgres.connection import Target
from tests.bench import on_postgres
from tests.bench.payload import bodies

ROUNDS = 5
ORDERS, EVENTS, BATCH = 1024, 4, 32
"""Orders of a round, the events of each, and how many come in one commit."""
NOW = datetime.now(UTC)
WRITERS = (1, 4)
_HOT = """SELECT n_tup_hot_upd, n_tup_upd FROM pg_stat_all_tables WHERE schemaname = $1 AND relname = 'orders'"""


def table() -> Table:
    """The figures of both, in turn in each round."""
    grid = Table("what", "goal", "measured", title="The store alone")
    with (
        tempfile.TemporaryDirectory(prefix="rescind-bench-") as folder,
        on_postgres.database(Path(folder)) as database,
    ):
        found = uvloop.run(_measure(Path(folder, "sqlite.db"), Target(database.url)))
    for writers in WRITERS:
        ratios = [ours / theirs for ours, theirs in zip(found[writers], found[0], strict=True)]
        goal = "≥ 0.8" if writers > 1 else ""
        grid.add_row(f"events/s, PostgreSQL with {writers} of 4 writers ÷ SQLite", goal, _spread(ratios, 2))
    grid.add_row("events/s on SQLite", "", _spread(found[0], 0))
    grid.add_row("write-ahead log, bytes an event", "≤ 3,500", _spread(found["wal"], 0))
    grid.add_row("disk, bytes an event", "≤ 2,700", _spread(found["disk"], 0))
    grid.add_row("updates of orders within their page", "≥ 90 %", f"{100 * found['hot'][0]:.1f} %")
    return grid


async def _measure(path: Path, target: Target) -> dict[Any, list[float]]:
    sqlite, postgres = await open_store(path), await open_store(target, migrates=True)
    found: dict[Any, list[float]] = {key: [] for key in (0, *WRITERS, "wal", "disk", "hot")}
    numbers = Ids()
    try:
        for number in range(ROUNDS + 1):
            keep = found if number else dict[Any, list[float]]()  # the first round warms up
            keep.setdefault(0, []).append(await _round(sqlite, 1, numbers, f"s{number}"))
            for writers in WRITERS:
                log, disk = await _bytes(postgres, target.schema)
                keep.setdefault(writers, []).append(await _round(postgres, writers, numbers, f"p{writers}-{number}"))
                log_after, disk_after = await _bytes(postgres, target.schema)
                keep.setdefault("wal", []).append((log_after - log) / (ORDERS * EVENTS))
                keep.setdefault("disk", []).append((disk_after - disk) / (ORDERS * EVENTS))
        await asyncio.sleep(1.5)  # statistics are reported once a second
        ((hot, all_updates),) = await _ask(postgres, _HOT, target.schema)
        found["hot"].append(hot / all_updates)
    finally:
        await sqlite.close()
        await postgres.close()
    return found


async def _round(store: Store, writers: int, numbers: Ids, prefix: str) -> float:
    """Events a second."""
    texts = list(bodies(ORDERS, 1))
    commits = [list(_commits(prefix, writer, writers, numbers, texts)) for writer in range(writers)]
    began = perf_counter()
    await asyncio.gather(*(_write(store, part) for part in commits))
    return ORDERS * EVENTS / (perf_counter() - began)


async def _write(store: Store, commits: list[tuple[list[Any], Changes]]) -> None:
    for names, changes in commits:
        async with store.transaction() as transaction:
            await transaction.find(names, [event for _, event in changes.events])
            await transaction.commit(changes)


def _commits(
    prefix: str, writer: int, writers: int, numbers: Ids, texts: list[bytes]
) -> Iterator[tuple[list[Any], Changes]]:
    own = [(f"{prefix}-{order}", numbers.next(), texts[order]) for order in range(writer, ORDERS, writers)]
    for start in range(0, len(own), BATCH):
        for count in range(EVENTS):
            changes, names = Changes(), []
            for name, pk, text in own[start : start + BATCH]:
                names.append(("bench", name))
                at = NOW + timedelta(seconds=count)
                told = Event(
                    event_id("bench", name, "order.told", b"%d" % count),
                    "bench",
                    name,
                    "order.told",
                    at,
                    at,
                    Source.WEBHOOK,
                    Facts(phase=Phase.OPEN, provider_status=f"step {count}"),
                )
                order = Order(
                    "bench",
                    name,
                    phase=Phase.OPEN,
                    version=count + 1,
                    last_event_at=at,
                    opened_at=NOW,
                    provider_status=f"step {count}",
                )
                changes.events.append((pk, told))
                changes.orders.append(OrderWrite(pk, OrderAggregate(order), "yes", None, None, had_job=False))
                receipt = Receipt(numbers.next(), "in", "bench", at, "accepted", "", [], [("content-type", "a")], text)
                changes.receipts.append(receipt)
                if not count:
                    changes.names.append(("bench", name, pk))
            yield names, changes


async def _bytes(store: Any, schema: str) -> tuple[int, int]:
    """Of the write-ahead log so far, and on disk."""
    size = """SELECT sum(pg_total_relation_size(pg_class.oid))::bigint FROM pg_class
              JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE nspname = $1 AND relkind = 'r'"""
    log = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"
    return (await _ask(store, log))[0][0], (await _ask(store, size, schema))[0][0]


async def _ask(store: Any, sql: str, *values: Any) -> list[Any]:
    return [tuple(row) for row in await store._db.fetch(sql, *values)]


def _spread(values: list[float], digits: int) -> str:
    middle = statistics.median(values)
    return f"{middle:,.{digits}f}  ({min(values):,.{digits}f} to {max(values):,.{digits}f})"
