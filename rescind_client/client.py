"""The two clients."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Self

import httpx

from rescind_client.async_api import AsyncResources
from rescind_client.sync_api import Resources
from rescind_client.transport import AsyncTransport, Retries, SyncTransport

_URL = "http://127.0.0.1:8700"


class Rescind(Resources):
    """A client that waits. `url` and `api_key` default to RESCIND_URL and RESCIND_API_KEY, as for the command line."""

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: float = 30.0,
        retries: Retries | None = None,
        http: httpx.Client | None = None,
    ) -> None:
        self._http = http or httpx.Client(base_url=_base(url), headers=_headers(api_key), timeout=timeout_s)
        super().__init__(SyncTransport(self._http, retries or Retries()))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncRescind(AsyncResources):
    """A client for asyncio. `url` and `api_key` default to RESCIND_URL and RESCIND_API_KEY."""

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: float = 30.0,
        retries: Retries | None = None,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._http = http or httpx.AsyncClient(base_url=_base(url), headers=_headers(api_key), timeout=timeout_s)
        super().__init__(AsyncTransport(self._http, retries or Retries()))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


def _base(url: str | None) -> str:
    return url or os.environ.get("RESCIND_URL") or _URL


def _headers(api_key: str | None) -> dict[str, str]:
    key = api_key or os.environ.get("RESCIND_API_KEY", "")
    # Without a key the server says that it needs one.
    return {**({"Authorization": f"Bearer {key}"} if key else {}), "User-Agent": "rescind-client"}
