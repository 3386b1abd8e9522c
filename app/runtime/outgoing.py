"""Requests to URLs that users gave: deliveries to subscribers, and notices.

Every request goes through `OutgoingHttp.send`, so that none follows a redirect, reaches a private network, uses a proxy
from the environment, repeats itself, or reads a response without end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import aiohttp
from yarl import URL

from app.core.lane.unreachable import Unreachable
from app.kit.destinations import Network, fault_in_url
from app.runtime.guard import PrivateAddressError, ThreadResolver, guarded_connector
from app.runtime.http_client import explain, make_session, unreachable

BODY_KEPT_MAX = 16_384
_CONNECT_S = 10.0


@dataclass(frozen=True, slots=True)
class Reply:
    """A server's response. Its status may be any: a redirect is a reply like others."""

    status: int
    headers: Mapping[str, str]
    """Names are in lower case."""
    body: bytes
    """Its first `keep` bytes."""
    truncated: bool
    """Whether the body is longer."""


class SendFailedError(Exception):
    """A request got no response; the message says why, without the URL's path and query, which may hold a token."""

    def __init__(self, detail: str, reason: Unreachable | None) -> None:
        super().__init__(detail)
        self.reason = reason
        """Why the request did not reach the server; None if it did, or may have."""


class OutgoingHttp:
    """Sends requests, with connections and resolver threads of its own: no slow server delays calls to providers."""

    def __init__(self, allow: tuple[Network, ...]) -> None:
        self._allow = allow
        self._resolver = ThreadResolver()
        self._session = make_session(guarded_connector(allow, self._resolver))

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        timeout_s: float,
        keep: int = BODY_KEPT_MAX,
    ) -> Reply:
        """Send one request, once, and return the response with up to `keep` bytes of its body.

        `timeout_s` bounds everything: the look-up, the connection, the request and the response.
        Raises `SendFailedError`.
        """
        try:
            async with self._session.request(
                method,
                _checked(url, self._allow),
                data=body or None,
                headers=headers,
                skip_auto_headers=("Content-Type",),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=min(_CONNECT_S, timeout_s)),
            ) as response:
                read, truncated = await _read(response, keep)
                lower = {name.lower(): value for name, value in response.headers.items()}
                return Reply(response.status, lower, read, truncated)
        except (aiohttp.ClientError, PrivateAddressError, TimeoutError, OSError, ValueError) as error:
            raise SendFailedError(_explain(error), unreachable(error)) from error

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()
        await self._resolver.close()


@lru_cache(maxsize=4096)
def _checked(url: str, allow: tuple[Network, ...]) -> URL:
    """The URL as it is connected to. Raises `PrivateAddressError` for a fault."""
    fault = fault_in_url(url, allow)
    if fault is not None:
        raise PrivateAddressError(fault)
    return URL(url)


async def _read(response: aiohttp.ClientResponse, keep: int) -> tuple[bytes, bool]:
    """The first `keep` bytes of the body, and whether there are more; the rest is not read."""
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > keep:
            # Else the connection would be drained when the response is released.
            response.close()
            return bytes(body[:keep]), True
    return bytes(body), False


def _explain(error: BaseException) -> str:
    # Its message contains the URL.
    if isinstance(error, aiohttp.InvalidURL):
        return "the URL cannot be connected to"
    return explain(error)
