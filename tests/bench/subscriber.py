"""Receivers of deliveries, in a process of their own: one that responds at once, and one that never does."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from datetime import datetime

import msgspec
import uvloop
from aiohttp import web

HANG_S = 3600.0


class Subscriber:
    """Receives, and measures how long after its time each message came."""

    def __init__(self) -> None:
        self._latencies: list[float] = []

    async def receive(self, request: web.Request) -> web.Response:
        """Respond at once."""
        body = await request.read()
        sent_at = datetime.fromisoformat(msgspec.json.decode(body)["timestamp"])
        self._latencies.append(time.time() - sent_at.timestamp())
        return web.Response(status=204)

    async def bare(self, request: web.Request) -> web.Response:
        """Read the body and respond."""
        await request.read()
        return web.Response(status=204)

    async def hang(self, request: web.Request) -> web.Response:
        """Never respond."""
        await request.read()
        await asyncio.sleep(HANG_S)
        return web.Response(status=204)

    async def forget(self, _request: web.Request) -> web.Response:
        """Begin to measure anew."""
        self._latencies = []
        return web.Response(status=204)

    async def latencies(self, _request: web.Request) -> web.Response:
        """Number, median and 99th percentile in seconds."""
        latencies = self._latencies
        hundredths = statistics.quantiles(latencies, n=100) if len(latencies) > 1 else [0.0] * 99
        return web.json_response([len(latencies), hundredths[49], hundredths[98]])


def main() -> None:
    """Serve on the port given."""
    subscriber, app = Subscriber(), web.Application()
    app.router.add_post("/in/{subscription}", subscriber.receive)
    app.router.add_post("/bare", subscriber.bare)
    app.router.add_post("/hang/{subscription}", subscriber.hang)
    app.router.add_get("/latencies", subscriber.latencies)
    app.router.add_delete("/latencies", subscriber.forget)
    options = {"access_log": None, "print": None, "shutdown_timeout": 0.1}
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), loop=uvloop.new_event_loop(), **options)


if __name__ == "__main__":
    main()
