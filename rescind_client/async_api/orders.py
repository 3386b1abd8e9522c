"""The operations of orders."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Literal

from rescind_client.models.explanations import Explanation
from rescind_client.models.orders import Cancellation, Facets, Order, Tags, TimelineEntry, Verdict
from rescind_client.models.probes import RequestedProbes, WaitingProbes
from rescind_client.pages import Page, SearchPage
from rescind_client.transport import AsyncTransport, Request, given, segment


class AsyncOrders:
    """The operations of orders."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list(
        self,
        *,
        account: str | None = None,
        phase: Literal["open", "in_progress", "completed", "canceled", "unknown"] | None = None,
        cancelable: Literal["yes", "no", "unknown"] | None = None,
        reason: str | None = None,
        closes_after: datetime | None = None,
        closes_before: datetime | None = None,
        opened_since: datetime | None = None,
        opened_until: datetime | None = None,
        text: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> SearchPage[Order]:
        """Orders with their verdicts, most recently discovered first.

        Args:
            account: The field `account`.
            phase: The field `phase`.
            cancelable: The verdict.
            reason: The verdict's reason.
            closes_after: Time alone closes the window at this time or later.
            closes_before: Time alone closes the window before this time.
            opened_since: Opened at this time or later.
            opened_until: Opened before this time.
            text: The beginning of the order's id or of an alias.
            limit: Maximum number of rows; a page of large ones ends at 4 MB.
            cursor: `next_cursor` or `previous_cursor` of another page.

        Raises:
            Problem: not-found, invalid-request.
        """
        return await self._transport.send(
            Request(
                "GET",
                "/v1/orders",
                SearchPage[Order],
                query=given(
                    account=account,
                    phase=phase,
                    cancelable=cancelable,
                    reason=reason,
                    closes_after=closes_after,
                    closes_before=closes_before,
                    opened_since=opened_since,
                    opened_until=opened_until,
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
        phase: Literal["open", "in_progress", "completed", "canceled", "unknown"] | None = None,
        cancelable: Literal["yes", "no", "unknown"] | None = None,
        reason: str | None = None,
        closes_after: datetime | None = None,
        closes_before: datetime | None = None,
        opened_since: datetime | None = None,
        opened_until: datetime | None = None,
        text: str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Order]:
        """Orders with their verdicts, most recently discovered first: the rows of all pages.

        Args:
            account: The field `account`.
            phase: The field `phase`.
            cancelable: The verdict.
            reason: The verdict's reason.
            closes_after: Time alone closes the window at this time or later.
            closes_before: Time alone closes the window before this time.
            opened_since: Opened at this time or later.
            opened_until: Opened before this time.
            text: The beginning of the order's id or of an alias.
            limit: Maximum number of rows; a page of large ones ends at 4 MB.
        """
        return self._transport.iterate(
            Request(
                "GET",
                "/v1/orders",
                SearchPage[Order],
                query=given(
                    account=account,
                    phase=phase,
                    cancelable=cancelable,
                    reason=reason,
                    closes_after=closes_after,
                    closes_before=closes_before,
                    opened_since=opened_since,
                    opened_until=opened_until,
                    text=text,
                    limit=limit,
                ),
            )
        )

    async def count(
        self,
        *,
        account: str | None = None,
        phase: Literal["open", "in_progress", "completed", "canceled", "unknown"] | None = None,
        cancelable: Literal["yes", "no", "unknown"] | None = None,
        reason: str | None = None,
        closes_after: datetime | None = None,
        closes_before: datetime | None = None,
        opened_since: datetime | None = None,
        opened_until: datetime | None = None,
        text: str | None = None,
    ) -> Facets:
        """Count orders by `cancelable`, `phase`, `reason` and `account`, for the filters of the list.

        Args:
            account: The field `account`.
            phase: The field `phase`.
            cancelable: The verdict.
            reason: The verdict's reason.
            closes_after: Time alone closes the window at this time or later.
            closes_before: Time alone closes the window before this time.
            opened_since: Opened at this time or later.
            opened_until: Opened before this time.
            text: The beginning of the order's id or of an alias.

        Raises:
            Problem: not-found, invalid-request.
        """
        return await self._transport.send(
            Request(
                "GET",
                "/v1/orders/facets",
                Facets,
                query=given(
                    account=account,
                    phase=phase,
                    cancelable=cancelable,
                    reason=reason,
                    closes_after=closes_after,
                    closes_before=closes_before,
                    opened_since=opened_since,
                    opened_until=opened_until,
                    text=text,
                ),
            )
        )

    async def get(
        self, account: str, order: str, *, at: datetime | None = None, known_at: datetime | None = None
    ) -> Order:
        """An order with its verdict, by its id or any alias; also as it was known at an earlier time.

        Args:
            account: Id of the account.
            order: The provider's id of the order, or an alias that leads to it.
            at: As of this time, for what time alone changes. Default: now.
            known_at: Only events received by this time count. Default: all.

        Raises:
            Problem: not-found, ambiguous-order, invalid-request.
        """
        return await self._transport.send(
            Request(
                "GET",
                f"/v1/accounts/{segment(account)}/orders/{segment(order)}",
                Order,
                query=given(at=at, known_at=known_at),
            )
        )

    async def list_cancellations(
        self,
        account: str,
        order: str,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        known_at: datetime | None = None,
    ) -> Page[Cancellation]:
        """The cancellations of an order, newest first; also as they were known earlier.

        Args:
            account: Id of the account.
            order: The provider's id of the order, or an alias that leads to it.
            limit: Maximum number of rows; a page of large ones ends at 4 MB.
            cursor: `next_cursor` or `previous_cursor` of another page.
            known_at: As far as events received by this time tell. Default: now.

        Raises:
            Problem: not-found, ambiguous-order, invalid-request.
        """
        return await self._transport.send(
            Request(
                "GET",
                f"/v1/accounts/{segment(account)}/orders/{segment(order)}/cancellations",
                Page[Cancellation],
                query=given(limit=limit, cursor=cursor, known_at=known_at),
            )
        )

    def iterate_cancellations(
        self, account: str, order: str, *, limit: int | None = None, known_at: datetime | None = None
    ) -> AsyncIterator[Cancellation]:
        """The cancellations of an order, newest first; also as they were known earlier: the rows of all pages.

        Args:
            account: Id of the account.
            order: The provider's id of the order, or an alias that leads to it.
            limit: Maximum number of rows; a page of large ones ends at 4 MB.
            known_at: As far as events received by this time tell. Default: now.
        """
        return self._transport.iterate(
            Request(
                "GET",
                f"/v1/accounts/{segment(account)}/orders/{segment(order)}/cancellations",
                Page[Cancellation],
                query=given(limit=limit, known_at=known_at),
            )
        )

    async def get_verdict(
        self, account: str, order: str, *, at: datetime | None = None, known_at: datetime | None = None
    ) -> Verdict:
        """The verdict as of a time, and as known at a time.

        Args:
            account: Id of the account.
            order: The provider's id of the order, or an alias that leads to it.
            at: As of this time, for what time alone changes. Default: now.
            known_at: Only events received by this time count. Default: all.

        Raises:
            Problem: not-found, ambiguous-order, invalid-request.
        """
        return await self._transport.send(
            Request(
                "GET",
                f"/v1/accounts/{segment(account)}/orders/{segment(order)}/verdict",
                Verdict,
                query=given(at=at, known_at=known_at),
            )
        )

    async def change_tags(
        self, account: str, order: str, *, add: Sequence[str] | None = None, remove: Sequence[str] | None = None
    ) -> Tags:
        """Add tags to an order, or remove some; policies see the change at once.

        Args:
            account: Id of the account.
            order: The provider's id of the order, or an alias that leads to it.
            add: The field `add`.
            remove: The field `remove`.

        Raises:
            Problem: not-found, ambiguous-order, invalid-request.
        """
        return await self._transport.send(
            Request(
                "POST",
                f"/v1/accounts/{segment(account)}/orders/{segment(order)}/tags",
                Tags,
                body=given(add=add, remove=remove),
            )
        )

    async def get_timeline(
        self,
        account: str,
        order: str,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        since: datetime | None = None,
    ) -> Page[TimelineEntry]:
        """Events, policy decisions, verdict changes and attempts, oldest first.

        Args:
            account: Id of the account.
            order: The provider's id of the order, or an alias that leads to it.
            limit: Maximum number of rows; a page of large ones ends at 4 MB.
            cursor: `next_cursor` or `previous_cursor` of another page.
            since: Begin with the first event that was received at this time or later.

        Raises:
            Problem: not-found, ambiguous-order, invalid-request.
        """
        return await self._transport.send(
            Request(
                "GET",
                f"/v1/accounts/{segment(account)}/orders/{segment(order)}/timeline",
                Page[TimelineEntry],
                query=given(limit=limit, cursor=cursor, since=since),
            )
        )

    def iterate_timeline(
        self, account: str, order: str, *, limit: int | None = None, since: datetime | None = None
    ) -> AsyncIterator[TimelineEntry]:
        """Events, policy decisions, verdict changes and attempts, oldest first: the rows of all pages.

        Args:
            account: Id of the account.
            order: The provider's id of the order, or an alias that leads to it.
            limit: Maximum number of rows; a page of large ones ends at 4 MB.
            since: Begin with the first event that was received at this time or later.
        """
        return self._transport.iterate(
            Request(
                "GET",
                f"/v1/accounts/{segment(account)}/orders/{segment(order)}/timeline",
                Page[TimelineEntry],
                query=given(limit=limit, since=since),
            )
        )

    async def get_explanation(
        self, account: str, order: str, *, at: datetime | None = None, known_at: datetime | None = None
    ) -> Explanation:
        """Why an order can or cannot be canceled, clause by clause: also as of a time, and as known at a time.

        Args:
            account: Id of the account.
            order: The provider's id of the order, or an alias that leads to it.
            at: As of this time, for what time alone changes. Default: now.
            known_at: Only events received by this time count. Default: all.

        Raises:
            Problem: not-found, ambiguous-order, invalid-request.
        """
        return await self._transport.send(
            Request(
                "GET",
                f"/v1/accounts/{segment(account)}/orders/{segment(order)}/explanation",
                Explanation,
                query=given(at=at, known_at=known_at),
            )
        )

    async def want_probes(
        self, account: str, *, orders: Sequence[str], only_new: bool | None = None
    ) -> RequestedProbes:
        """Probe orders at the provider, within the account's limit.

        Args:
            account: Id of the account.
            orders: The provider's ids.
            only_new: Only orders without any event. Their probes are spread over time and leave half of the
                account's limit to cancels. Repeating the request changes nothing.

        Raises:
            Problem: not-found, invalid-request.
        """
        return await self._transport.send(
            Request(
                "POST",
                f"/v1/accounts/{segment(account)}/probes",
                RequestedProbes,
                body=given(orders=orders, only_new=only_new),
            )
        )

    async def get_probes(self, account: str) -> WaitingProbes:
        """How many orders of the account still wait for a probe.

        Args:
            account: Id of the account.

        Raises:
            Problem: not-found.
        """
        return await self._transport.send(Request("GET", f"/v1/accounts/{segment(account)}/probes", WaitingProbes))
