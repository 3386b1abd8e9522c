"""TCP servers of tests that leave no connection open when they end."""

from __future__ import annotations

import asyncio

ACCEPTED_TURNS = 4
"""Of the event loop, until an accepted connection has its transport, its protocol, a task, and that has begun."""


async def stop_listening(server: asyncio.Server) -> None:
    """Close a server's listening sockets; the task of each connection that was accepted before has begun then.

    A connection that asyncio accepted, and has not yet given its transport, would stay open without a task, until its
    `ResourceWarning` fails some other test (see `app.runtime.http_server`).
    """
    loop = asyncio.get_running_loop()
    for each in server.sockets:
        loop.remove_reader(each.fileno())
    for _ in range(ACCEPTED_TURNS):
        await asyncio.sleep(0)
    server.close()
