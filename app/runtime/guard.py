"""The guard of every connection that leaves on a user's word: no private network, whatever name resolves to it.

A name is resolved, its addresses are checked, and the socket is connected to the very address that was checked: the
check stands in the function that makes the socket, so no second look-up lies between the two.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from app.kit.destinations import Network, is_allowed

DNS_TTL_S = 60
_RESOLVERS = 32


class PrivateAddressError(Exception):
    """A call would go to a private network that is not allowed. No OSError, so that no other address is tried."""


def guarded_socket(allow: tuple[Network, ...]) -> Callable[[Any], socket.socket]:
    """A socket factory for aiohttp that refuses private addresses, whatever name resolves to them."""

    def make(info: tuple[Any, Any, Any, Any, tuple[Any, ...]]) -> socket.socket:
        family, kind, protocol, _, address = info
        ip = ip_address(str(address[0]).partition("%")[0])
        if not is_allowed(ip, allow):
            raise PrivateAddressError(
                f"{ip} is in a private network; to allow it, add its network to RESCIND_ALLOW_NETWORKS"
            )
        made = socket.socket(family, kind, protocol)
        with suppress(OSError):
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    return make


def guarded_connector(allow: tuple[Network, ...], resolver: AbstractResolver | None = None) -> aiohttp.TCPConnector:
    """A connector without a limit across hosts that reaches no private network but `allow`."""
    return aiohttp.TCPConnector(
        limit=0, ttl_dns_cache=DNS_TTL_S, socket_factory=guarded_socket(allow), resolver=resolver
    )


class ThreadResolver(AbstractResolver):
    """Resolves names by the system, in threads of its own.

    The event loop has few threads, and name servers that do not answer would keep all of them.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_RESOLVERS, "resolver")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a name. Raises OSError if it has none."""

        def look_up() -> list[Any]:
            return socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)

        infos = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=of_family,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for of_family, _, protocol, _, address in infos
        ]

    async def close(self) -> None:
        """Let threads end that still wait for a name server."""
        self._threads.shutdown(wait=False, cancel_futures=True)
