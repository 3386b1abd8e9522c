"""The operations of subscriptions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from rescind_client.models.accounts import Resources
from rescind_client.models.orders import Facets
from rescind_client.models.subscriptions import (
    Acknowledged,
    Delivery,
    DeliveryDetails,
    Message,
    Pulled,
    Recovery,
    Triggered,
)
from rescind_client.pages import SearchPage
from rescind_client.transport import Request, SyncTransport, given, once, segment


class Subscriptions:
    """The operations of subscriptions."""

    def __init__(self, transport: SyncTransport) -> None:
        self._transport = transport

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Resources:
        """All subscriptions.

        Args:
            limit: Maximum number of rows.
            cursor: `next_cursor` or `previous_cursor` of another page, or an id to begin after.

        Raises:
            Problem: invalid-request.
        """
        return self._transport.send(
            Request("GET", "/v1/subscriptions", Resources, query=given(limit=limit, cursor=cursor))
        )

    def create(self, resource: Mapping[str, Any], *, idempotency_key: str | None = None) -> dict[str, Any]:
        """Create a subscription; a generated `secret` is shown only once, in this response.

        Args:
            resource: A resource as in a resource file; faults are reported with their place in it.
            idempotency_key: Made if it is not given; a retry has the same.

        Raises:
            Problem: already-exists, request-in-flight, invalid-request, idempotency-key-reused.
        """
        return self._transport.send(
            Request("POST", "/v1/subscriptions", dict[str, Any], body=resource, headers=once(idempotency_key))
        )

    def get(self, id: str) -> dict[str, Any]:
        """One subscription.

        Args:
            id: Id of the resource.

        Raises:
            Problem: not-found.
        """
        return self._transport.send(Request("GET", f"/v1/subscriptions/{segment(id)}", dict[str, Any]))

    def put(self, id: str, resource: Mapping[str, Any], *, confirm: bool | None = None) -> dict[str, Any]:
        """Create or change a subscription.

        Args:
            id: Id of the resource.
            resource: A resource as in a resource file; faults are reported with their place in it.
            confirm: Also enforce a policy that was never backtested or shadowed.

        Raises:
            Problem: invalid-request.
        """
        return self._transport.send(
            Request(
                "PUT", f"/v1/subscriptions/{segment(id)}", dict[str, Any], query=given(confirm=confirm), body=resource
            )
        )

    def delete(self, id: str) -> None:
        """Remove a subscription.

        Args:
            id: Id of the resource.

        Raises:
            Problem: not-found, resource-in-use.
        """
        return self._transport.send(Request("DELETE", f"/v1/subscriptions/{segment(id)}", type(None)))

    def rotate(
        self, id: str, *, overlap_h: float | None = None, secret: str | None = None, idempotency_key: str | None = None
    ) -> dict[str, Any]:
        """Give a subscription a new `secret`; for the overlap, deliveries are signed with the former one too.

        Args:
            id: Id of the resource.
            overlap_h: How long the former secret stays valid.
            secret: The new secret; by default one is generated.
            idempotency_key: Made if it is not given; a retry has the same.

        Raises:
            Problem: not-found, request-in-flight, invalid-request, idempotency-key-reused.
        """
        return self._transport.send(
            Request(
                "POST",
                f"/v1/subscriptions/{segment(id)}/rotate",
                dict[str, Any],
                body=given(overlap_h=overlap_h, secret=secret),
                headers=once(idempotency_key),
            )
        )

    def enable(self, id: str) -> dict[str, Any]:
        """Enable a subscription, also one that failed or was disabled automatically; what was held is sent.

        Args:
            id: Id of the resource.

        Raises:
            Problem: not-found.
        """
        return self._transport.send(Request("POST", f"/v1/subscriptions/{segment(id)}/enable", dict[str, Any]))

    def disable(self, id: str) -> dict[str, Any]:
        """Disable a subscription; its deliveries are held until it is enabled.

        Args:
            id: Id of the resource.

        Raises:
            Problem: not-found.
        """
        return self._transport.send(Request("POST", f"/v1/subscriptions/{segment(id)}/disable", dict[str, Any]))

    def list_deliveries(
        self,
        id: str,
        *,
        state: Literal["pending", "delivered", "failed"] | None = None,
        type: str | None = None,
        account: str | None = None,
        order: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> SearchPage[Delivery]:
        """Deliveries of a subscription, newest first.

        Args:
            id: Id of the resource.
            state: The field `state`.
            type: Types of messages, separated by commas, with stars: `cancellation.*`.
            account: The field `account`.
            order: Only those about this order, by any name; requires `account`.
            since: Messages written at this time or later.
            until: Messages written before this time.
            limit: Maximum number of rows; a page of large ones ends at 4 MB.
            cursor: `next_cursor` or `previous_cursor` of another page.

        Raises:
            Problem: not-found, ambiguous-order, invalid-request.
        """
        return self._transport.send(
            Request(
                "GET",
                f"/v1/subscriptions/{segment(id)}/deliveries",
                SearchPage[Delivery],
                query=given(
                    state=state,
                    type=type,
                    account=account,
                    order=order,
                    since=since,
                    until=until,
                    limit=limit,
                    cursor=cursor,
                ),
            )
        )

    def iterate_deliveries(
        self,
        id: str,
        *,
        state: Literal["pending", "delivered", "failed"] | None = None,
        type: str | None = None,
        account: str | None = None,
        order: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
    ) -> Iterator[Delivery]:
        """Deliveries of a subscription, newest first: the rows of all pages.

        Args:
            id: Id of the resource.
            state: The field `state`.
            type: Types of messages, separated by commas, with stars: `cancellation.*`.
            account: The field `account`.
            order: Only those about this order, by any name; requires `account`.
            since: Messages written at this time or later.
            until: Messages written before this time.
            limit: Maximum number of rows; a page of large ones ends at 4 MB.
        """
        return self._transport.iterate(
            Request(
                "GET",
                f"/v1/subscriptions/{segment(id)}/deliveries",
                SearchPage[Delivery],
                query=given(
                    state=state, type=type, account=account, order=order, since=since, until=until, limit=limit
                ),
            )
        )

    def count_deliveries(
        self,
        id: str,
        *,
        state: Literal["pending", "delivered", "failed"] | None = None,
        type: str | None = None,
        account: str | None = None,
        order: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Facets:
        """Count deliveries of a subscription by `state`, `type` and `account`, for the filters of the list.

        Args:
            id: Id of the resource.
            state: The field `state`.
            type: Types of messages, separated by commas, with stars: `cancellation.*`.
            account: The field `account`.
            order: Only those about this order, by any name; requires `account`.
            since: Messages written at this time or later.
            until: Messages written before this time.

        Raises:
            Problem: not-found, ambiguous-order, invalid-request.
        """
        return self._transport.send(
            Request(
                "GET",
                f"/v1/subscriptions/{segment(id)}/deliveries/facets",
                Facets,
                query=given(state=state, type=type, account=account, order=order, since=since, until=until),
            )
        )

    def get_delivery(self, id: str, message: str) -> DeliveryDetails:
        """One delivery, with the body that is sent and every attempt.

        Args:
            id: Id of the resource.
            message: Id of the message.

        Raises:
            Problem: not-found.
        """
        return self._transport.send(
            Request("GET", f"/v1/subscriptions/{segment(id)}/deliveries/{segment(message)}", DeliveryDetails)
        )

    def resend_delivery(self, id: str, message: str) -> DeliveryDetails:
        """Send a delivery again, whatever became of it; the receiver gets the same id.

        Args:
            id: Id of the resource.
            message: Id of the message.

        Raises:
            Problem: not-found.
        """
        return self._transport.send(
            Request("POST", f"/v1/subscriptions/{segment(id)}/deliveries/{segment(message)}/resend", DeliveryDetails)
        )

    def recover_deliveries(
        self, id: str, *, since: datetime, until: datetime | None = None, cursor: int | None = None
    ) -> Recovery:
        """Send all failed deliveries again that are as old as that, the oldest first.

        Args:
            id: Id of the resource.
            since: Those of messages written at this time or later.
            until: Those of messages written before this time. Default: now.
            cursor: `next_cursor` of the previous response, to go on after it.

        Raises:
            Problem: not-found, invalid-request.
        """
        return self._transport.send(
            Request(
                "POST",
                f"/v1/subscriptions/{segment(id)}/recover",
                Recovery,
                body=given(since=since, until=until, cursor=cursor),
            )
        )

    def pull_messages(
        self, id: str, *, limit: int | None = None, wait_s: float | None = None, visible_after_s: float | None = None
    ) -> Pulled:
        """Take the next messages of a subscription without a URL, signed as if they were sent.

        Args:
            id: Id of the resource.
            limit: Maximum number of messages.
            wait_s: How long to wait for a message if there is none, in seconds.
            visible_after_s: Messages that are not acknowledged within so many seconds are given again.

        Raises:
            Problem: not-found, invalid-request.
        """
        return self._transport.send(
            Request(
                "POST",
                f"/v1/subscriptions/{segment(id)}/pull",
                Pulled,
                body=given(limit=limit, wait_s=wait_s, visible_after_s=visible_after_s),
            )
        )

    def acknowledge_messages(self, id: str, *, messages: Sequence[str]) -> Acknowledged:
        """Acknowledge messages that were pulled: they are not given again.

        Args:
            id: Id of the resource.
            messages: Their ids.

        Raises:
            Problem: not-found, invalid-request.
        """
        return self._transport.send(
            Request("POST", f"/v1/subscriptions/{segment(id)}/ack", Acknowledged, body=given(messages=messages))
        )

    def get_message(self, id: str) -> Message:
        """One message to subscribers: what it says, which event caused it, and what became of its deliveries.

        Args:
            id: Id of the resource.

        Raises:
            Problem: not-found.
        """
        return self._transport.send(Request("GET", f"/v1/messages/{segment(id)}", Message))

    def trigger_message(self, *, type: str, account: str | None = None) -> Triggered:
        """Send an example of a type, marked as a test, to every subscription that receives the type about the account.

        Args:
            type: A type of messages.
            account: The account that it says to be about. Default: none.

        Raises:
            Problem: not-found, invalid-request.
        """
        return self._transport.send(Request("POST", "/v1/messages", Triggered, body=given(type=type, account=account)))

    def test(self, id: str, *, type: str | None = None, account: str | None = None) -> DeliveryDetails:
        """Send an example to a subscription, marked as a test, and return the delivery when it was attempted.

        Args:
            id: Id of the resource.
            type: A type of messages.
            account: The account that it says to be about. Default: none.

        Raises:
            Problem: not-found, invalid-request.
        """
        return self._transport.send(
            Request(
                "POST", f"/v1/subscriptions/{segment(id)}/test", DeliveryDetails, body=given(type=type, account=account)
            )
        )
