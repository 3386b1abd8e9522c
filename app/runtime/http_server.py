"""HTTP servers that leave no connection open when they end."""

from __future__ import annotations

import asyncio

from aiohttp import web


class EndingServer(web.Server):
    """Closes also connections that the event loop hands over after the server has ended.

    A connection that was accepted right before the socket was closed reaches the server later, when aiohttp has closed
    all that it knew of: it would stay open for ever.
    """

    _ended = False

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Take a connection; close it if the server has ended."""
        if self._ended:
            transport.abort()
            return
        super().connection_made(handler, transport)

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - aiohttp's own
        """Close all connections, and those that are still to come."""
        self._ended = True
        await super().shutdown(timeout)


class EndingRunner(web.AppRunner):
    """Runs an application on an `EndingServer`."""

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return EndingServer(made.request_handler, request_factory=made.request_factory, **self._kwargs)
