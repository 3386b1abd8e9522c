"""The operations of attempts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Literal

from rescind_client.models.attempts import AttemptSummary
from rescind_client.models.orders import Attempt
from rescind_client.pages import SearchPage
from rescind_client.transport import Request, SyncTransport, given, segment


class Attempts:
    """The operations of attempts."""

    def __init__(self, transport: SyncTransport) -> None:
        self._transport = transport

    def list(
        self,
        *,
        account: str | None = None,
        order: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        cancellation: str | None = None,
        kind: Literal["cancel", "probe"] | None = None,
        outcome: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> SearchPage[AttemptSummary]:
        """Calls to providers about orders, newest first, without what was sent and answered.

        Args:
            account: The field `account`.
            order: Only those of this order, by its id or any alias; requires `account`.
            limit: Maximum number of rows; a page of large ones ends at 4 MB.
            cursor: `next_cursor` or `previous_cursor` of another page.
            cancellation: Only calls for this cancellation.
            kind: Only calls of this kind.
            outcome: Only calls with this outcome: succeeded, accepted, refused, retry, unauthorized, indeterminate,
                interrupted.
            since: Begun at this time or later.
            until: Begun before this time.

        Raises:
            Problem: not-found, ambiguous-order, invalid-request.
        """
        return self._transport.send(
            Request(
                "GET",
                "/v1/attempts",
                SearchPage[AttemptSummary],
                query=given(
                    account=account,
                    order=order,
                    limit=limit,
                    cursor=cursor,
                    cancellation=cancellation,
                    kind=kind,
                    outcome=outcome,
                    since=since,
                    until=until,
                ),
            )
        )

    def iterate(
        self,
        *,
        account: str | None = None,
        order: str | None = None,
        limit: int | None = None,
        cancellation: str | None = None,
        kind: Literal["cancel", "probe"] | None = None,
        outcome: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Iterator[AttemptSummary]:
        """Calls to providers about orders, newest first, without what was sent and answered: the rows of all pages.

        Args:
            account: The field `account`.
            order: Only those of this order, by its id or any alias; requires `account`.
            limit: Maximum number of rows; a page of large ones ends at 4 MB.
            cancellation: Only calls for this cancellation.
            kind: Only calls of this kind.
            outcome: Only calls with this outcome: succeeded, accepted, refused, retry, unauthorized, indeterminate,
                interrupted.
            since: Begun at this time or later.
            until: Begun before this time.
        """
        return self._transport.iterate(
            Request(
                "GET",
                "/v1/attempts",
                SearchPage[AttemptSummary],
                query=given(
                    account=account,
                    order=order,
                    limit=limit,
                    cancellation=cancellation,
                    kind=kind,
                    outcome=outcome,
                    since=since,
                    until=until,
                ),
            )
        )

    def get(self, id: str) -> Attempt:
        """One attempt, with what was sent and answered, without secrets.

        Args:
            id: Id of the resource.

        Raises:
            Problem: not-found.
        """
        return self._transport.send(Request("GET", f"/v1/attempts/{segment(id)}", Attempt))
