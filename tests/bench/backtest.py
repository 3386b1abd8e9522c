"""A backtest over a million events, beside the time that reading their JSON takes, and its memory."""

from __future__ import annotations

import asyncio
import json
import resource
import sqlite3
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from rich.table import Table

from app.config.models import PolicySpec
from app.config.settings import Settings
from app.contract import InboundRequest
from app.node import Node
from app.runtime import ids
from app.web.parsing import parse_webhook
from app.workers.backtests import Backtests
from tests.bench.payload import EVENTS, bodies

ACCOUNT = {"id": "bench", "provider": "planomatic", "config": {"api_key": "bench-provider-key"}}
EVENTS_WANTED = 1_000_000
LOADED = 40_000
"""Events that come in through the door; the rest are copies of them, with other ids, orders and times."""
PARSED = 50_000
POLICY = {
    "id": "unscheduled",
    "accounts": ["bench"],
    "when": 'order.phase == "open" && size(order.appointments) == 0',
    "wait": "90s since order.opened_at",
    "cancel": {"reason": "client_requested_cancelation", "note": "Not scheduled."},
}


def table() -> Table:
    """The run time of a backtest ÷ the time to read the same webhooks' JSON with the standard library."""
    shown = Table("events", "would cancel", "seconds", "µs an event", "÷ JSON (goal ≤ 3)", "peak MB", title="Backtest")
    with tempfile.TemporaryDirectory(prefix="rescind-bench-") as folder:
        path = Path(folder, "bench.db")
        asyncio.run(_load(path))
        for events in (EVENTS_WANTED // 10, EVENTS_WANTED):
            _multiply(path, events)
            json_s = _json_s()
            report, seconds, peak_mb = asyncio.run(_run(path))
            json_s = (json_s + _json_s()) / 2
            each_s = seconds / report["events"]
            figures = (f"{seconds:.1f}", f"{each_s * 1e6:.1f}", f"{each_s / json_s:.2f}", f"{peak_mb:.0f}")
            shown.add_row(f"{report['events']:,}", f"{report['would_cancel']:,}", *figures)
    return shown


def _json_s() -> float:
    """Seconds to read one webhook's JSON."""
    texts = bodies(PARSED // len(EVENTS))
    began = time.perf_counter()
    for each in texts:
        json.loads(each)
    return (time.perf_counter() - began) / len(texts)


async def _load(path: Path) -> None:
    node = await Node.start(Settings(database_url=f"sqlite:///{path}"))
    try:
        await node.apply({"accounts": [ACCOUNT]}, by="bench")
        account = node.config.accounts["bench"]
        for body in bodies(LOADED // len(EVENTS)):
            now = datetime.fromisoformat(msgspec.json.decode(body)["occurred_at"]) + timedelta(seconds=2)
            receipt = ids.show(ids.RECEIPT, node.ids.next())
            parsed = parse_webhook(account, InboundRequest({}, {}, body), now, receipt, 1 << 20)
            await node.ledger.execute_all(parsed.commands)
    finally:
        await node.stop()


def _multiply(path: Path, events: int) -> None:
    """Copy orders and their events until there are so many."""
    with sqlite3.connect(path) as db:
        (count,) = db.execute("SELECT count(*) FROM events WHERE order_pk > 0").fetchone()
        (shift,) = db.execute("SELECT max(pk) - min(pk) + 1 FROM orders").fetchone()
        db.execute("CREATE TEMP TABLE base AS SELECT * FROM events WHERE order_pk > 0 ORDER BY seq LIMIT ?", (LOADED,))
        db.execute("CREATE TEMP TABLE place AS SELECT * FROM orders ORDER BY pk LIMIT ?", (LOADED // len(EVENTS),))
        for copy in range(count // LOADED, events // LOADED):
            db.execute(
                """INSERT INTO orders (pk, account, id, phase, cancelable, last_event_at, state, dictionary)
                   SELECT pk + ?, account, id || '-' || ?, phase, cancelable, last_event_at, state, dictionary
                   FROM place""",
                (shift * copy, copy),
            )
            db.execute(
                """INSERT INTO events
                   (order_pk, key, account, name, type, source, occurred_at, received_at, receipt, body,
                    dictionary)
                   SELECT order_pk + ?, key, account, name || '-' || ?, type, source, occurred_at + ?, received_at + ?,
                          receipt + ?, body, dictionary FROM base ORDER BY seq""",
                (shift * copy, copy, copy * 60_000_000, copy * 60_000_000, copy),
            )
    db.close()


async def _run(path: Path) -> tuple[dict[str, object], float, float]:
    """(report, seconds, megabytes at the peak of its process)."""
    node = await Node.start(Settings(database_url=f"sqlite:///{path}"))
    try:
        backtests: Backtests = node.backtests
        spec = PolicySpec.model_validate(POLICY)
        accounts = [node.config.accounts["bench"]]
        began = time.perf_counter()
        run = await backtests.start(spec, accounts, datetime(2025, 1, 1, tzinfo=UTC), datetime.now(UTC), "bench", 1000)
        while run.state not in ("done", "failed"):  # noqa: ASYNC110 - polled
            await asyncio.sleep(0.05)
        seconds = time.perf_counter() - began
    finally:
        await node.stop()
    if run.report is None:
        raise RuntimeError(run.failure)
    return run.report, seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


if __name__ == "__main__":
    from rich.console import Console

    Console().print(table())
