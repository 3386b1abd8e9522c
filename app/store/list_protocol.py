"""What a database must do for lists that are filtered (`app.store.filters`), and for their counts."""

from __future__ import annotations

from typing import Protocol

from app.core.aggregate import OrderAggregate
from app.core.attempt import Attempt
from app.core.cancellation import Cancellation
from app.core.event import Event
from app.store.filters import (
    ALL_ATTEMPTS,
    ALL_CANCELLATIONS,
    ALL_EVENTS,
    ALL_ORDERS,
    ALL_RECEIPTS,
    AttemptFilter,
    CancellationFilter,
    EventFilter,
    OrderFilter,
    ReceiptFilter,
)
from app.store.index_protocol import Facets
from app.store.records import Position, Receipt, SearchResult, Window


class ListReader(Protocol):
    """Queries for lists, newest first unless the method says otherwise."""

    async def orders(
        self, window: Window, wanted: OrderFilter = ALL_ORDERS
    ) -> SearchResult[tuple[Position, OrderAggregate]]:
        """By number; by closing time, the soonest first, with `closes_…`; else with `opened_…` by time of opening.

        The position of an order by a time is (time, account, number).
        """

    async def order_facets(self, wanted: OrderFilter = ALL_ORDERS) -> Facets:
        """How many orders a filter has by `cancelable`, `phase`, `reason` and `account`."""

    async def cancellations(
        self, window: Window, wanted: CancellationFilter = ALL_CANCELLATIONS
    ) -> list[tuple[int, Cancellation]]: ...

    async def cancellation_facets(self, wanted: CancellationFilter = ALL_CANCELLATIONS) -> Facets:
        """How many cancellations a filter has by `state` and `account`."""

    async def events(self, window: Window, wanted: EventFilter = ALL_EVENTS) -> SearchResult[tuple[int, Event]]:
        """(position, event)."""

    async def receipts(
        self, window: Window, wanted: ReceiptFilter = ALL_RECEIPTS
    ) -> SearchResult[tuple[Position, Receipt]]:
        """Receipts without their bodies."""

    async def receipt_facets(self, wanted: ReceiptFilter = ALL_RECEIPTS) -> Facets:
        """How many receipts a filter has by `status`, `endpoint` and `account`."""

    async def search_attempts(
        self, window: Window, wanted: AttemptFilter = ALL_ATTEMPTS
    ) -> SearchResult[tuple[Position, Attempt]]: ...
