"""A subscriber of the demo's: keeps what is delivered to it, verifies signatures, and can be down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Self

import msgspec
from aiohttp import web
from multidict import CIMultiDict
from pydantic import SecretStr

from app.contract import InboundRequest, VerificationError, VerifyOptions
from app.dev.demo.providers import Json
from app.kit.signing import verify_scheme
from app.runtime.http_server import EndingRunner

SHUTDOWN_S = 0.1


@dataclass(frozen=True, slots=True)
class Delivered:
    """One request to the receiver."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    status: int
    """What the receiver responded."""

    @property
    def message(self) -> Json:
        """The body."""
        return dict(msgspec.json.decode(self.body))

    @property
    def data(self) -> Json:
        """What the message says."""
        return dict(self.message["data"])

    def verified_by(self, secret: str) -> bool:
        """Whether it is signed with this secret, by Standard Webhooks."""
        request = InboundRequest(CIMultiDict(self.headers), {}, self.body)
        options = VerifyOptions(scheme="standard_webhooks", secrets=(SecretStr(secret),))
        try:
            verify_scheme(request, options, datetime.now(UTC))
        except VerificationError:
            return False
        return True


class Receiver:
    """An HTTP server on loopback; an async context manager."""

    def __init__(self) -> None:
        self.requests: list[Delivered] = []
        """Every request, in the order of arrival."""
        self.down = False
        """While it is true, the response is 503."""
        self.url = ""
        app = web.Application()
        app.router.add_post("/{path:.*}", self._receive)
        self._runner = EndingRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def accepted(self, path: str) -> list[Delivered]:
        """The requests to this path that got a 2xx, in the order of arrival."""
        return [
            request for request in self.requests if request.path == path and request.status < HTTPStatus.BAD_REQUEST
        ]

    def refused(self, path: str) -> list[Delivered]:
        """The requests to this path that got a 503."""
        return [
            request for request in self.requests if request.path == path and request.status >= HTTPStatus.BAD_REQUEST
        ]

    async def _receive(self, request: web.Request) -> web.Response:
        status = HTTPStatus.SERVICE_UNAVAILABLE if self.down else HTTPStatus.NO_CONTENT
        self.requests.append(Delivered(request.path, request.headers, await request.read(), status.value))
        return web.Response(status=status)
