"""What a database must do for the lists of orders and of cancellations, and for their counts."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from app.core.aggregate import OrderAggregate
from app.core.cancellation import Cancellation
from app.store.index_protocol import Facets
from app.store.records import Position, SearchResult, Window


class ListReader(Protocol):
    """Queries for lists, newest first unless the method says otherwise."""

    async def orders(
        self,
        window: Window,
        *,
        account: str | None = None,
        phase: str | None = None,
        cancelable: str | None = None,
        reason: str | None = None,
        closes_after: datetime | None = None,
        closes_before: datetime | None = None,
        opened_since: datetime | None = None,
        opened_until: datetime | None = None,
        text: str | None = None,
    ) -> SearchResult[tuple[Position, OrderAggregate]]:
        """By number; by closing time, the soonest first, with `closes_…`; else with `opened_…` by time of opening.

        Verdict and reason are as of the last change; the position of an order by a time is (time, account, number).
        """

    async def order_facets(
        self,
        *,
        account: str | None = None,
        phase: str | None = None,
        cancelable: str | None = None,
        reason: str | None = None,
        closes_after: datetime | None = None,
        closes_before: datetime | None = None,
        opened_since: datetime | None = None,
        opened_until: datetime | None = None,
        text: str | None = None,
    ) -> Facets:
        """How many orders a filter has by `cancelable`, `phase`, `reason` and `account`."""

    async def cancellations(
        self,
        window: Window,
        *,
        account: str | None = None,
        order_pk: int | None = None,
        state: str | None = None,
        policy: str | None = None,
        waiting: str | None = None,
        batch: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[tuple[int, Cancellation]]: ...

    async def cancellation_facets(
        self,
        *,
        account: str | None = None,
        order_pk: int | None = None,
        state: str | None = None,
        policy: str | None = None,
        waiting: str | None = None,
        batch: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Facets:
        """How many cancellations a filter has by `state` and `account`."""
