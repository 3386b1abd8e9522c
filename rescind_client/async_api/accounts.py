"""The operations of accounts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rescind_client.models.accounts import Providers, Resources
from rescind_client.transport import AsyncTransport, Request, given, segment


class AsyncAccounts:
    """The operations of accounts."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list(self, *, limit: int | None = None, cursor: str | None = None) -> Resources:
        """All accounts.

        Args:
            limit: Maximum number of rows.
            cursor: `next_cursor` or `previous_cursor` of another page, or an id to begin after.

        Raises:
            Problem: invalid-request.
        """
        return await self._transport.send(
            Request("GET", "/v1/accounts", Resources, query=given(limit=limit, cursor=cursor))
        )

    async def get(self, id: str) -> dict[str, Any]:
        """One account.

        Args:
            id: Id of the resource.

        Raises:
            Problem: not-found.
        """
        return await self._transport.send(Request("GET", f"/v1/accounts/{segment(id)}", dict[str, Any]))

    async def put(self, id: str, resource: Mapping[str, Any], *, confirm: bool | None = None) -> dict[str, Any]:
        """Create or change an account.

        Args:
            id: Id of the resource.
            resource: A resource as in a resource file; faults are reported with their place in it.
            confirm: Also enforce a policy that was never backtested or shadowed.

        Raises:
            Problem: invalid-request.
        """
        return await self._transport.send(
            Request("PUT", f"/v1/accounts/{segment(id)}", dict[str, Any], query=given(confirm=confirm), body=resource)
        )

    async def delete(self, id: str) -> None:
        """Remove an account.

        Args:
            id: Id of the resource.

        Raises:
            Problem: not-found, resource-in-use.
        """
        return await self._transport.send(Request("DELETE", f"/v1/accounts/{segment(id)}", type(None)))

    async def list_providers(self, *, limit: int | None = None, cursor: str | None = None) -> Providers:
        """Providers that accounts can be at, and what their accounts are configured with.

        Args:
            limit: Maximum number of rows.
            cursor: `next_cursor` or `previous_cursor` of another page, or an id to begin after.

        Raises:
            Problem: invalid-request.
        """
        return await self._transport.send(
            Request("GET", "/v1/providers", Providers, query=given(limit=limit, cursor=cursor))
        )
