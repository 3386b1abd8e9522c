"""What a database must do for deliveries: a part of `app.store.protocol`.

Deliveries are written with their messages in the ledger's transactions (`Changes.messages`); after that only the
subscription's worker and operators touch them, in transactions of their own.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol

from app.core.outbound.delivery import (
    Backlog,
    Delivery,
    DeliveryUpdate,
    DuePosition,
    PendingDeliveries,
    Postponement,
    QueuedDelivery,
)
from app.core.outbound.health import SubscriptionState
from app.store.filters import DeliveryFilter
from app.store.index_protocol import Facets
from app.store.records import SearchResult, Window
from app.store.traces import TraceReader, TraceStore


class DeliveryReader(TraceReader, Protocol):
    """Queries about deliveries, outside of transactions. `message` is always a message's number."""

    async def due_deliveries(
        self, subscription: str, now: datetime, limit: int, skip: Collection[int] = ()
    ) -> list[QueuedDelivery]:
        """Pending deliveries that are due, the longest due first, without those of the messages `skip`."""

    async def deliveries_in_turn(self, subscription: str, sequence: int, after: int, limit: int) -> list[Delivery]:
        """Pending deliveries of one sequence, of messages after `after`, in turn; due or not."""

    async def deliveries_due_at(self, subscriptions: Sequence[str]) -> dict[str, datetime]:
        """When the first pending delivery of each of these subscriptions is due, if it has any."""

    async def delivery(self, subscription: str, message: int) -> Delivery | None: ...

    async def deliveries(self, window: Window, wanted: DeliveryFilter) -> SearchResult[tuple[int, Delivery]]:
        """(number of the message, delivery) of a subscription by the time of their messages, newest first.

        It has a time budget, as searches have: see `SearchResult.resume`.
        """

    async def delivery_facets(self, wanted: DeliveryFilter) -> Facets:
        """How many deliveries a filter has by `state`, `type` and `account`."""

    async def count_failed_deliveries(
        self, subscription: str, since: datetime, maximum: int, until: datetime | None = None
    ) -> int:
        """How many deliveries of messages since then (and before `until`) failed, counted up to `maximum`."""

    async def pending_deliveries(self, subscriptions: Sequence[str], maximum: int) -> dict[str, PendingDeliveries]:
        """What is pending for each of these subscriptions, counted up to `maximum` for each."""

    async def delivery_backlogs(self) -> dict[str, Backlog]:
        """The pending deliveries of every subscription that has any. Reads an index over all of them."""

    async def last_message(self) -> int:
        """The greatest number of a message; 0 if there is none."""

    async def subscription_states(self) -> dict[str, SubscriptionState]:
        """How each subscription fares, as saved last."""


class DeliveryStore(DeliveryReader, TraceStore, Protocol):
    """Queries and writes."""

    async def save_deliveries(
        self,
        updates: Sequence[DeliveryUpdate],
        postponed: Sequence[Postponement] = (),
        states: Sequence[tuple[str, SubscriptionState]] = (),
    ) -> None:
        """Record what tries made of deliveries, all or none. A delivery that is no longer pending stays as it is.

        So does the state of a subscription that was removed, until its deliveries are deleted.
        """

    async def resend_delivery(self, subscription: str, message: int, now: datetime) -> bool:
        """Make a delivery pending, due now, with no tries; False if there is none."""

    async def recover_deliveries(
        self, subscription: str, since: datetime, after: int, limit: int, now: datetime, until: datetime | None = None
    ) -> tuple[int, int | None]:
        """Resend the first `limit` failed deliveries of messages since then, before `until` and after `after`.

        The oldest come first.

        Returns how many, and the last message to go on after; None when there are no more.
        """

    async def hasten_deliveries(
        self, subscription: str, now: datetime, after: DuePosition | None, limit: int
    ) -> DuePosition | None:
        """Make due now what waits for another try, and what waits for its turn behind that.

        Looks at `limit` deliveries behind the position `after` (None: at those that are due after `now`). Returns the
        position to go on from; None if it was the end.
        """

    async def pull_deliveries(
        self, subscription: str, now: datetime, visible_at: datetime, limit: int
    ) -> list[Delivery]:
        """Due deliveries, the longest due first, which nobody else is given until `visible_at`. Counts a try of each.

        Of a sequence only the first pending one is given.
        """

    async def acknowledge_deliveries(self, subscription: str, messages: Sequence[int]) -> int:
        """Settle pending deliveries as delivered; returns how many of them were pending."""

    async def delete_delivered(self, subscription: str, after: int, until: datetime, limit: int) -> int | None:
        """Delete what was delivered, among the first `limit` deliveries after `after` of messages before `until`.

        Messages that no subscription has a delivery of any more go too. Returns the last message looked at, to go on
        after; None when there are no more.
        """

    async def purge_deliveries(self, subscription: str, until: int, limit: int) -> bool:
        """Delete `limit` deliveries of messages up to `until`, whatever their state; False when there are no more.

        Then a new subscription of the same id starts afresh.
        """
