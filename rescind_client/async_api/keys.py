"""The operations of keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rescind_client.models.accounts import Resources
from rescind_client.models.keys import Key, Scope
from rescind_client.transport import AsyncTransport, Request, given, once, segment


class AsyncKeys:
    """The operations of keys."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list(self, *, limit: int | None = None, cursor: str | None = None) -> Resources:
        """API keys, without their secrets.

        Args:
            limit: Maximum number of rows.
            cursor: `next_cursor` or `previous_cursor` of another page, or an id to begin after.

        Raises:
            Problem: invalid-request.
        """
        return await self._transport.send(
            Request("GET", "/v1/keys", Resources, query=given(limit=limit, cursor=cursor))
        )

    async def create(
        self,
        *,
        name: str,
        scope: Scope | None = None,
        accounts: Sequence[str] | None = None,
        expires_at: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> Key:
        """Create an API key; it is shown only once, in this response.

        Args:
            name: The field `name`.
            scope: The field `scope`.
            accounts: Only for these accounts: those of others do not exist for it.
            expires_at: Refused from then on. Default: it does not expire.
            idempotency_key: Made if it is not given; a retry has the same.

        Raises:
            Problem: request-in-flight, invalid-request, idempotency-key-reused.
        """
        return await self._transport.send(
            Request(
                "POST",
                "/v1/keys",
                Key,
                body=given(name=name, scope=scope, accounts=accounts, expires_at=expires_at),
                headers=once(idempotency_key),
            )
        )

    async def rotate(
        self,
        id: str,
        *,
        overlap_h: float | None = None,
        expires_at: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> Key:
        """Replace an API key by a new one, shown only once; the old one stays valid for the overlap.

        Args:
            id: Id of the resource.
            overlap_h: How long the key that is replaced stays valid, in hours.
            expires_at: When the new key expires. Default: after as long a time as the replaced one had, if it had.
            idempotency_key: Made if it is not given; a retry has the same.

        Raises:
            Problem: not-found, request-in-flight, invalid-request, idempotency-key-reused.
        """
        return await self._transport.send(
            Request(
                "POST",
                f"/v1/keys/{segment(id)}/rotate",
                Key,
                body=given(overlap_h=overlap_h, expires_at=expires_at),
                headers=once(idempotency_key),
            )
        )

    async def revoke(self, id: str) -> None:
        """Revoke an API key.

        Args:
            id: Id of the resource.

        Raises:
            Problem: not-found.
        """
        return await self._transport.send(Request("DELETE", f"/v1/keys/{segment(id)}", type(None)))

    async def end_sessions(self, id: str) -> None:
        """End all sessions of the console that were begun with an API key, which stays valid.

        Args:
            id: Id of the resource.

        Raises:
            Problem: not-found.
        """
        return await self._transport.send(Request("DELETE", f"/v1/keys/{segment(id)}/sessions", type(None)))
