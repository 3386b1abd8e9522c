"""Limits of inbound connections: how many in all and per address, and how long one may stall.

A peer that connects is not authenticated yet, so its cost is bounded before its first byte is read.
"""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

import structlog
from aiohttp import web

from app.runtime.log import LogLimiter
from app.web.problems import RETRY_AFTER_S

OTHER_FILES = 256
"""Open files that are no inbound connections: the database, calls to providers, the system's own."""
STALLED_S = 60.0
"""A connection whose peer reads nothing of a response for so long is closed."""
REFUSAL_LOG_S = 10.0
CUT_OFF_S = 1.0
"""What each of the two steps has at least in which a request is ended that did not end in time."""
_SUBNET = 64
"""An IPv6 peer has a network of at least this prefix length, which counts as one address."""
_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: %d\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    % RETRY_AFTER_S
)

Networks = Sequence[IPv4Network | IPv6Network]

log = structlog.get_logger()


class LimitedServer(web.Server):
    """A server that refuses connections beyond its limits, closes those that stall, and ends without cutting any."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        *,
        connections_max: int,
        per_address_max: int,
        trusted: Networks,
        **more: Any,
    ) -> None:
        super().__init__(self._handle, **more)
        self._handler = handler
        self._handling: set[web.RequestHandler] = set()
        """Connections whose request is being handled."""
        self._handled = asyncio.Event()
        self.draining = False
        """Whether every response closes its connection."""
        self._max, self._per_address_max, self._trusted = connections_max, per_address_max, trusted
        self._addresses: dict[web.RequestHandler, str] = {}
        self._open: Counter[str] = Counter()
        self._unread: dict[web.RequestHandler, int] = {}
        self._refusal_log = LogLimiter(REFUSAL_LOG_S)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Accept a connection, or refuse it with 503."""
        super().connection_made(handler, transport)
        address, trusted = address_of(transport.get_extra_info("peername"), tuple(self._trusted))
        self._addresses[handler] = address
        self._open[address] += 1
        if len(self._addresses) > self._max:
            self._refuse(handler, transport, address, "RESCIND_CONNECTIONS_MAX")
        elif not trusted and self._open[address] > self._per_address_max:
            self._refuse(handler, transport, address, "RESCIND_CONNECTIONS_PER_ADDRESS")

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        """Forget a connection that has ended."""
        super().connection_lost(handler, exc)
        self._unread.pop(handler, None)
        address = self._addresses.pop(handler, None)
        if address is not None:
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]
        if self.draining:
            self._handled.set()

    def end_stalled(self) -> None:
        """Close connections whose peers have read nothing of a response since the last call."""
        before, self._unread = self._unread, {}
        for handler in list(self._addresses):
            transport = handler.transport
            unread = transport.get_write_buffer_size() if transport is not None else 0
            if transport is not None and unread:
                if before.get(handler) == unread:
                    transport.abort()
                else:
                    self._unread[handler] = unread

    async def watch(self) -> None:
        """Close stalled connections until canceled."""
        while True:
            await asyncio.sleep(STALLED_S)
            self.end_stalled()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self._handling.add(request.protocol)
        try:
            response = await self._handler(request)
        finally:
            self._handling.discard(request.protocol)
            if self.draining:
                self._handled.set()
        if self.draining:
            response.force_close()
        return response

    def pre_shutdown(self) -> None:
        """Close idle connections. Others stay: a closing one takes no more bytes, and a body may be coming."""
        self.draining = True
        for handler in self.connections:
            if handler not in self._handling:
                handler.close()

    async def finish(self) -> None:
        """Wait until all connections have ended, as each does after its next response once the server is draining."""
        while self._addresses:
            self._handled.clear()
            await self._handled.wait()

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - aiohttp's own
        """Wait so many seconds for the requests under way, then end all connections."""
        loop = asyncio.get_running_loop()
        end = loop.time() + (timeout or 0.0)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._handling:
                    self._handled.clear()
                    await self._handled.wait()
        # aiohttp waits twice: for responses that are still being read, and for handlers that it has canceled.
        await super().shutdown(max(CUT_OFF_S, (end - loop.time()) / 2))

    def _refuse(self, handler: web.RequestHandler, transport: asyncio.Transport, address: str, setting: str) -> None:
        transport.write(_REFUSAL)
        handler.force_close()
        if self._refusal_log.admit() is not None:
            log.warning("connection_refused", address=address, connections=len(self._addresses), limit=setting)


@lru_cache(maxsize=4096)
def _parsed(host: str, trusted: tuple[IPv4Network | IPv6Network, ...]) -> tuple[str, bool]:
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host, False
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    allowed = any(address in network for network in trusted)
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, _SUBNET), strict=False)), allowed
    return str(address), allowed


def address_of(peer: Any, trusted: tuple[IPv4Network | IPv6Network, ...]) -> tuple[str, bool]:
    """(the address a peer is counted under, whether its address is exempt from the limit per address)."""
    return _parsed(peer[0], trusted) if isinstance(peer, tuple) else ("", False)


def connections_possible(wanted: int) -> int:
    """The maximum number of connections, `wanted` or fewer, that leaves enough files for everything else."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if limit == resource.RLIM_INFINITY else max(1, min(wanted, limit - OTHER_FILES))


def allow_files(connections: int, outgoing: int = 0) -> None:
    """Raise the process's limit of open files to what so many connections need, as far as the system permits."""
    limit, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + outgoing + OTHER_FILES
    if limit != resource.RLIM_INFINITY and limit < wanted:
        reachable = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (reachable, hard))
    possible = connections_possible(connections)
    if possible < connections:
        hint = "raise the limit of open files (ulimit -n) or lower RESCIND_CONNECTIONS_MAX"
        log.warning("fewer_connections", possible=possible, wanted=connections, hint=hint)
