"""A database that cannot work: everyone who waits is told at once, `/readyz` says why, and it recovers by itself."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import Start
from providers import until
from servers import ACCOUNT, ENDPOINT, Reply, Rescind, account_of, endpoint_of, webhook

from app.store import Changes, StoreUnavailable
from app.store.sqlite import connection
from app.web import readiness

WAITING = 90
"""An HTTP client keeps no more than 100 connections open."""


@pytest.fixture
async def brief(start: Start, monkeypatch: pytest.MonkeyPatch) -> Rescind:
    """A Rescind that waits for locks only briefly, and whose `/readyz` looks anew each time."""
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_MS", 30)
    monkeypatch.setattr(readiness, "FRESH_S", 0.0)
    started = await start()
    await started.put("accounts", ACCOUNT, account_of("http://127.0.0.1:9"))
    await started.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
    return started


@pytest.fixture
def transactions(brief: Rescind, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry for each transaction that is begun from here on."""
    begun: list[str] = []
    store: Any = brief.node.store
    begin = store.transaction

    def transaction(*locks: Any) -> Any:
        begun.append("begun")
        return begin(*locks)

    monkeypatch.setattr(store, "transaction", transaction)
    return begun


@asynccontextmanager
async def locked(directory: Path) -> AsyncIterator[None]:
    """Another program writes, and does not come to an end."""
    other = sqlite3.connect(directory / "rescind.db", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")
    finally:
        other.close()


async def gathered(rescind: Rescind, bodies: list[Any]) -> list[asyncio.Task[Reply]]:
    """Webhooks that wait to be recorded, all but the first in the ledger's queue."""
    tasks = [asyncio.create_task(rescind.hook(body)) for body in bodies]

    async def waiting() -> bool:
        return rescind.node.ledger.waiting >= len(bodies) - 1

    await until(waiting, "all are waiting")
    return tasks


@pytest.mark.sqlite_only("another program locks its file")
async def test_a_locked_database_fails_everyone_who_waits_at_once(
    brief: Rescind, transactions: list[str], tmp_path: Path
) -> None:
    async with locked(tmp_path):
        async with brief.node.store.transaction():
            tasks = await gathered(brief, [webhook("order.processed", f"o-{n}") for n in range(WAITING)])
            transactions.clear()
        replies = await asyncio.gather(*tasks)
    for reply in replies:
        assert "locked" in reply.problem(503, "busy")["detail"]
        assert int(reply.headers["Retry-After"]) >= 1
    # One waited for the lock, and all others with it. (Its own began before they were counted.)
    assert transactions == []
    assert await brief.pages("/v1/orders", 100) == []
    await brief.tell("order.processed", "o-1")
    assert (await brief.order("o-1"))["version"] == 1


@pytest.mark.sqlite_only("another program locks its file")
async def test_who_waits_for_the_writer_does_not_wait_for_the_lock_again(brief: Rescind, tmp_path: Path) -> None:
    async with locked(tmp_path):
        async with brief.node.store.transaction():
            writes = [asyncio.create_task(brief.ask("POST", "/v1/keys", {"name": f"k-{n}"})) for n in range(20)]
            store: Any = brief.node.store

            async def waiting() -> bool:
                return len(store._writing._waiters or ()) == len(writes)

            await until(waiting, "all are waiting")
            waits = store._failures
        for reply in await asyncio.gather(*writes):
            reply.problem(503, "busy")
        assert store._failures == waits + 1
    assert (await brief.ask("POST", "/v1/keys", {"name": "k"})).status == 201


@pytest.mark.sqlite_only("another program locks its file")
async def test_readyz_says_that_the_database_is_locked(brief: Rescind, tmp_path: Path) -> None:
    async with locked(tmp_path):
        reply = await brief.ask("GET", "/readyz", key=None)
        assert (reply.status, "locked" in reply.json["status"]) == (503, True)
        assert (await brief.ask("GET", "/healthz", key=None)).status == 200
    assert (await brief.get("/readyz", key=None))["status"] == "ready"


@pytest.mark.sqlite_only("a probe is a transaction of the ledger's")
async def test_a_storm_of_probes_is_one_write(
    brief: Rescind, transactions: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "FRESH_S", 3600.0)
    replies = await asyncio.gather(*(brief.ask("GET", "/readyz", key=None) for _ in range(50)))
    replies += [await brief.ask("GET", "/readyz", key=None) for _ in range(5)]
    assert [reply.status for reply in replies] == [200] * 55
    assert len(transactions) == 1


@pytest.mark.sqlite_only("it has one writer")
async def test_a_database_that_hangs_is_not_waited_for(brief: Rescind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "WAIT_S", 0.05)
    async with brief.node.store.transaction():
        reply = await brief.ask("GET", "/readyz", key=None)
    assert (reply.status, "has not taken a write" in reply.json["status"]) == (503, True)
    monkeypatch.setattr(readiness, "WAIT_S", 60.0)
    assert (await brief.get("/readyz", key=None))["status"] == "ready"


@pytest.mark.sqlite_only("its files")
@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
@pytest.mark.parametrize("replaced", [True, False])
async def test_a_file_that_is_replaced_or_removed_is_noticed(
    brief: Rescind, tmp_path: Path, suffix: str, replaced: bool
) -> None:
    await brief.tell("order.processed", "o-1")
    file = tmp_path / f"rescind.db{suffix}"
    if replaced:
        shutil.copy(file, tmp_path / "copy")
        (tmp_path / "copy").replace(file)
    else:
        file.unlink()
    said = f"{file.name} was {'replaced' if replaced else 'removed'}"
    for n in range(2):
        reply = await brief.hook(webhook("order.processed", f"late-{n}"))
        assert said in reply.problem(503, "busy")["detail"]
    (await brief.ask("POST", "/v1/keys", {"name": "k"})).problem(503, "busy")
    reply = await brief.ask("GET", "/readyz", key=None)
    assert (reply.status, said in reply.json["status"]) == (503, True)


@pytest.mark.sqlite_only("its file goes")
async def test_a_commit_into_a_file_that_went_meanwhile_is_not_acknowledged(brief: Rescind, tmp_path: Path) -> None:
    async with brief.node.store.transaction() as transaction:
        (tmp_path / "rescind.db").rename(tmp_path / "away")
        with pytest.raises(StoreUnavailable, match=r"rescind\.db was removed"):
            await transaction.commit(Changes())
    (tmp_path / "away").rename(tmp_path / "rescind.db")
    # What may have been written to whatever stood there meanwhile, nobody knows.
    (await brief.hook(webhook("order.processed", "o-1"))).problem(503, "busy")
