"""A server process whose database is taken away, cut off or out of space acknowledges nothing more (I1)."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import AsyncIterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import aiohttp
import msgspec
import pytest
from providers import until
from servers import ACCOUNT, ENDPOINT, Server, account_of, endpoint_of, webhook

from app.engine.ledger import UNAVAILABLE_LOG_S

NAME = "rescind.db"
FULL_DISK = """
import resource, signal
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
signal.signal(signal.SIGUSR1, lambda *_: resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard)))
signal.signal(signal.SIGUSR2, lambda *_: resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard)))
"""
"""By a signal no file takes a byte more, the process's own log included; by another they do again."""


@pytest.fixture
async def server(tmp_path: Path, session: aiohttp.ClientSession) -> AsyncIterator[Server]:
    """A server in a process of its own, with an order that it acknowledged."""
    started = Server(tmp_path, session, prelude=FULL_DISK)
    await started.start()
    await started.put("accounts", ACCOUNT, account_of("http://127.0.0.1:9"))
    await started.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
    await started.tell("order.processed", "o-1")
    yield started
    await started.stop()


async def acknowledges_nothing(server: Server, said: str) -> None:
    for n in range(3):
        reply = await server.hook(webhook("order.processed", f"late-{n}"))
        assert said in reply.problem(503, "busy")["detail"]
        assert "Retry-After" in reply.headers
    (await server.ask("POST", "/v1/keys", {"name": "k"})).problem(503, "busy")
    ready = await server.ask("GET", "/readyz", key=None)
    assert (ready.status, said in ready.json["status"]) == (503, True), ready
    assert (await server.ask("GET", "/healthz", key=None)).status == 200


async def test_a_database_that_was_removed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "spare").hardlink_to(tmp_path / NAME)
    (tmp_path / NAME).unlink()
    await acknowledges_nothing(server, "rescind.db was removed")
    # Said every ten seconds; the last line may be half written.
    *written, _ = server.log.read_bytes().split(b"\n")
    said = [msgspec.json.decode(each) for each in written if b"_unavailable" in each]
    assert said
    for line in said:
        assert "Stop the server" in line["error"]
        assert line["level"] == "error"
    times = [datetime.fromisoformat(line["timestamp"]).timestamp() for line in said]
    assert all(later - earlier > UNAVAILABLE_LOG_S / 2 for earlier, later in pairwise(times)), said
    await server.kill()
    # Its log holds what was acknowledged, and SQLite would delete that beside a new database.
    log = (tmp_path / f"{NAME}-wal").read_bytes()
    assert await server.fails_to_start() != 0
    assert (tmp_path / f"{NAME}-wal").read_bytes() == log
    assert not (tmp_path / NAME).exists()
    shutil.move(tmp_path / "spare", tmp_path / NAME)
    await server.start()
    assert [order["id"] for order in await server.pages("/v1/orders", 9)] == ["o-1"]


async def test_a_full_disk_and_a_database_that_is_cut_off(server: Server, tmp_path: Path) -> None:
    os.kill(server.pid, signal.SIGUSR1)
    await until(lambda: refuses(server), "a full disk")
    await acknowledges_nothing(server, "SQLite")
    os.kill(server.pid, signal.SIGUSR2)
    await until(lambda: ready(server), "ready again")
    await server.tell("order.processed", "o-2")
    found = {order["id"] for order in await server.pages("/v1/orders", 9)}
    assert {"o-1", "o-2"} <= found <= {"o-1", "o-2", "probe"}
    os.truncate(tmp_path / NAME, 0)
    await acknowledges_nothing(server, "rescind.db was cut off")


async def refuses(server: Server) -> bool:
    return (await server.hook(webhook("order.processed", "probe", 1.0))).status == 503


async def ready(server: Server) -> bool:
    return (await server.ask("GET", "/readyz", key=None)).status == 200
