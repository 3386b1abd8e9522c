"""No connection to a server stays open when it has ended."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress

import pytest
import uvloop
from aiohttp import web

from app.runtime.http_server import EndingRunner

CLIENTS = 3
WAIT_S = 20.0


async def end_after(iterations: int) -> None:
    """End a server so many iterations of the event loop after clients have connected."""
    loop = asyncio.get_running_loop()
    runner = EndingRunner(web.Application(), access_log=None, shutdown_timeout=WAIT_S)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(runner.addresses[0])) for _ in range(CLIENTS)]
        for _ in range(iterations):
            await asyncio.sleep(0)
        await runner.cleanup()
        async with asyncio.timeout(WAIT_S):
            for client in clients:
                client.setblocking(False)
                with suppress(ConnectionResetError):
                    assert await loop.sock_recv(client, 1) == b""


@pytest.mark.parametrize("loops", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_connections_are_closed_whenever_they_are_accepted(loops: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner(loop_factory=loops) as runner:
        for iterations in range(6):
            runner.run(end_after(iterations))
