"""A load generator that costs little: HTTP/1.1 over raw connections, each sending its next request when answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from typing import cast

CONNECTIONS = 64
TIMEOUT_S = 120


class _Connection(asyncio.Protocol):
    def __init__(self, requests: Iterator[bytes], done: asyncio.Future[int], waits: list[float]) -> None:
        self._requests, self._done, self._waits = requests, done, waits
        self._buffer = b""
        self._good = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports are none by class
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        length = int(head.partition(b"content-length: ")[2].split(b"\r\n", 1)[0])
        if len(self._buffer) < end + 4 + length:
            return
        self._waits.append(time.perf_counter() - self._sent_at)
        if head.startswith(b"http/1.1 200"):
            self._good += 1
        self._buffer = b""
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(exc or ConnectionError("the server closed the connection"))

    def _send(self) -> None:
        request = next(self._requests, None)
        if request is None:
            if not self._done.done():
                self._done.set_result(self._good)
            self._transport.close()
            return
        self._sent_at = time.perf_counter()
        self._transport.write(request)


async def run(port: int, requests: Iterable[bytes], waits: list[float] | None = None) -> tuple[int, float]:
    """Send all requests over 64 connections; returns how many were answered 200, and the seconds it took.

    `waits` gets how many seconds each took.
    """
    loop, shared, dones = asyncio.get_running_loop(), iter(requests), []
    waits = [] if waits is None else waits
    started = time.perf_counter()
    for _ in range(CONNECTIONS):
        done: asyncio.Future[int] = loop.create_future()
        dones.append(done)
        await loop.create_connection(lambda done=done: _Connection(shared, done, waits), "127.0.0.1", port)
    async with asyncio.timeout(TIMEOUT_S):
        good = sum(await asyncio.gather(*dones))
    return good, time.perf_counter() - started


def post(path: str, body: bytes, token: str, more: str = "") -> bytes:
    """A webhook request as a provider sends it, with more headers (lines that end with CR LF)."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: rescind.example\r\nContent-Type: application/json\r\n"
        f"User-Agent: PlanOmatic/3\r\nAccept: */*\r\nAuthorization: Bearer {token}\r\n{more}"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def get(path: str, token: str) -> bytes:
    """A request to the API."""
    return f"GET {path} HTTP/1.1\r\nHost: rescind.example\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
