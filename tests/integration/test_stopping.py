"""The end of a server is bounded, whatever its clients do."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

import pytest
from conftest import Start
from providers import WAIT_S, until
from servers import ENDPOINT, TOKEN, Rescind, account_of, endpoint_of
from yarl import URL

from app.web.server import Runner, start_server


async def test_a_request_that_does_not_end_is_cut_off(start: Start) -> None:
    rescind: Rescind = await start()
    await rescind.put("accounts", "acme", account_of("http://127.0.0.1:1"))
    await rescind.put("endpoints", ENDPOINT, endpoint_of("acme"))
    url = URL(rescind.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(f"POST /webhooks/{ENDPOINT}?token={TOKEN} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{{".encode())
    await until(lambda: asyncio.sleep(0, rescind.bodies.held > 0), "the part of a body")
    rescind._runner._shutdown_timeout = 0.05
    async with asyncio.timeout(WAIT_S / 2):
        await rescind.stop()
    assert not (await reader.read()).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_it_is_not_ready_as_soon_as_it_drains(start: Start) -> None:
    rescind: Rescind = await start()
    await rescind.get("/readyz", key=None)
    rescind._runner.drain()
    reply = await rescind.ask("GET", "/readyz", key=None)
    assert (reply.status, reply.json, reply.headers["Connection"]) == (503, {"status": "stopping"}, "close")
    assert (await rescind.ask("GET", "/healthz", key=None)).status == 200


async def test_a_connection_that_is_accepted_while_it_stops_is_closed(start: Start) -> None:
    rescind: Rescind = await start()
    loop, url = asyncio.get_running_loop(), URL(rescind.url)
    for iterations in range(4):
        runner, shown = await start_server(rescind.node)
        client = socket.create_connection((url.host, URL(shown).port))
        client.setblocking(False)
        for _ in range(iterations):
            await asyncio.sleep(0)
        await (runner.hand_over() if iterations % 2 else runner.cleanup())
        await runner.cleanup()
        with client, suppress(ConnectionResetError):
            async with asyncio.timeout(WAIT_S):
                assert await loop.sock_recv(client, 1) == b""


async def test_a_server_that_nobody_can_stand_in_for_is_not_drained(start: Start) -> None:
    rescind: Rescind = await start()
    refused = (await rescind.ask("POST", "/v1/node/drain", {})).problem(422, "invalid-request")
    assert "No other node" in refused["detail"]
    assert (await rescind.get("/readyz", key=None))["status"] == "ready"


async def test_a_server_whose_port_is_taken_leaves_nothing_running(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    rescind: Rescind = await start()
    runners, settings = list[Runner](), rescind.node.settings
    monkeypatch.setattr(rescind.node, "settings", settings.model_copy(update={"port": URL(rescind.url).port}))

    class Noted(Runner):
        async def setup(self) -> None:
            runners.append(self)
            await super().setup()

    monkeypatch.setattr("app.web.server.Runner", Noted)
    with pytest.raises(OSError, match="address already in use"):
        await start_server(rescind.node)
    assert [runner.server for runner in runners] == [None], "its server has ended"
    assert (await rescind.get("/readyz", key=None))["status"] == "ready"
