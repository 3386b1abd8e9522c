"""A proxy before PostgreSQL that harms one request of those that pass: the Nth after it was told to.

A *request* is what a client sends at once and waits for: a simple query, or the messages of an extended one up to Sync.
A new connection counts as one, too, for faults that a connection can have.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import StrEnum
from typing import Self
from urllib.parse import urlsplit

from tcp_servers import stop_listening

_SSL, _GSS, _CANCEL = 80877103, 80877104, 80877102
_FAILING = b"SELECT 1/0"
_LOST = (OSError, EOFError)


class Fault(StrEnum):
    """What happens to a request."""

    CUT_BEFORE = "the connection is cut, and the server never sees it"
    CUT_AFTER = "the server does it, and the connection is cut instead of the answer"
    STALL = "nothing comes any more, until the client gives up"
    SHUTDOWN = "57P01"
    TOO_MANY = "53300"
    READ_ONLY = "25006"
    SERIALIZATION = "40001"
    DEADLOCK = "40P01"

    @property
    def ends_connection(self) -> bool:
        """Whether the connection is of no use afterwards, as it would be for a connection that begins."""
        return self not in _STATEMENTS


_STATEMENTS = (Fault.READ_ONLY, Fault.SERIALIZATION, Fault.DEADLOCK)


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def _error(severity: str, state: str) -> bytes:
    fields = {"S": severity, "V": severity, "C": state, "M": "by the proxy of a test"}
    return _message(b"E", b"".join(f"{name}{value}\0".encode() for name, value in fields.items()) + b"\0")


async def _read(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """(type, the whole message)."""
    head = await reader.readexactly(5)
    return head[:1], head + await reader.readexactly(struct.unpack("!I", head[1:])[0] - 4)


class PostgresProxy:
    """On loopback; `fail` says what is harmed next."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._fault: Fault | None = None
        self._left = 0
        self.passed = 0
        """Requests since the last `fail`."""
        self.harmed = ""
        """The request that was harmed since then."""
        self._links: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def before(cls, url: str) -> AsyncIterator[Self]:
        """Start one before the database of this URL."""
        proxy = cls(url)
        server = await asyncio.start_server(proxy._accept, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
        try:
            yield proxy
        finally:
            await stop_listening(server)
            for link in proxy._links:
                link.cancel()
            await asyncio.gather(*proxy._links, return_exceptions=True)
            await server.wait_closed()

    port = 0

    @property
    def url(self) -> str:
        """The database, through this proxy."""
        user = self._target.netloc.rpartition("@")[0]
        return f"postgresql://{user}@127.0.0.1:{self.port}{self._target.path}"

    def fail(self, fault: Fault | None, number: int = 0) -> None:
        """Harm the request that comes as this number from now on, the next one being 1; none, if there is no fault."""
        self._fault, self._left, self.passed, self.harmed = fault, number, 0, ""

    def _take(self, what: str, *, connecting: bool = False) -> Fault | None:
        """Count a request; returns the fault if it is its turn."""
        fault = self._fault
        if connecting and (fault is None or not fault.ends_connection):
            return None
        self.passed += 1
        if fault is None or self.passed != self._left:
            return None
        self._fault, self.harmed = None, what
        return fault

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        try:
            await _Link(self, reader, writer).run(self._target.hostname or "", self._target.port or 0)
        except asyncio.CancelledError:
            pass  # by `before`, whose end it is
        finally:
            self._links.discard(task)


class _Link:
    """One connection of a client, with one to the server."""

    def __init__(self, proxy: PostgresProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy, self._client, self._to_client = proxy, reader, writer
        self._state = ""
        """The SQLSTATE that the server's next error gets."""
        self._silent = self._ends = False
        """The server's answers go nowhere; the link ends with the next complete one."""

    async def run(self, host: str, port: int) -> None:
        """Pass on what comes, until either side ends."""
        to_server: asyncio.StreamWriter | None = None
        try:
            first = await self._startup()
            if first is None:
                return
            server, to_server = await asyncio.open_connection(host, port)
            to_server.write(first)
            tasks = [asyncio.create_task(self._requests(to_server)), asyncio.create_task(self._answers(server))]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        except _LOST:
            pass
        finally:
            for writer in filter(None, (self._to_client, to_server)):
                writer.close()
                with suppress(*_LOST):
                    await writer.wait_closed()

    async def _startup(self) -> bytes | None:
        while True:
            head = await self._client.readexactly(8)
            length, code = struct.unpack("!II", head)
            if code not in (_SSL, _GSS):
                break
            self._to_client.write(b"N")
        message = head + await self._client.readexactly(length - 8)
        fault = None if code == _CANCEL else self._proxy._take("connect", connecting=True)
        if fault is Fault.STALL:
            await self._client.read()
        elif fault in (Fault.SHUTDOWN, Fault.TOO_MANY):
            self._to_client.write(_error("FATAL", fault.value))
        return message if fault is None else None

    async def _requests(self, to_server: asyncio.StreamWriter) -> None:
        request: list[bytes] = []
        what = ""
        while True:
            kind, message = await _read(self._client)
            request.append(message)
            if kind in b"QP":
                what = message[5:].strip(b"\0").replace(b"\0", b" ").decode(errors="replace")[:200]
            if kind in b"QS":
                fault = self._proxy._take(what)
                if fault is not None and not await self._harm(fault, b"".join(request), to_server):
                    return
                if fault is not None:
                    request.clear()
            if kind not in b"PBDECFQS" or kind in b"QS":
                to_server.write(b"".join(request))
                await to_server.drain()
                request.clear()

    async def _harm(self, fault: Fault, request: bytes, to_server: asyncio.StreamWriter) -> bool:
        """Let the fault happen; returns whether the connection goes on."""
        if fault is Fault.CUT_BEFORE:
            return False
        if fault is Fault.CUT_AFTER:
            self._silent = self._ends = True
            to_server.write(request)
            await asyncio.Event().wait()  # `_answers` ends the link
        elif fault is Fault.STALL:
            self._silent = True
            await self._client.read()
            return False
        elif fault.ends_connection:
            self._to_client.write(_error("FATAL", fault.value))
            return False
        # The server's transaction fails as well.
        self._state = fault.value
        to_server.write(_message(b"Q", _FAILING + b"\0"))
        return True

    async def _answers(self, server: asyncio.StreamReader) -> None:
        while True:
            kind, message = await _read(server)
            if kind == b"E" and self._state:
                message, self._state = _error("ERROR", self._state), ""
            if not self._silent:
                self._to_client.write(message)
                await self._to_client.drain()
            if kind == b"Z" and self._ends:
                return
