"""How a server ends: what is under way is finished, nothing new is begun, and nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from http import HTTPStatus
from itertools import count
from pathlib import Path
from typing import Any, Self

import aiohttp
import msgspec
import pytest
from providers import Provider, until
from servers import ACCOUNT, BOOTSTRAP_KEY, ENDPOINT, STREAM, TOKEN, Server, account_of, endpoint_of, webhook
from yarl import URL

from app import serve
from app.config.settings import Settings
from app.runtime.ids import RECEIPT, read

SENDERS = 8
DRAINED = "drained"
# The test says when load balancers have had their time: until then the server serves, however slow the machine is.
DRAIN = f"""
import asyncio, pathlib
from app import serve

async def wait_out(seconds):
    assert seconds == 7.5, seconds
    while not pathlib.Path("{DRAINED}").exists():
        await asyncio.sleep(0.005)

serve.wait_out = wait_out
"""


class Draining(Server):
    """A server that serves on after SIGTERM until the test says that it is drained."""

    def __init__(self, directory: Path, session: aiohttp.ClientSession) -> None:
        super().__init__(directory, session, prelude=DRAIN)

    def _environment(self) -> dict[str, str]:
        return {**super()._environment(), "RESCIND_DRAIN_S": "7.5"}

    async def drain(self) -> None:
        """Send SIGTERM, and wait until load balancers can see it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        await until(self._says_stopping, "/readyz says that it stops")

    async def ended(self) -> int:
        """The exit code, when nobody needs it any more."""
        assert self._process is not None
        process, self._process = self._process, None
        (self.directory / DRAINED).touch()
        return await asyncio.to_thread(process.wait)

    async def _says_stopping(self) -> bool:
        reply = await self.ask("GET", "/readyz", key=None)
        assert reply.status == HTTPStatus.OK or reply.json == {"status": "stopping"}, reply
        return reply.status == HTTPStatus.SERVICE_UNAVAILABLE


@pytest.fixture
async def server(tmp_path: Path, session: aiohttp.ClientSession, provider: Provider) -> AsyncIterator[Draining]:
    """A server with one account at the provider, and an endpoint for its webhooks."""
    started = Draining(tmp_path, session)
    await started.start()
    try:
        await started.put("accounts", ACCOUNT, account_of(provider.url))
        await started.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
        yield started
    finally:
        await started.kill()


class Load:
    """Webhooks and cancels, sent over connections that are kept, until the server is gone."""

    def __init__(self, server: Draining) -> None:
        self._server, self._numbers = server, count()
        self.receipts: list[str] = []
        self.statuses: Counter[int] = Counter()
        self.closed = 0
        """Responses that closed their connection."""
        self._tasks = [asyncio.create_task(self._send()) for _ in range(SENDERS)]

    async def reaches(self, acknowledged: int) -> bool:
        for task in self._tasks:
            assert not task.done() or task.result() is None
        return len(self.receipts) >= acknowledged

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _send(self) -> None:
        while True:
            order = f"o-{next(self._numbers)}"
            reply = await self._server.hook(webhook("order.processed", order))
            self.statuses[reply.status] += 1
            self.closed += reply.headers.get("Connection") == "close"
            self.receipts.append(reply.json["receipt"])
            cancel = await self._server.request_cancel(order)
            self.statuses[cancel.status] += 1


async def test_a_server_under_load_drains(server: Draining, provider: Provider, session: aiohttp.ClientSession) -> None:
    await provider.create("held")
    await server.tell("order.processed", "held")
    await provider.hold(order="held")
    cancellation = await server.cancel("held")
    await provider.arrived(1, order="held")
    tail = asyncio.create_task(read_to_the_end(server, session))
    async with Load(server) as load:
        await until(lambda: load.reaches(40), "webhooks before the end")
        await server.drain()
        # What was begun before may be on record only after: this many calls it is once all but the held one have ended.
        await until(lambda: only_one_call_runs(server), "the end of the calls that are not held")
        calls = len(await calls_begun(server))
        before, load.closed = len(load.receipts), 0
        await until(lambda: load.reaches(before + 40), "webhooks while it drains")
        assert load.closed >= 40 - SENDERS, "a connection that is kept would be cut at the end"
        assert (await server.ask("GET", "/healthz", key=None)).status == HTTPStatus.OK
        assert not tail.done(), "who connects again now would come back here"
        await provider.create("late")
        await server.tell("order.processed", "late")
        late = await server.cancel("late")
    assert {*load.statuses} == {HTTPStatus.OK, HTTPStatus.ACCEPTED}, load.statuses
    provider.release()
    assert (await server.settled(cancellation))["state"] == "succeeded"
    assert len(await calls_begun(server)) == calls, "a call was begun while the server was stopping"
    assert await server.ended() == 0
    assert (await tail).startswith(b"retry: ")
    with closing(sqlite3.connect(f"file:{server.directory}/rescind.db?mode=ro", uri=True)) as db:
        stored = {number for (number,) in db.execute("SELECT id FROM receipts")}
        assert {read(RECEIPT, id) for id in load.receipts} <= stored
        assert db.execute("SELECT count(*) FROM attempts WHERE ended_at IS NULL").fetchone() == (0,)
    (server.directory / DRAINED).unlink()
    await server.start()
    states = Counter([each["state"] for each in await server.pages("/v1/cancellations", 500)])
    assert not states["indeterminate"], states
    assert (await server.settled(late))["state"] == "succeeded", "what was not begun is sent by the next process"


async def only_one_call_runs(server: Draining) -> bool:
    return bool((await server.get(f"/v1/accounts/{ACCOUNT}"))["lane"]["running"] == 1)


async def calls_begun(server: Draining) -> list[Any]:
    return await server.pages("/v1/attempts", 500)


async def read_to_the_end(server: Draining, session: aiohttp.ClientSession) -> bytes:
    """A live tail, which must end as a response does, not as a connection that is cut."""
    headers = {"Authorization": f"Bearer {BOOTSTRAP_KEY}"}
    async with session.get(f"{server.url}{STREAM}", headers=headers) as response:
        return await response.read()


async def test_a_request_whose_body_is_coming_is_finished(server: Draining) -> None:
    url, body = URL(server.url), msgspec.json.encode(webhook("order.processed", "slow"))
    head = (
        f"POST /webhooks/{ENDPOINT}?token={TOKEN} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    )
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(head + body[:9])
    await writer.drain()
    # A request that came later has been served: so the server has the first part of this one.
    await server.drain()
    ending = asyncio.create_task(server.ended())
    await until(lambda: refused(url), "the end of listening")
    writer.write(body[9:])
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    assert b"\r\nConnection: close\r\n" in answer
    assert await ending == 0
    with closing(sqlite3.connect(f"file:{server.directory}/rescind.db?mode=ro", uri=True)) as db:
        assert db.execute("SELECT count(*) FROM receipts").fetchone() == (1,)


async def refused(url: URL) -> bool:
    try:
        _, writer = await asyncio.open_connection(url.host, url.port)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_it_at_once(server: Draining, second: signal.Signals) -> None:
    await server.drain()
    assert await server._end(second) == 128 + second
    await server.start()


def test_the_time_to_stop_is_the_sum_of_its_parts() -> None:
    assert serve.STOP_S == 30
    assert Settings(database_url="sqlite:///x.db").drain_s == 0, "who presses Ctrl-C waits for nothing"
