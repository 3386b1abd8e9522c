"""The operations of cancellations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Literal

from rescind_client.models.cancellations import Batch, BatchItem, BatchProgress, CancellationDetails, DryRun
from rescind_client.models.orders import Cancellation, Facets
from rescind_client.pages import Page
from rescind_client.transport import Request, SyncTransport, given, once, segment


class Cancellations:
    """The operations of cancellations."""

    def __init__(self, transport: SyncTransport) -> None:
        self._transport = transport

    def create(
        self,
        account: str,
        order: str,
        *,
        reason: str | None = None,
        note: str | None = None,
        deadline: datetime | None = None,
        force: bool | None = None,
        idempotency_key: str | None = None,
    ) -> Cancellation:
        """Request the cancellation of an order; rejected at once, with the evidence, if it cannot succeed.

        Args:
            account: Id of the account.
            order: The provider's id of the order, or an alias that leads to it.
            reason: One of the provider's reasons, if it has a list; else free text. The provider decides whether it
                is required, and its length.
            note: Free text. Required if the provider requires it, refused if the provider takes none.
            deadline: Not sent after this time.
            force: Send it even if the verdict is `no`; new evidence still stops the cancellation.
            idempotency_key: Made if it is not given; a retry has the same.

        Raises:
            Problem: not-found, order-not-cancelable, ambiguous-order, cancellation-exists, request-in-flight,
                invalid-request, idempotency-key-reused.
        """
        return self._transport.send(
            Request(
                "POST",
                f"/v1/accounts/{segment(account)}/orders/{segment(order)}/cancellations",
                Cancellation,
                body=given(reason=reason, note=note, deadline=deadline, force=force),
                headers=once(idempotency_key),
            )
        )

    def dry_run(
        self,
        account: str,
        order: str,
        *,
        reason: str | None = None,
        note: str | None = None,
        deadline: datetime | None = None,
        force: bool | None = None,
    ) -> DryRun:
        """Return what the request would lead to, and change nothing.

        Args:
            account: Id of the account.
            order: The provider's id of the order, or an alias that leads to it.
            reason: One of the provider's reasons, if it has a list; else free text. The provider decides whether it
                is required, and its length.
            note: Free text. Required if the provider requires it, refused if the provider takes none.
            deadline: Not sent after this time.
            force: Send it even if the verdict is `no`; new evidence still stops the cancellation.

        Raises:
            Problem: not-found, order-not-cancelable, ambiguous-order, cancellation-exists, request-in-flight,
                invalid-request, idempotency-key-reused.
        """
        return self._transport.send(
            Request(
                "POST",
                f"/v1/accounts/{segment(account)}/orders/{segment(order)}/cancellations",
                DryRun,
                body=given(reason=reason, note=note, deadline=deadline, force=force, dry_run=True),
            )
        )

    def list(
        self,
        *,
        account: str | None = None,
        order: str | None = None,
        state: Literal[
            "rejected",
            "scheduled",
            "sending",
            "accepted",
            "succeeded",
            "refused",
            "indeterminate",
            "revoked",
            "expired",
            "failed",
        ]
        | None = None,
        policy: str | None = None,
        batch: str | None = None,
        waiting: Literal[
            "approval", "send_slot", "probe", "retry", "throttled", "credentials", "result", "webhook", "nothing"
        ]
        | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Cancellation]:
        """Cancellations, newest first.

        Args:
            account: The field `account`.
            order: Only those of this order, by its id or any alias; requires `account`.
            state: The field `state`.
            policy: Only cancellations that this policy requested.
            batch: Only cancellations of this batch.
            waiting: Only cancellations that wait for this, such as `approval`.
            since: Requested at this time or later.
            until: Requested before this time.
            limit: Maximum number of rows; a page of large ones ends at 4 MB.
            cursor: `next_cursor` or `previous_cursor` of another page.

        Raises:
            Problem: not-found, ambiguous-order, invalid-request.
        """
        return self._transport.send(
            Request(
                "GET",
                "/v1/cancellations",
                Page[Cancellation],
                query=given(
                    account=account,
                    order=order,
                    state=state,
                    policy=policy,
                    batch=batch,
                    waiting=waiting,
                    since=since,
                    until=until,
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
        state: Literal[
            "rejected",
            "scheduled",
            "sending",
            "accepted",
            "succeeded",
            "refused",
            "indeterminate",
            "revoked",
            "expired",
            "failed",
        ]
        | None = None,
        policy: str | None = None,
        batch: str | None = None,
        waiting: Literal[
            "approval", "send_slot", "probe", "retry", "throttled", "credentials", "result", "webhook", "nothing"
        ]
        | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
    ) -> Iterator[Cancellation]:
        """Cancellations, newest first: the rows of all pages.

        Args:
            account: The field `account`.
            order: Only those of this order, by its id or any alias; requires `account`.
            state: The field `state`.
            policy: Only cancellations that this policy requested.
            batch: Only cancellations of this batch.
            waiting: Only cancellations that wait for this, such as `approval`.
            since: Requested at this time or later.
            until: Requested before this time.
            limit: Maximum number of rows; a page of large ones ends at 4 MB.
        """
        return self._transport.iterate(
            Request(
                "GET",
                "/v1/cancellations",
                Page[Cancellation],
                query=given(
                    account=account,
                    order=order,
                    state=state,
                    policy=policy,
                    batch=batch,
                    waiting=waiting,
                    since=since,
                    until=until,
                    limit=limit,
                ),
            )
        )

    def count(
        self,
        *,
        account: str | None = None,
        order: str | None = None,
        state: Literal[
            "rejected",
            "scheduled",
            "sending",
            "accepted",
            "succeeded",
            "refused",
            "indeterminate",
            "revoked",
            "expired",
            "failed",
        ]
        | None = None,
        policy: str | None = None,
        batch: str | None = None,
        waiting: Literal[
            "approval", "send_slot", "probe", "retry", "throttled", "credentials", "result", "webhook", "nothing"
        ]
        | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Facets:
        """Count cancellations by `state` and `account`, for the filters of the list.

        Args:
            account: The field `account`.
            order: Only those of this order, by its id or any alias; requires `account`.
            state: The field `state`.
            policy: Only cancellations that this policy requested.
            batch: Only cancellations of this batch.
            waiting: Only cancellations that wait for this, such as `approval`.
            since: Requested at this time or later.
            until: Requested before this time.

        Raises:
            Problem: not-found, ambiguous-order, invalid-request.
        """
        return self._transport.send(
            Request(
                "GET",
                "/v1/cancellations/facets",
                Facets,
                query=given(
                    account=account,
                    order=order,
                    state=state,
                    policy=policy,
                    batch=batch,
                    waiting=waiting,
                    since=since,
                    until=until,
                ),
            )
        )

    def get(self, id: str) -> CancellationDetails:
        """One cancellation, what it waits for, and its events, attempts and messages.

        Args:
            id: Id of the resource.

        Raises:
            Problem: not-found.
        """
        return self._transport.send(Request("GET", f"/v1/cancellations/{segment(id)}", CancellationDetails))

    def revoke(self, id: str) -> Cancellation:
        """Revoke a cancellation that has not been sent.

        Args:
            id: Id of the resource.

        Raises:
            Problem: not-found, wrong-state.
        """
        return self._transport.send(Request("POST", f"/v1/cancellations/{segment(id)}/revoke", Cancellation))

    def approve(self, id: str) -> Cancellation:
        """Approve a cancellation that a policy proposed.

        Args:
            id: Id of the resource.

        Raises:
            Problem: not-found, wrong-state.
        """
        return self._transport.send(Request("POST", f"/v1/cancellations/{segment(id)}/approve", Cancellation))

    def resolve(self, id: str, *, outcome: Literal["succeeded", "refused"], note: str) -> Cancellation:
        """Record by hand the outcome of a cancellation.

        Args:
            id: Id of the resource.
            outcome: The field `outcome`.
            note: How the outcome is known; recorded in the log.

        Raises:
            Problem: not-found, wrong-state, invalid-request.
        """
        return self._transport.send(
            Request(
                "POST", f"/v1/cancellations/{segment(id)}/resolve", Cancellation, body=given(outcome=outcome, note=note)
            )
        )

    def create_batch(self, *, cancellations: Sequence[BatchItem], idempotency_key: str | None = None) -> Batch:
        """Request many cancellations at once; each result says whether it can be sent in time.

        Args:
            cancellations: The field `cancellations`.
            idempotency_key: Made if it is not given; a retry has the same.

        Raises:
            Problem: request-in-flight, invalid-request, idempotency-key-reused.
        """
        return self._transport.send(
            Request(
                "POST",
                "/v1/cancellation-batches",
                Batch,
                body=given(cancellations=cancellations),
                headers=once(idempotency_key),
            )
        )

    def get_batch(self, id: str) -> BatchProgress:
        """How many cancellations of a batch are in which state.

        Args:
            id: Id of the resource.

        Raises:
            Problem: not-found.
        """
        return self._transport.send(Request("GET", f"/v1/cancellation-batches/{segment(id)}", BatchProgress))
