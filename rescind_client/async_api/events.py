"""The operations of events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

from rescind_client.models.orders import Event
from rescind_client.pages import SearchPage
from rescind_client.transport import AsyncTransport, Request, given, segment


class AsyncEvents:
    """The operations of events."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        account: str | None = None,
        order: str | None = None,
        type: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        text: str | None = None,
    ) -> SearchPage[Event]:
        """The event log, newest first.

        Args:
            limit: Maximum number of rows.
            cursor: `next_cursor` of the previous page.
            account: The field `account`.
            order: Only those of this order, by its id or any alias; requires `account`.
            type: An event type, or a prefix and a star: `appointment.*`.
            since: Received at this time or later.
            until: Received before this time.
            text: Text contained in the event's facts or data.

        Raises:
            Problem: not-found, ambiguous-order, invalid-request.
        """
        return await self._transport.send(
            Request(
                "GET",
                "/v1/events",
                SearchPage[Event],
                query=given(
                    limit=limit,
                    cursor=cursor,
                    account=account,
                    order=order,
                    type=type,
                    since=since,
                    until=until,
                    text=text,
                ),
            )
        )

    def iterate(
        self,
        *,
        limit: int | None = None,
        account: str | None = None,
        order: str | None = None,
        type: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        text: str | None = None,
    ) -> AsyncIterator[Event]:
        """The event log, newest first: the rows of all pages.

        Args:
            limit: Maximum number of rows.
            account: The field `account`.
            order: Only those of this order, by its id or any alias; requires `account`.
            type: An event type, or a prefix and a star: `appointment.*`.
            since: Received at this time or later.
            until: Received before this time.
            text: Text contained in the event's facts or data.
        """
        return self._transport.iterate(
            Request(
                "GET",
                "/v1/events",
                SearchPage[Event],
                query=given(limit=limit, account=account, order=order, type=type, since=since, until=until, text=text),
            )
        )

    async def get(self, id: str) -> Event:
        """One event.

        Args:
            id: Id of the resource.

        Raises:
            Problem: not-found.
        """
        return await self._transport.send(Request("GET", f"/v1/events/{segment(id)}", Event))
