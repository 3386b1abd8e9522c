"""Queries for deliveries."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from app.core.outbound.delivery import Backlog, Delivery, PendingDeliveries, QueuedDelivery, Turn
from app.core.outbound.health import SubscriptionState
from app.store import codec
from app.store.delivery_lists import COLUMNS
from app.store.id_bounds import end_of_ids, first_id
from app.store.sqlite.read.delivery_lists import JOIN, DeliveryListQueries
from app.store.use import Use

FIRST_OF_SEQUENCE = """SELECT {column} FROM deliveries AS first INDEXED BY deliveries_in_turn
    WHERE first.subscription = delivery.subscription AND first.sequence = delivery.sequence
    AND first.sequence IS NOT NULL AND first.state = 'pending' ORDER BY first.message LIMIT 1"""
"""What `delivery` has to wait for, if it is not the first itself; NULL without a sequence."""


class DeliveryQueries(DeliveryListQueries):
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

    async def count_failed_deliveries(
        self, subscription: str, since: datetime, maximum: int, until: datetime | None = None
    ) -> int:
        sql = """SELECT count(*) FROM (SELECT 1 FROM deliveries INDEXED BY deliveries_failed
                 WHERE subscription = ? AND state = 'failed' AND message >= ? AND message < ? LIMIT ?)"""
        values = (subscription, first_id(since), end_of_ids(until), maximum)
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
