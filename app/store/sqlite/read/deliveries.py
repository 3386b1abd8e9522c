"""Queries for deliveries."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from datetime import datetime
from time import monotonic
from typing import Any

from app.core.outbound.delivery import Backlog, Delivery, DeliveryState, PendingDeliveries, QueuedDelivery, Turn
from app.core.outbound.health import SubscriptionState
from app.runtime import ids
from app.store import codec
from app.store.index_protocol import Facets
from app.store.records import SearchResult, Window
from app.store.sqlite.connection import Queries, Rows, Use
from app.store.sqlite.read import search as searches
from app.store.sqlite.read.facets import COUNTED_MAX, count_rows
from app.store.sqlite.read.search import Where, direction, in_order

COLUMNS = ", ".join(
    [f"delivery.{column}" for column in codec.DELIVERY_COLUMNS.split(", ")]
    + [f"message.{column}" for column in codec.MESSAGE_COLUMNS.split(", ")]
)
JOIN = "JOIN messages AS message ON message.id = delivery.message"
FIRST_OF_SEQUENCE = """SELECT {column} FROM deliveries AS first INDEXED BY deliveries_in_turn
    WHERE first.subscription = delivery.subscription AND first.sequence = delivery.sequence
    AND first.sequence IS NOT NULL AND first.state = 'pending' ORDER BY first.message LIMIT 1"""
"""What `delivery` has to wait for, if it is not the first itself; NULL without a sequence."""
PIECE_ROWS = 2000
"""Deliveries that one piece of a search looks at."""
END = (1 << 63) - 1


class DeliveryQueries(Queries):
    """`DeliveryReader` on SQLite; its methods are described there."""

    async def due_deliveries(
        self, subscription: str, now: datetime, limit: int, skip: Collection[int] = ()
    ) -> list[QueuedDelivery]:
        sql = f"""SELECT ({FIRST_OF_SEQUENCE.format(column="message")}), ({FIRST_OF_SEQUENCE.format(column="due_at")}),
                         {COLUMNS}
                  FROM deliveries AS delivery INDEXED BY deliveries_due {JOIN}
                  WHERE delivery.subscription = ? AND delivery.state = 'pending' AND delivery.due_at <= ?
                  AND delivery.message NOT IN (SELECT value FROM json_each(?))
                  ORDER BY delivery.due_at, delivery.message LIMIT ?"""
        values = (subscription, codec.micros(now), codec.to_json(list(skip)), limit)
        rows = await self._db.fetch(sql, values, Use.DELIVERIES)
        return [
            QueuedDelivery(codec.read_delivery(row[2:]), None if row[0] is None else Turn(row[0], codec.moment(row[1])))
            for row in rows
        ]

    async def deliveries_in_turn(self, subscription: str, sequence: int, after: int, limit: int) -> list[Delivery]:
        sql = f"""SELECT {COLUMNS} FROM deliveries AS delivery INDEXED BY deliveries_in_turn {JOIN}
                  WHERE delivery.subscription = ? AND delivery.sequence = ? AND delivery.sequence IS NOT NULL
                  AND delivery.state = 'pending' AND delivery.message > ? ORDER BY delivery.message LIMIT ?"""
        rows = await self._db.fetch(sql, (subscription, sequence, after, limit), Use.DELIVERIES)
        return [codec.read_delivery(row) for row in rows]

    async def deliveries_due_at(self, subscriptions: Sequence[str]) -> dict[str, datetime]:
        sql = """SELECT value, (SELECT min(due_at) FROM deliveries INDEXED BY deliveries_due
                                WHERE subscription = value AND state = 'pending') FROM json_each(?)"""
        rows = await self._db.fetch(sql, (codec.to_json(subscriptions),), Use.DELIVERIES)
        return {subscription: codec.moment(due_at) for subscription, due_at in rows if due_at is not None}

    async def delivery(self, subscription: str, message: int) -> Delivery | None:
        sql = f"""SELECT {COLUMNS} FROM deliveries AS delivery {JOIN}
                  WHERE delivery.subscription = ? AND delivery.message = ?"""
        rows = await self._db.fetch(sql, (subscription, message), Use.LOOKUPS)
        return codec.read_delivery(rows[0]) if rows else None

    async def deliveries(
        self,
        window: Window,
        subscription: str,
        *,
        state: DeliveryState | None = None,
        types: Sequence[str] = (),
        account: str | None = None,
        order_pk: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> SearchResult[tuple[int, Delivery]]:
        rows, resume = await self._delivery_rows(
            COLUMNS,
            window,
            subscription,
            state=state,
            types=types,
            account=account,
            order_pk=order_pk,
            since=since,
            until=until,
        )
        return SearchResult([(number, codec.read_delivery(tuple(row))) for number, *row in rows], resume)

    async def delivery_facets(self, subscription: str, **filters: Any) -> Facets:
        fields = ("state", "type", "account")
        columns = "delivery.state, message.type, nullif(message.account, '')"
        rows, resume = await self._delivery_rows(columns, Window(COUNTED_MAX + 1), subscription, **filters)
        return count_rows(fields, rows, complete=resume is None)

    async def _delivery_rows(
        self,
        columns: str,
        window: Window,
        subscription: str,
        *,
        state: DeliveryState | None = None,
        types: Sequence[str] = (),
        account: str | None = None,
        order_pk: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> tuple[Rows, int | None]:
        """(rows of (number of the message, columns), number to resume from)."""
        bounds = (0 if since is None else first_message(since), end_of_messages(until))
        if window.newer:
            bounds = max(bounds[0], window.position + 1), bounds[1]
        elif window.position is not None:
            bounds = bounds[0], min(bounds[1], window.position)
        where = Where(**{"message.account": account, "message.order_pk": order_pk})
        where.any_of("message.type GLOB ?", types)
        if not where and state in (None, DeliveryState.FAILED):  # an index gives exactly these
            index, condition = "", ""
            if state is not None:
                index, condition = "INDEXED BY deliveries_failed", "AND delivery.state = 'failed'"
            sql = f"""SELECT delivery.message, {columns} FROM deliveries AS delivery {index} {JOIN}
                      WHERE delivery.subscription = ? AND delivery.message >= ? AND delivery.message < ? {condition}
                      ORDER BY delivery.message {direction(window)} LIMIT ?"""
            return in_order(await self._db.fetch(sql, (subscription, *bounds, window.limit)), window), None
        where.add("delivery.state = ?", state)
        return await self._search(columns, where, subscription, bounds, window)

    async def _search(
        self, columns: str, where: Where, subscription: str, bounds: tuple[int, int], window: Window
    ) -> tuple[Rows, int | None]:
        """Search in pieces, within the time budget of a search."""
        way = direction(window)
        sql = f"""SELECT delivery.message, {columns} FROM (
                      SELECT * FROM deliveries WHERE subscription = ? AND message >= ? AND message < ?
                      ORDER BY message {way}) AS delivery {JOIN}
                  {where} ORDER BY delivery.message {way} LIMIT ?"""
        piece_end = f"""SELECT message FROM deliveries WHERE subscription = ? AND message >= ? AND message < ?
                        ORDER BY message {way} LIMIT 1 OFFSET ?"""
        rows: Rows = []
        (low, high), began = bounds, monotonic()
        while True:
            async with self._db.borrow(Use.SEARCHES) as db:
                ends = await db.execute_fetchall(piece_end, (subscription, low, high, PIECE_ROWS - 1))
                end = next((message for (message,) in ends), None)
                piece = (low, high)
                if end is not None:
                    piece = (low, end + 1) if window.newer else (end, high)
                values = (subscription, *piece, *where.values, window.limit - len(rows))
                rows += [tuple(row) for row in await db.execute_fetchall(sql, values)]
            spent = monotonic() - began >= searches.SEARCH_S
            if end is None or len(rows) >= window.limit or spent:
                return in_order(rows, window), end if spent and len(rows) < window.limit else None
            low, high = (end + 1, high) if window.newer else (low, end)
            await asyncio.sleep(0)  # let another search have the connection

    async def count_failed_deliveries(
        self, subscription: str, since: datetime, maximum: int, until: datetime | None = None
    ) -> int:
        sql = """SELECT count(*) FROM (SELECT 1 FROM deliveries INDEXED BY deliveries_failed
                 WHERE subscription = ? AND state = 'failed' AND message >= ? AND message < ? LIMIT ?)"""
        values = (subscription, first_message(since), end_of_messages(until), maximum)
        return int((await self._db.fetch(sql, values))[0][0])

    async def pending_deliveries(self, subscriptions: Sequence[str], maximum: int) -> dict[str, PendingDeliveries]:
        counted = """SELECT {what} FROM (SELECT message FROM deliveries INDEXED BY deliveries_due
                     WHERE subscription = value AND state = 'pending' ORDER BY due_at LIMIT :maximum)"""
        count, oldest = counted.format(what="count(*)"), counted.format(what="min(message)")
        sql = f"SELECT value, ({count}), ({oldest}) FROM json_each(:subscriptions)"
        values = {"maximum": maximum, "subscriptions": codec.to_json(subscriptions)}
        rows = await self._db.fetch(sql, values, Use.SEARCHES)
        return {subscription: PendingDeliveries(pending, message) for subscription, pending, message in rows}

    async def delivery_backlogs(self) -> dict[str, Backlog]:
        sql = "SELECT subscription, count(*), min(due_at) FROM deliveries WHERE state = 'pending' GROUP BY subscription"
        rows = await self._db.fetch(sql, use=Use.SEARCHES)
        return {subscription: Backlog(pending, codec.moment(due_at)) for subscription, pending, due_at in rows}

    async def last_message(self) -> int:
        rows = await self._db.fetch("SELECT coalesce(max(id), 0) FROM messages", use=Use.DELIVERIES)
        return int(rows[0][0])

    async def subscription_states(self) -> dict[str, SubscriptionState]:
        rows = await self._db.fetch("SELECT subscription, state FROM subscription_states", use=Use.DELIVERIES)
        return {subscription: codec.read_subscription_state(state) for subscription, state in rows}


def first_message(moment: datetime) -> int:
    """The smallest number of a message that was written at this time or later."""
    return ids.at(codec.micros(moment) // 1000)


def end_of_messages(until: datetime | None) -> int:
    """A number above those of all messages that were written before this time; None: of all."""
    return END if until is None else first_message(until)
