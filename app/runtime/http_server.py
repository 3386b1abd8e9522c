"""HTTP servers that leave no connection open when they end."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from aiohttp import web


async def stop_listening(runner: web.BaseRunner) -> None:
    """Close the listening sockets of a runner; what was accepted before has reached its server then.

    asyncio gives an accepted connection its transport in the next iteration of the event loop. If its listening socket
    is closed in between, that fails unseen (`Server._attach` asserts, Python 3.11 to 3.14): the connection belongs to
    no server, and stays open until it is garbage-collected.
    """
    loop = asyncio.get_running_loop()
    for site in runner.sites:
        listening = getattr(site._server, "sockets", ())  # noqa: SLF001 - aiohttp tells addresses only
        for each in listening:
            with suppress(NotImplementedError):  # Windows, whose loop has no readers
                loop.remove_reader(each.fileno())
    await asyncio.sleep(0)  # transports are made
    for site in list(runner.sites):
        await site.stop()
    await asyncio.sleep(0)  # the server is told of them


class EndingRunner(web.AppRunner):
    """Runs an application; when it ends, no connection to it stays open."""

    async def cleanup(self) -> None:
        """Stop listening, let requests under way end, and close all connections."""
        await stop_listening(self)
        await super().cleanup()
