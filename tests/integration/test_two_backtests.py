"""Two nodes on one PostgreSQL: a backtest that one of them runs, in processes of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest
from conftest import Start
from postgres import CleanSchema, give_back, take_schema
from providers import until
from servers import ACCOUNT, ENDPOINT, SECRET_KEY, Rescind, account_of, endpoint_of

from app.store.opening import holding_snapshot, reading_alone
from app.web import backtests as web_backtests
from app.workers import backtests

POLICY = {
    "id": "stale",
    "accounts": [ACCOUNT],
    "when": 'order.phase == "open"',
    "mode": "shadow",
    "cancel": {"reason": "duplicate_order", "note": "x"},
}


def commands_of_children() -> list[bytes]:
    """The command lines of the processes that were begun by multiprocessing."""
    lines = []
    for child in active_children():
        with suppress(OSError):  # it has ended
            lines.append(Path(f"/proc/{child.pid}/cmdline").read_bytes())
    return lines


@pytest.fixture
async def schema() -> AsyncIterator[CleanSchema]:
    taken = await take_schema()
    yield taken
    await give_back(taken)


@pytest.fixture
async def nodes(schema: CleanSchema, start: Start) -> AsyncIterator[tuple[Rescind, Rescind]]:
    target = schema.target
    settings = {"database_url": target.url, "database_schema": target.schema, "secret_key": SECRET_KEY}
    one, two = await start(**settings), await start(**settings)
    given: dict[str, Any] = {
        "accounts": [{**account_of("http://127.0.0.1:9"), "id": ACCOUNT}],
        "endpoints": [{**endpoint_of(ACCOUNT), "id": ENDPOINT}],
        "policies": [POLICY],
    }
    await one.node.apply(given, by="me")
    yield one, two
    for node in (one, two):
        await node.stop()


async def test_a_backtest_reads_one_snapshot_and_no_process_shows_the_url(
    nodes: tuple[Rescind, Rescind], schema: CleanSchema
) -> None:
    one, two = nodes
    for number in range(3):
        await two.tell("order.processed", f"o-{number}")
    path = f"/v1/policies/{POLICY['id']}/backtest"
    since = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    started = await one.ask("POST", path, {"since": since})
    assert started.status == 202, started
    lines: set[bytes] = set()

    async def done() -> dict[str, Any] | None:
        lines.update(commands_of_children())
        shown = await one.get(f"{path}s/{started.json['id']}")
        assert shown["state"] != "failed", shown
        return dict(shown) if shown["state"] == "done" else None

    report = dict(await until(done, "the backtest", 300) or {})["report"]
    assert report["orders"] == 3
    assert lines
    assert not any(b"postgresql" in line for line in lines)
    async with holding_snapshot(schema.target) as snapshot:
        await two.tell("order.processed", "o-later")
        counts = []
        for given in (snapshot, ""):
            async with reading_alone(schema.target, given) as reader:
                counts.append(await reader.count_orders([ACCOUNT]))
    assert counts == [3, 4]


async def test_a_backtest_is_shown_and_canceled_by_another_node(
    nodes: tuple[Rescind, Rescind], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = nodes

    async def endless(_task: Any, progress: Callable[[int, int], None]) -> dict[str, Any]:
        progress(7, 20)
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(backtests, "_in_processes", endless)
    monkeypatch.setattr(backtests, "SAVED_S", 0.05)
    path = f"/v1/policies/{POLICY['id']}/backtest"
    id = (await one.ask("POST", path, {})).json["id"]
    queued = (await one.ask("POST", path, {})).json["id"]

    async def shown(node: Rescind, state: str, id: str) -> dict[str, Any] | None:
        run = await node.get(f"{path}s/{id}")
        return dict(run) if run["state"] == state else None

    async def begun() -> dict[str, Any] | None:
        # It runs from when its turn comes, before it has anything to tell.
        run = await shown(two, "running", id)
        return run if run and run["done"] else None

    run = dict(await until(begun, "its progress at the other node") or {})
    assert (run["done"], run["orders"], run["by"]) == (7, 20, "bootstrap")
    assert (await two.get(f"{path}s/{queued}"))["state"] == "queued"
    for canceled in (queued, id):
        assert (await two.ask("DELETE", f"{path}s/{canceled}")).status == 204
        (await two.ask("DELETE", f"{path}s/{canceled}")).problem(404, "not-found")
        for node in nodes:
            assert await until(partial(shown, node, "canceled", canceled), "it canceled")
    # Of a node that died, nothing is stored any more.
    monkeypatch.setattr(web_backtests, "SILENT_S", -1.0)
    left = (await one.ask("POST", path, {})).json["id"]
    (await two.ask("GET", f"{path}s/{left}")).problem(404, "not-found")
