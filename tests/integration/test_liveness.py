"""What only a restart helps against, and what it does not."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from itertools import count
from typing import Any

import pytest
from conftest import Start
from providers import until
from servers import ACCOUNT, ENDPOINT, Rescind, account_of, endpoint_of, webhook

from app.store.sqlite import connection
from app.web import liveness, readiness
from app.web.liveness import Liveness
from app.web.readiness import Readiness


@pytest.fixture
async def rescind(start: Start, monkeypatch: pytest.MonkeyPatch) -> Rescind:
    monkeypatch.setattr(readiness, "FRESH_S", 0.0)
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_MS", 30)
    started = await start()
    await started.put("accounts", ACCOUNT, account_of("http://127.0.0.1:9"))
    await started.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
    return started


@pytest.fixture
def living(rescind: Rescind) -> Liveness:
    return Liveness(rescind.node, Readiness(rescind.node), "http://127.0.0.1:8700")


@pytest.mark.sqlite_only("it has one writer")
async def test_a_ledger_that_gets_nothing_done_needs_a_restart(
    rescind: Rescind, living: Liveness, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(liveness, "monotonic", lambda: now[0])
    assert living.fault() == ""
    async with rescind.node.store.transaction():
        hook = asyncio.create_task(rescind.hook(webhook("order.processed", "o-1")))
        await until(lambda: _is_busy(rescind), "the ledger at the writer")
        now[0] += 1000.0
        assert living.fault() == ""  # it was idle until now, for all that is known
        assert (await rescind.ask("GET", "/healthz", key=None)).status == 200
        now[0] += 29.0
        assert living.fault() == ""
        now[0] += 1.0
        assert living.fault() == "nothing was recorded for 30 s"
        health = await rescind.ask("GET", "/healthz", key=None)
        assert (health.status, health.json["status"]) == (503, "nothing was recorded for 30 s")
    assert (await hook).status == 200
    assert living.fault() == ""


@pytest.mark.sqlite_only("another program locks its file")
async def test_a_database_that_is_unavailable_is_shown_and_needs_no_restart(
    rescind: Rescind, living: Liveness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "monotonic", count(step=1000).__next__)  # long ago, each time
    ready = "Ready at http://127.0.0.1:8700: 1 account"
    assert await living.status() == ready
    with closing(sqlite3.connect(rescind.node.settings.database_path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for n in range(3):
            hook = asyncio.create_task(rescind.hook(webhook("order.processed", f"o-{n}")))
            await until(lambda hook=hook: _is_busy(rescind, hook), "the ledger at the writer")  # type: ignore[misc]
            assert living.fault() == ""  # the last webhook was turned away, which is something done
            assert (await hook).status == 503
        assert await living.status() == "Not ready: SQLite: database is locked"
        other.execute("ROLLBACK")
    assert await living.status() == ready
    await rescind.node.pause("*", "a test", "me")
    assert await living.status() == f"{ready}; 1 paused"


async def test_a_worker_that_ended_needs_a_restart(rescind: Rescind, living: Liveness) -> None:
    task = rescind.node._tasks["timers"]
    task.cancel()
    await asyncio.wait({task})
    assert living.fault() == "a worker has ended"
    health = await rescind.ask("GET", "/healthz", key=None)
    assert (health.status, health.json) == (503, {"status": "a worker has ended"})


async def _is_busy(rescind: Rescind, until: asyncio.Task[Any] | None = None) -> bool:
    """Whether it is, or no longer because this has ended: who looks late has missed it."""
    return rescind.node.ledger.unfinished > 0 or (until is not None and until.done())
