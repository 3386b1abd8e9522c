"""Connections: how many there may be, from one address and in all, and how long one may say or hear nothing.

Whoever connects has proved nothing yet, so what a connection costs is bounded before its first byte is read.
"""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

import structlog
from aiohttp import web

from app.runtime.log import LogLimiter
from app.web.bodies import RETRY_AFTER_S

OTHER_FILES = 256
"""Files that are no connection of somebody's: the database's, calls to providers, what the system needs."""
STALLED_S = 60.0
"""An answer of which nobody takes a byte for so long is given up."""
REFUSAL_LOG_S = 10.0
_SUBNET = 64
"""Of IPv6 somebody has a whole network of this length at the least, and counts as one."""
_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: %d\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    % RETRY_AFTER_S
)

Networks = Sequence[IPv4Network | IPv6Network]

log = structlog.get_logger()


class Door(web.Server):
    """A server that refuses connections beyond its limits, and ends those that stall."""

    def __init__(self, *args: Any, most: int, most_of_one: int, trusted: Networks, **more: Any) -> None:
        super().__init__(*args, **more)
        self._most, self._most_of_one, self._trusted = most, most_of_one, trusted
        self._of: dict[web.RequestHandler, str] = {}
        self._open: Counter[str] = Counter()
        self._unread: dict[web.RequestHandler, int] = {}
        self._refusal_log = LogLimiter(REFUSAL_LOG_S)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Let a connection in, or tell it to come back."""
        super().connection_made(handler, transport)
        address, trusted = known_as(transport.get_extra_info("peername"), tuple(self._trusted))
        self._of[handler] = address
        self._open[address] += 1
        if len(self._of) > self._most:
            self._refuse(handler, transport, address, "RESCIND_CONNECTIONS_MAX")
        elif not trusted and self._open[address] > self._most_of_one:
            self._refuse(handler, transport, address, "RESCIND_CONNECTIONS_PER_ADDRESS")

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        """A connection has ended."""
        super().connection_lost(handler, exc)
        self._unread.pop(handler, None)
        address = self._of.pop(handler, None)
        if address is not None:
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]

    def end_stalled(self) -> None:
        """End connections that have taken nothing of their answer since this was called last."""
        before, self._unread = self._unread, {}
        for handler in list(self._of):
            transport = handler.transport
            unread = transport.get_write_buffer_size() if transport is not None else 0
            if transport is not None and unread:
                if before.get(handler) == unread:
                    transport.abort()
                else:
                    self._unread[handler] = unread

    async def watch(self) -> None:
        """End stalled connections until canceled."""
        while True:
            await asyncio.sleep(STALLED_S)
            self.end_stalled()

    def _refuse(self, handler: web.RequestHandler, transport: asyncio.Transport, address: str, setting: str) -> None:
        transport.write(_REFUSAL)
        handler.force_close()
        if self._refusal_log.admit() is not None:
            log.warning("connection_refused", address=address, connections=len(self._of), limit=setting)


@lru_cache(maxsize=4096)
def _known(host: str, trusted: tuple[IPv4Network | IPv6Network, ...]) -> tuple[str, bool]:
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


def known_as(peer: Any, trusted: tuple[IPv4Network | IPv6Network, ...]) -> tuple[str, bool]:
    """What a peer's address is counted as, and whether any number may come from there."""
    return _known(peer[0], trusted) if isinstance(peer, tuple) else ("", False)


def connections_possible(wanted: int) -> int:
    """How many connections there may be, `wanted` or fewer, so that files are left for everything else."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if most == resource.RLIM_INFINITY else max(1, min(wanted, most - OTHER_FILES))


def allow_files(connections: int) -> None:
    """Let this process have as many files open as so many connections need, if the system lets it."""
    most, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OTHER_FILES
    if most != resource.RLIM_INFINITY and most < wanted:
        reachable = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (reachable, hard))
    possible = connections_possible(connections)
    if possible < connections:
        hint = "raise the limit of open files (ulimit -n) or lower RESCIND_CONNECTIONS_MAX"
        log.warning("fewer_connections", possible=possible, wanted=connections, hint=hint)
