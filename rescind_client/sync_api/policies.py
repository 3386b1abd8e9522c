"""The operations of policies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from rescind_client.models.accounts import Resources
from rescind_client.models.explanations import PolicyTest
from rescind_client.models.orders import Event
from rescind_client.models.policies import Backtest, Backtests, Fixture, OrderPolicies
from rescind_client.pages import Page
from rescind_client.transport import Request, SyncTransport, given, segment


class Policies:
    """The operations of policies."""

    def __init__(self, transport: SyncTransport) -> None:
        self._transport = transport

    def list(self, *, limit: int | None = None, cursor: str | None = None, account: str | None = None) -> Resources:
        """All policies.

        Args:
            limit: Maximum number of rows.
            cursor: `next_cursor` or `previous_cursor` of another page, or an id to begin after.
            account: Only those of this account.

        Raises:
            Problem: invalid-request.
        """
        return self._transport.send(
            Request("GET", "/v1/policies", Resources, query=given(limit=limit, cursor=cursor, account=account))
        )

    def get(self, id: str) -> dict[str, Any]:
        """One policy.

        Args:
            id: Id of the resource.

        Raises:
            Problem: not-found.
        """
        return self._transport.send(Request("GET", f"/v1/policies/{segment(id)}", dict[str, Any]))

    def put(self, id: str, resource: Mapping[str, Any], *, confirm: bool | None = None) -> dict[str, Any]:
        """Create or change a policy.

        Args:
            id: Id of the resource.
            resource: A resource as in a resource file; faults are reported with their place in it.
            confirm: Also enforce a policy that was never backtested or shadowed.

        Raises:
            Problem: confirmation-needed, invalid-request.
        """
        return self._transport.send(
            Request("PUT", f"/v1/policies/{segment(id)}", dict[str, Any], query=given(confirm=confirm), body=resource)
        )

    def delete(self, id: str) -> None:
        """Remove a policy.

        Args:
            id: Id of the resource.

        Raises:
            Problem: not-found, resource-in-use.
        """
        return self._transport.send(Request("DELETE", f"/v1/policies/{segment(id)}", type(None)))

    def list_decisions(self, id: str, *, limit: int | None = None, cursor: str | None = None) -> Page[Event]:
        """The decisions of a policy, newest first.

        Args:
            id: Id of the resource.
            limit: Maximum number of rows; a page of large ones ends at 4 MB.
            cursor: `next_cursor` or `previous_cursor` of another page.

        Raises:
            Problem: not-found, invalid-request.
        """
        return self._transport.send(
            Request(
                "GET", f"/v1/policies/{segment(id)}/decisions", Page[Event], query=given(limit=limit, cursor=cursor)
            )
        )

    def iterate_decisions(self, id: str, *, limit: int | None = None) -> Iterator[Event]:
        """The decisions of a policy, newest first: the rows of all pages.

        Args:
            id: Id of the resource.
            limit: Maximum number of rows; a page of large ones ends at 4 MB.
        """
        return self._transport.iterate(
            Request("GET", f"/v1/policies/{segment(id)}/decisions", Page[Event], query=given(limit=limit))
        )

    def test(
        self,
        id: str,
        *,
        policy: Mapping[str, Any] | None = None,
        account: str | None = None,
        order: str | None = None,
        fixture: Fixture | None = None,
        at: datetime | None = None,
    ) -> PolicyTest:
        """What a policy, saved or given, would decide on one order or on a fixture.

        Args:
            id: Id of the resource.
            policy: As in a resource file. Default: the saved policy.
            account: The field `account`.
            order: The field `order`.
            fixture: The field `fixture`.
            at: Evaluate as of this time. Default: now.

        Raises:
            Problem: not-found, ambiguous-order, invalid-request.
        """
        return self._transport.send(
            Request(
                "POST",
                f"/v1/policies/{segment(id)}/test",
                PolicyTest,
                body=given(policy=policy, account=account, order=order, fixture=fixture, at=at),
            )
        )

    def get_order(
        self, account: str, order: str, *, at: datetime | None = None, known_at: datetime | None = None
    ) -> OrderPolicies:
        """The state of every policy of the account for an order: why it was canceled, or why not.

        Args:
            account: Id of the account.
            order: The provider's id of the order, or an alias that leads to it.
            at: As of this time, for what time alone changes. Default: now.
            known_at: Only events received by this time count. Default: all.

        Raises:
            Problem: not-found, ambiguous-order, invalid-request.
        """
        return self._transport.send(
            Request(
                "GET",
                f"/v1/accounts/{segment(account)}/orders/{segment(order)}/policies",
                OrderPolicies,
                query=given(at=at, known_at=known_at),
            )
        )

    def start_backtest(
        self,
        id: str,
        *,
        policy: Mapping[str, Any] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        listed: int | None = None,
    ) -> Backtest:
        """Run a policy, saved or given, over the recorded log as if it had been in force; poll the backtest by its id.

        Args:
            id: Id of the resource.
            policy: As in a resource file. Default: the saved policy.
            since: Start of the simulated period. Default: 90 days before its end.
            until: End of the simulated period. Default: now.
            listed: Maximum number of decisions listed, earliest first.

        Raises:
            Problem: not-found, invalid-request.
        """
        return self._transport.send(
            Request(
                "POST",
                f"/v1/policies/{segment(id)}/backtest",
                Backtest,
                body=given(policy=policy, since=since, until=until, listed=listed),
            )
        )

    def list_backtests(self, id: str, *, limit: int | None = None, cursor: str | None = None) -> Backtests:
        """The completed backtests of a policy, newest first.

        Args:
            id: Id of the resource.
            limit: Maximum number of rows.
            cursor: `next_cursor` or `previous_cursor` of another page.

        Raises:
            Problem: not-found, invalid-request.
        """
        return self._transport.send(
            Request("GET", f"/v1/policies/{segment(id)}/backtests", Backtests, query=given(limit=limit, cursor=cursor))
        )

    def get_backtest(self, id: str, backtest: str) -> Backtest:
        """One backtest: its progress and its report.

        Args:
            id: Id of the resource.
            backtest: Id of the backtest.

        Raises:
            Problem: not-found.
        """
        return self._transport.send(
            Request("GET", f"/v1/policies/{segment(id)}/backtests/{segment(backtest)}", Backtest)
        )

    def cancel_backtest(self, id: str, backtest: str) -> None:
        """Cancel a backtest that is queued or running, on whichever server it runs.

        Args:
            id: Id of the resource.
            backtest: Id of the backtest.

        Raises:
            Problem: not-found.
        """
        return self._transport.send(
            Request("DELETE", f"/v1/policies/{segment(id)}/backtests/{segment(backtest)}", type(None))
        )
