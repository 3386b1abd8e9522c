"""The operations of receipts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Literal

from rescind_client.models.orders import Facets
from rescind_client.models.receipts import Receipt, ReprocessFilter, ReprocessPage
from rescind_client.pages import SearchPage
from rescind_client.transport import Request, SyncTransport, given, segment


class Receipts:
    """The operations of receipts."""

    def __init__(self, transport: SyncTransport) -> None:
        self._transport = transport

    def list(
        self,
        *,
        account: str | None = None,
        order: str | None = None,
        endpoint: str | None = None,
        status: Literal["accepted", "duplicate", "ignored", "quarantined"] | None = None,
        reason: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        text: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> SearchPage[Receipt]:
        """Inbound requests, newest first; those with `status=quarantined` could not be parsed.

        Args:
            account: The field `account`.
            order: Only those of this order, by its id or any alias; requires `account`.
            endpoint: The field `endpoint`.
            status: The field `status`.
            reason: Text contained in the reason why it was set aside.
            since: Received at this time or later.
            until: Received before this time.
            text: Text contained in the body; requires scope admin, as bodies hold private data.
            limit: Maximum number of rows; a page of large ones ends at 4 MB.
            cursor: `next_cursor` or `previous_cursor` of another page.

        Raises:
            Problem: not-found, ambiguous-order, invalid-request.
        """
        return self._transport.send(
            Request(
                "GET",
                "/v1/receipts",
                SearchPage[Receipt],
                query=given(
                    account=account,
                    order=order,
                    endpoint=endpoint,
                    status=status,
                    reason=reason,
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
        endpoint: str | None = None,
        status: Literal["accepted", "duplicate", "ignored", "quarantined"] | None = None,
        reason: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        text: str | None = None,
        limit: int | None = None,
    ) -> Iterator[Receipt]:
        """Inbound requests, newest first; those with `status=quarantined` could not be parsed: the rows of all pages.

        Args:
            account: The field `account`.
            order: Only those of this order, by its id or any alias; requires `account`.
            endpoint: The field `endpoint`.
            status: The field `status`.
            reason: Text contained in the reason why it was set aside.
            since: Received at this time or later.
            until: Received before this time.
            text: Text contained in the body; requires scope admin, as bodies hold private data.
            limit: Maximum number of rows; a page of large ones ends at 4 MB.
        """
        return self._transport.iterate(
            Request(
                "GET",
                "/v1/receipts",
                SearchPage[Receipt],
                query=given(
                    account=account,
                    order=order,
                    endpoint=endpoint,
                    status=status,
                    reason=reason,
                    since=since,
                    until=until,
                    text=text,
                    limit=limit,
                ),
            )
        )

    def count(
        self,
        *,
        account: str | None = None,
        order: str | None = None,
        endpoint: str | None = None,
        status: Literal["accepted", "duplicate", "ignored", "quarantined"] | None = None,
        reason: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        text: str | None = None,
    ) -> Facets:
        """Count receipts by `status`, `endpoint` and `account`, for the filters of the list.

        Args:
            account: The field `account`.
            order: Only those of this order, by its id or any alias; requires `account`.
            endpoint: The field `endpoint`.
            status: The field `status`.
            reason: Text contained in the reason why it was set aside.
            since: Received at this time or later.
            until: Received before this time.
            text: Text contained in the body; requires scope admin, as bodies hold private data.

        Raises:
            Problem: not-found, ambiguous-order, invalid-request.
        """
        return self._transport.send(
            Request(
                "GET",
                "/v1/receipts/facets",
                Facets,
                query=given(
                    account=account,
                    order=order,
                    endpoint=endpoint,
                    status=status,
                    reason=reason,
                    since=since,
                    until=until,
                    text=text,
                ),
            )
        )

    def get(self, id: str, *, raw: bool | None = None) -> Receipt:
        """One receipt with its headers, body, orders and events; with `raw` also its private data.

        Args:
            id: Id of the resource.
            raw: Do not mask fields that the handler declares private; requires scope admin.

        Raises:
            Problem: not-found, invalid-request.
        """
        return self._transport.send(Request("GET", f"/v1/receipts/{segment(id)}", Receipt, query=given(raw=raw)))

    def reprocess(self, id: str) -> Receipt:
        """Parse a receipt again, after its handler or account was corrected.

        Args:
            id: Id of the resource.

        Raises:
            Problem: not-found, content-expunged.
        """
        return self._transport.send(Request("POST", f"/v1/receipts/{segment(id)}/reprocess", Receipt))

    def bulk_reprocess(
        self,
        *,
        dry_run: bool | None = None,
        filter: ReprocessFilter | None = None,
        receipts: Sequence[str] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> ReprocessPage:
        """Parse receipts again, after their handler or account was corrected; with `dry_run` only preview it.

        Args:
            dry_run: Tell only what would become of them.
            filter: An empty one finds all in quarantine.
            receipts: Exactly these receipts, at once.
            limit: Maximum number of receipts in this request.
            cursor: `next_cursor` of the previous response.

        Raises:
            Problem: not-found, ambiguous-order, invalid-request.
        """
        return self._transport.send(
            Request(
                "POST",
                "/v1/receipts/reprocess",
                ReprocessPage,
                body=given(dry_run=dry_run, filter=filter, receipts=receipts, limit=limit, cursor=cursor),
            )
        )
