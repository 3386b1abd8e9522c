"""The operations of operation."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from rescind_client.models.accounts import Resources
from rescind_client.models.operation import (
    Erased,
    LatestPruning,
    NodeStatus,
    Overview,
    Paused,
    Plan,
    Pruning,
    Resumed,
    Status,
)
from rescind_client.transport import Request, SyncTransport, given, segment


class Operation:
    """The operations of operation."""

    def __init__(self, transport: SyncTransport) -> None:
        self._transport = transport

    def apply(
        self,
        *,
        resources: Mapping[str, Any],
        dry_run: bool | None = None,
        prune: bool | None = None,
        confirm: bool | None = None,
    ) -> Plan:
        """Apply the resources of a file, or show the difference.

        Args:
            resources: The field `resources`.
            dry_run: Only return what would change.
            prune: Remove resources that the file does not name.
            confirm: Also enforce policies that were never backtested or shadowed.

        Raises:
            Problem: confirmation-needed, invalid-request.
        """
        return self._transport.send(
            Request(
                "POST",
                "/v1/apply",
                Plan,
                body=given(resources=resources, dry_run=dry_run, prune=prune, confirm=confirm),
            )
        )

    def list_changes(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        kind: Literal["accounts", "endpoints", "policies", "subscriptions"] | None = None,
        id: str | None = None,
        by: str | None = None,
    ) -> Resources:
        """The audit trail: who changed which resource, and to what (without secrets), newest first.

        Args:
            limit: Maximum number of rows; a page of large ones ends at 4 MB.
            cursor: `next_cursor` or `previous_cursor` of another page.
            kind: The field `kind`.
            id: Only changes of this resource; requires `kind`.
            by: Only changes made with the API key of this name.

        Raises:
            Problem: invalid-request.
        """
        return self._transport.send(
            Request("GET", "/v1/changes", Resources, query=given(limit=limit, cursor=cursor, kind=kind, id=id, by=by))
        )

    def pause(
        self,
        *,
        scope: Literal["all"] | None = None,
        account: str | None = None,
        policy: str | None = None,
        policies: bool | None = None,
        reason: str | None = None,
    ) -> Paused:
        """Stop sending: everything, one account, one policy or all policies. Webhooks are still received.

        Args:
            scope: Everything: `all`.
            account: Only this account.
            policy: Only cancellations of this policy.
            policies: Only cancellations of policies.
            reason: The field `reason`.

        Raises:
            Problem: not-found, invalid-request.
        """
        return self._transport.send(
            Request(
                "POST",
                "/v1/pause",
                Paused,
                body=given(scope=scope, account=account, policy=policy, policies=policies, reason=reason),
            )
        )

    def resume(
        self,
        *,
        scope: Literal["all"] | None = None,
        account: str | None = None,
        policy: str | None = None,
        policies: bool | None = None,
    ) -> Resumed:
        """Send again; the response has the pause that was ended.

        Args:
            scope: Everything: `all`.
            account: Only this account.
            policy: Only cancellations of this policy.
            policies: Only cancellations of policies.

        Raises:
            Problem: not-found, invalid-request.
        """
        return self._transport.send(
            Request(
                "POST",
                "/v1/resume",
                Resumed,
                body=given(scope=scope, account=account, policy=policy, policies=policies),
            )
        )

    def get_node(self) -> NodeStatus:
        """The node that answers: its lease, and how much it owns."""
        return self._transport.send(Request("GET", "/v1/node", NodeStatus))

    def drain_node(self) -> NodeStatus:
        """Let the node that answers give its work up to others and be not ready, before it is stopped.

        Raises:
            Problem: invalid-request.
        """
        return self._transport.send(Request("POST", "/v1/node/drain", NodeStatus))

    def erase_order(
        self, account: str, order: str, *, reason: str | None = None, dry_run: bool | None = None
    ) -> Erased:
        """Erase the personal data of an order: from its events, receipts, attempts and messages. Facts stay.

        Args:
            account: Id of the account.
            order: The provider's id of the order, or an alias that leads to it.
            reason: Recorded in the log for good: name nobody in it.
            dry_run: Only count what would be erased.

        Raises:
            Problem: not-found, ambiguous-order, cancellation-exists, invalid-request.
        """
        return self._transport.send(
            Request(
                "POST",
                f"/v1/accounts/{segment(account)}/orders/{segment(order)}/erase",
                Erased,
                body=given(reason=reason, dry_run=dry_run),
            )
        )

    def prune(
        self,
        *,
        older_than_days: float | None = None,
        older_than: datetime | None = None,
        dry_run: bool | None = None,
        again: bool | None = None,
    ) -> Pruning:
        """Expunge what is older than the retention period, in the background; `GET /v1/prune` follows it.

        Args:
            older_than_days: Expunge what is older. Default: RESCIND_RETENTION_DAYS.
            older_than: Expunge what is older than this time, instead of `older_than_days`. Not in the future.
            dry_run: Only count what would be expunged.
            again: Look at all data again, and not only at what became old since: for handlers that declare more.

        Raises:
            Problem: invalid-request.
        """
        return self._transport.send(
            Request(
                "POST",
                "/v1/prune",
                Pruning,
                body=given(older_than_days=older_than_days, older_than=older_than, dry_run=dry_run, again=again),
            )
        )

    def get_pruning(self) -> LatestPruning:
        """The run that expunges what is old and is under way, or the last one since the server started."""
        return self._transport.send(Request("GET", "/v1/prune", LatestPruning))

    def get_status(self) -> Status:
        """What needs a person (pauses, refused credentials, quarantine, approvals), and notices; faults first."""
        return self._transport.send(Request("GET", "/v1/status", Status))

    def get_overview(self, *, account: str | None = None) -> Overview:
        """What happens now: lanes, windows that close soon, cancellations by state, ingest, what needs a person.

        Args:
            account: Only this account.

        Raises:
            Problem: not-found, invalid-request.
        """
        return self._transport.send(Request("GET", "/v1/overview", Overview, query=given(account=account)))
