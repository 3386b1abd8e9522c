"""Where an ingested webhook's time goes: the stages of the hot path, each timed alone on the bench's bodies."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from multidict import CIMultiDict
from rich.table import Table

from app.config.registry import handler
from app.contract import InboundRequest, Source, VerifyOptions
from app.core.commands import RecordEvents
from app.core.event import to_event
from app.core.order import fold
from app.core.pauses import Pauses
from app.core.unit_of_work import AccountView
from app.engine.commit import Commit
from app.engine.hot_orders import HotOrders
from app.kit.cel.expression import compile  # noqa: A004 - under its own name, as everyone else sees it
from app.kit.cel.order_view import ORDER, order_values
from app.kit.signing import verify_token
from app.runtime.ids import Ids
from app.store import Changes, Lookup, Receipt
from app.store.sqlite import SqliteStore, open_sqlite
from tests.bench.payload import EVENTS, INTERLEAVED, bodies

BATCH = 48
CONDITION = (
    'order.phase == "open" && has(order.attributes.request_id) || '
    'order.appointments.exists(a, timestamp(a.starts_at) - now < duration("26h"))'
)


def table() -> Table:
    """Microseconds of Python for each webhook, stage by stage."""
    shown = Table("stage", "µs a webhook", title="Where the time goes (each stage alone)")
    for name, micros in asyncio.run(_measure()):
        shown.add_row(name, f"{micros:.1f}")
    return shown


async def _measure() -> list[tuple[str, float]]:
    made = bodies(INTERLEAVED * 4)
    # Only the first event of each order: every batch then stands for itself.
    raw = [body for at in range(0, len(made), INTERLEAVED * len(EVENTS)) for body in made[at : at + INTERLEAVED]]
    planomatic = handler("planomatic")
    config, rules = planomatic.config(api_key="bench-provider-key"), planomatic.rules()  # type: ignore[call-arg]
    options = VerifyOptions(scheme="token", secrets=("bench-hook-secret",))
    headers = CIMultiDict({"Authorization": "Bearer bench-hook-secret", "Content-Type": "application/json"})
    requests = [InboundRequest(headers, {}, body) for body in raw]
    now, ids = datetime.now(UTC), Ids()
    view = AccountView("bench", planomatic, rules)

    def entry(request: InboundRequest) -> RecordEvents:
        (seen,) = planomatic.parse(request, config)  # type: ignore[misc]
        return RecordEvents("bench", seen.order, now, (to_event(seen, "bench", now, Source.WEBHOOK, None),))

    entries = [entry(request) for request in requests]
    found = [
        ("verify", _timed(lambda request: verify_token(request, options), requests)),
        ("parse the JSON only (for comparison)", _timed(msgspec.json.decode, raw)),
        ("parse: JSON to facts, the handler", _timed(lambda request: planomatic.parse(request, config), requests)),
        ("parse, with the event's id and stamp", _timed(entry, requests)),
    ]
    orders = [fold("bench", each.order, each.events)[0] for each in entries]
    condition = compile(CONDITION, ORDER)
    found.append(("a policy's condition", _timed(lambda order: condition.evaluate(order_values(order, now)), orders)))
    batches = [entries[at : at + BATCH] for at in range(0, len(entries), BATCH)]

    nothing: Any = _Nothing()

    async def decide(parts: list[RecordEvents]) -> Commit:
        batch = Commit(lambda _: view, ids, Pauses(), HotOrders(nothing))
        await batch.look_up(nothing, parts)
        for each in parts:
            await batch.decide_all([each], 0.5)
            batch.add_receipt(Receipt(ids.next(), "bench-in", "bench", now, "accepted", "", [], [], b"x" * 1100))
        return batch

    started = time.perf_counter()
    decided = [await decide(parts) for parts in batches]
    found.append(("fold and decide", (time.perf_counter() - started) / len(entries) * 1e6))
    started = time.perf_counter()
    changes = [await batch.finish() for batch in decided]
    found.append(("verdict and changes", (time.perf_counter() - started) / len(entries) * 1e6))
    with tempfile.TemporaryDirectory() as folder:
        store = await open_sqlite(Path(folder, "stages.db"))
        try:
            found += await _store(store, batches, changes)
        finally:
            await store.close()
    return found


async def _store(
    store: SqliteStore, batches: list[list[RecordEvents]], changes: list[Changes]
) -> list[tuple[str, float]]:
    count = sum(len(batch) for batch in batches)
    cpu, started = time.process_time(), time.perf_counter()
    for batch, change in zip(batches, changes, strict=True):
        async with store.transaction() as transaction:
            await transaction.find(
                [(each.account, each.order) for each in batch], [event for _, event in change.events]
            )
            await transaction.commit(change)
    cpu, elapsed = time.process_time() - cpu, time.perf_counter() - started
    return [
        (f"SQLite, {BATCH} a commit: processor time", cpu / count * 1e6),
        (f"SQLite, {BATCH} a commit: elapsed", elapsed / count * 1e6),
    ]


class _Nothing:
    single_writer, orders_replaced = False, 0

    async def find(self, *_: object) -> Lookup:
        return Lookup({}, frozenset())

    async def history(self, *_: object) -> dict[int, list[object]]:
        return {}


def _timed(work: Callable[..., object], values: Sequence[object]) -> float:
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        for value in values:
            work(value)
        best = min(best, time.perf_counter() - started)
    return best / len(values) * 1e6
