"""The operations of events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Literal

from rescind_client.models.events import Checkpoint, EventDetails
from rescind_client.models.orders import Event, Facets
from rescind_client.pages import Page, SearchPage
from rescind_client.stream import AsyncEventStream
from rescind_client.transport import AsyncTransport, Request, given, segment


class AsyncEvents:
    """The operations of events."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    def stream(
        self,
        *,
        account: str | None = None,
        order: str | None = None,
        type: str | None = None,
        source: Literal["webhook", "provider", "clock", "operator"] | None = None,
        policy: str | None = None,
        receipt: str | None = None,
        text: str | None = None,
        after: str | None = None,
        since: datetime | None = None,
        follow: bool | None = None,
    ) -> AsyncEventStream[Event]:
        """Events as they are recorded, as server-sent events, in the order of the log.

        Args:
            account: The field `account`.
            order: Only those of this order, by its id or any alias; requires `account`.
            type: Event types, separated by commas; a star stands for any characters: `appointment.*,order.*`.
            source: Only events that came this way.
            policy: Only decisions of this policy.
            receipt: Only events that were parsed from this receipt.
            text: Text in the event's facts or data.
            after: The `id` of the last event that was received; the stream goes on after it.
            since: Begin with events received at this time or later. Default: now.
            follow: Go on at the end of the log; with `false` the stream ends there.

        Raises:
            Problem: not-found, ambiguous-order, invalid-request.
        """
        return self._transport.stream(
            Request(
                "GET",
                "/v1/events/stream",
                Event,
                query=given(
                    account=account,
                    order=order,
                    type=type,
                    source=source,
                    policy=policy,
                    receipt=receipt,
                    text=text,
                    after=after,
                    since=since,
                    follow=follow,
                ),
            )
        )

    async def list(
        self,
        *,
        account: str | None = None,
        order: str | None = None,
        type: str | None = None,
        source: Literal["webhook", "provider", "clock", "operator"] | None = None,
        policy: str | None = None,
        receipt: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        text: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> SearchPage[Event]:
        """The event log, newest first.

        Args:
            account: The field `account`.
            order: Only those of this order, by its id or any alias; requires `account`.
            type: Event types, separated by commas; a star stands for any characters: `appointment.*,order.*`.
            source: Through which side of the one door they came.
            policy: Only decisions of this policy.
            receipt: Only events that were parsed from this receipt.
            since: Received at this time or later.
            until: Received before this time.
            text: Text in the event's facts or data.
            limit: Maximum number of rows; a page of large ones ends at 4 MB.
            cursor: `next_cursor` or `previous_cursor` of another page.

        Raises:
            Problem: not-found, ambiguous-order, invalid-request.
        """
        return await self._transport.send(
            Request(
                "GET",
                "/v1/events",
                SearchPage[Event],
                query=given(
                    account=account,
                    order=order,
                    type=type,
                    source=source,
                    policy=policy,
                    receipt=receipt,
                    since=since,
                    until=until,
                    text=text,
                    limit=limit,
                    cursor=cursor,
                ),
            )
        )

    def iterate(
        self,
        *,
        account: str | None = None,
        order: str | None = None,
        type: str | None = None,
        source: Literal["webhook", "provider", "clock", "operator"] | None = None,
        policy: str | None = None,
        receipt: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        text: str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Event]:
        """The event log, newest first: the rows of all pages.

        Args:
            account: The field `account`.
            order: Only those of this order, by its id or any alias; requires `account`.
            type: Event types, separated by commas; a star stands for any characters: `appointment.*,order.*`.
            source: Through which side of the one door they came.
            policy: Only decisions of this policy.
            receipt: Only events that were parsed from this receipt.
            since: Received at this time or later.
            until: Received before this time.
            text: Text in the event's facts or data.
            limit: Maximum number of rows; a page of large ones ends at 4 MB.
        """
        return self._transport.iterate(
            Request(
                "GET",
                "/v1/events",
                SearchPage[Event],
                query=given(
                    account=account,
                    order=order,
                    type=type,
                    source=source,
                    policy=policy,
                    receipt=receipt,
                    since=since,
                    until=until,
                    text=text,
                    limit=limit,
                ),
            )
        )

    async def count(
        self,
        *,
        account: str | None = None,
        order: str | None = None,
        type: str | None = None,
        source: Literal["webhook", "provider", "clock", "operator"] | None = None,
        policy: str | None = None,
        receipt: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        text: str | None = None,
    ) -> Facets:
        """Count events by `type`, `account`, `source` and `day` (UTC, by receipt), for the filters of the list.

        Args:
            account: The field `account`.
            order: Only those of this order, by its id or any alias; requires `account`.
            type: Event types, separated by commas; a star stands for any characters: `appointment.*,order.*`.
            source: Through which side of the one door they came.
            policy: Only decisions of this policy.
            receipt: Only events that were parsed from this receipt.
            since: Received at this time or later.
            until: Received before this time.
            text: Text in the event's facts or data.

        Raises:
            Problem: not-found, ambiguous-order, invalid-request.
        """
        return await self._transport.send(
            Request(
                "GET",
                "/v1/events/facets",
                Facets,
                query=given(
                    account=account,
                    order=order,
                    type=type,
                    source=source,
                    policy=policy,
                    receipt=receipt,
                    since=since,
                    until=until,
                    text=text,
                ),
            )
        )

    async def get(self, id: str) -> EventDetails:
        """One event, and the cancellations and messages that it led to.

        Args:
            id: Id of the resource.

        Raises:
            Problem: not-found.
        """
        return await self._transport.send(Request("GET", f"/v1/events/{segment(id)}", EventDetails))

    async def list_checkpoints(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Checkpoint]:
        """The signed checkpoints of the event log, newest first.

        Args:
            limit: Maximum number of rows; a page of large ones ends at 4 MB.
            cursor: `next_cursor` or `previous_cursor` of another page.

        Raises:
            Problem: invalid-request.
        """
        return await self._transport.send(
            Request("GET", "/v1/log/checkpoints", Page[Checkpoint], query=given(limit=limit, cursor=cursor))
        )

    def iterate_checkpoints(self, *, limit: int | None = None) -> AsyncIterator[Checkpoint]:
        """The signed checkpoints of the event log, newest first: the rows of all pages.

        Args:
            limit: Maximum number of rows; a page of large ones ends at 4 MB.
        """
        return self._transport.iterate(
            Request("GET", "/v1/log/checkpoints", Page[Checkpoint], query=given(limit=limit))
        )

    async def get_latest_checkpoint(self) -> Checkpoint:
        """The latest signed checkpoint of the event log.

        Raises:
            Problem: not-found.
        """
        return await self._transport.send(Request("GET", "/v1/log/checkpoints/latest", Checkpoint))
