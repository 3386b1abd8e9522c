"""A receiver of deliveries: a server on loopback that keeps what came, and can be down in several ways."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Self

import msgspec
from aiohttp import web
from providers import until

from app.runtime.http_server import EndingRunner


class Down(Enum):
    """What a request meets at a receiver that is down."""

    REFUSED = auto()
    """Nobody listens."""
    ERROR = auto()
    """The response is 503."""
    RESET = auto()
    """The connection breaks when the request was read."""
    HANGS = auto()
    """There is no response."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """One request to a receiver."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    status: int
    """What the receiver responded; 0 if it did not."""

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def payload(self) -> dict[str, Any]:
        return dict(msgspec.json.decode(self.body))

    @property
    def type(self) -> str:
        return str(self.payload["type"])


class Receiver:
    """Responds with what `respond` returns for the request: a status; 204 unless it is told otherwise."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.requests: list[Delivered] = []
        """Every request, in the order of arrival."""
        self.respond: Callable[[Delivered], int] = lambda _: 204
        self.down: Down | None = None
        self._runner: web.AppRunner | None = None
        self._released = asyncio.Event()

    @classmethod
    async def start(cls, port: int = 0) -> Self:
        started = cls(port)
        await started.up()
        return started

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def accepted(self) -> list[Delivered]:
        """The requests that got a 2xx."""
        return [request for request in self.requests if 200 <= request.status < 300]

    async def up(self) -> None:
        """Be reachable, and respond."""
        self.down = None
        self._released.set()
        if self._runner is not None:
            return
        app = web.Application(client_max_size=1 << 26)
        app.router.add_route("*", "/{path:.*}", self._receive)
        self._runner = EndingRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]

    async def fail(self, how: Down) -> None:
        """Be down from now on, in this way."""
        await self.up()
        self.down, self._released = how, asyncio.Event()
        if how is Down.REFUSED:
            await self.close()

    async def close(self) -> None:
        """Stop listening."""
        self._released.set()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def has(self, number: int, path: str = "") -> list[Delivered]:
        """Wait until so many requests (to that path) were accepted; returns them."""

        async def look() -> list[Delivered]:
            rows = [request for request in self.accepted if path in ("", request.path)]
            return rows if len(rows) >= number else []

        return await until(look, f"{number} deliveries to {path or 'the receiver'}") if number else []

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        status = {None: -1, Down.ERROR: 503}.get(self.down, 0)
        seen = Delivered(request.path, request.headers, body, status)
        if status < 0:
            seen = Delivered(seen.path, seen.headers, body, self.respond(seen))
        self.requests.append(seen)
        if self.down is Down.HANGS:
            await self._released.wait()
        if not seen.status and request.transport is not None:
            request.transport.abort()
        return web.Response(status=seen.status or 500)
