"""Queries for deliveries."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from app.core.outbound.delivery import Backlog, Delivery, PendingDeliveries, QueuedDelivery, Turn
from app.core.outbound.health import SubscriptionState
from app.store import codec
from app.store.id_bounds import end_of_ids, first_id
from app.store.postgres.connection import Queries
from app.store.use import Use

COLUMNS = ", ".join(
    [f"delivery.{column}" for column in codec.DELIVERY_COLUMNS.split(", ")]
    + [f"message.{column}" for column in codec.MESSAGE_COLUMNS.split(", ")]
)
JOIN = "JOIN @messages AS message ON message.id = delivery.message AND message.account = delivery.account"
HEAD = """LEFT JOIN LATERAL (
    SELECT first.message, first.due_at FROM @deliveries AS first
    WHERE first.subscription = delivery.subscription AND first.sequence = delivery.sequence AND first.state = 'pending'
    AND first.sequence IS NOT NULL ORDER BY first.message LIMIT 1) AS head ON delivery.sequence IS NOT NULL"""
"""What `delivery` has to wait for, if it is not the first itself; NULL without a sequence."""


class DeliveryQueries(Queries):
    """The part of `Reader` about deliveries."""

    async def due_deliveries(
        self, subscription: str, now: datetime, limit: int, skip: Collection[int] = ()
    ) -> list[QueuedDelivery]:
        # The rows are chosen first: what is looked up of each must not be looked up of all that are due.
        sql = f"""SELECT head.message, head.due_at, {COLUMNS}
                  FROM (SELECT * FROM @deliveries WHERE subscription = $1 AND state = 'pending' AND due_at <= $2
                        AND message <> ALL($3::bigint[]) ORDER BY due_at, message LIMIT $4) AS delivery {JOIN} {HEAD}
                  ORDER BY delivery.due_at, delivery.message"""
        rows = await self._db.fetch(sql, subscription, codec.micros(now), list(skip), limit, use=Use.DELIVERIES)
        return [
            QueuedDelivery(
                codec.read_delivery(tuple(row)[2:]), None if row[0] is None else Turn(row[0], codec.moment(row[1]))
            )
            for row in rows
        ]

    async def deliveries_in_turn(self, subscription: str, sequence: int, after: int, limit: int) -> list[Delivery]:
        sql = f"""SELECT {COLUMNS} FROM @deliveries AS delivery {JOIN}
                  WHERE delivery.subscription = $1 AND delivery.sequence = $2 AND delivery.sequence IS NOT NULL
                  AND delivery.state = 'pending' AND delivery.message > $3 ORDER BY delivery.message LIMIT $4"""
        rows = await self._db.fetch(sql, subscription, sequence, after, limit, use=Use.DELIVERIES)
        return [codec.read_delivery(tuple(row)) for row in rows]

    async def deliveries_due_at(self, subscriptions: Sequence[str]) -> dict[str, datetime]:
        sql = """SELECT wanted.id, (SELECT due_at FROM @deliveries WHERE subscription = wanted.id
                                    AND state = 'pending' ORDER BY due_at, message LIMIT 1)
                 FROM unnest($1::text[]) AS wanted (id)"""
        rows = await self._db.fetch(sql, list(subscriptions), use=Use.DELIVERIES)
        return {subscription: codec.moment(due_at) for subscription, due_at in rows if due_at is not None}

    async def delivery(self, subscription: str, message: int) -> Delivery | None:
        sql = f"""SELECT {COLUMNS} FROM @deliveries AS delivery {JOIN}
                  WHERE delivery.subscription = $1 AND delivery.message = $2"""
        rows = await self._db.fetch(sql, subscription, message, use=Use.LOOKUPS)
        return codec.read_delivery(tuple(rows[0])) if rows else None

    async def count_failed_deliveries(
        self, subscription: str, since: datetime, maximum: int, until: datetime | None = None
    ) -> int:
        sql = """SELECT count(*) FROM (SELECT 1 FROM @deliveries
                 WHERE subscription = $1 AND state = 'failed' AND message >= $2 AND message < $3 LIMIT $4) AS counted"""
        values = subscription, first_id(since), end_of_ids(until), maximum
        return int((await self._db.fetch(sql, *values))[0][0])

    async def pending_deliveries(self, subscriptions: Sequence[str], maximum: int) -> dict[str, PendingDeliveries]:
        sql = """SELECT wanted.id, pending.count, pending.oldest FROM unnest($1::text[]) AS wanted (id),
                 LATERAL (SELECT count(*), min(message) AS oldest FROM (
                     SELECT message FROM @deliveries WHERE subscription = wanted.id AND state = 'pending'
                     ORDER BY due_at, message LIMIT $2) AS counted) AS pending"""
        rows = await self._db.fetch(sql, list(subscriptions), maximum, use=Use.SEARCHES)
        return {subscription: PendingDeliveries(count, oldest) for subscription, count, oldest in rows}

    async def delivery_backlogs(self) -> dict[str, Backlog]:
        sql = """SELECT subscription, count(*), min(due_at) FROM @deliveries WHERE state = 'pending'
                 GROUP BY subscription"""
        rows = await self._db.fetch(sql, use=Use.SEARCHES)
        return {subscription: Backlog(pending, codec.moment(due_at)) for subscription, pending, due_at in rows}

    async def last_message(self) -> int:
        rows = await self._db.fetch("SELECT coalesce(max(id), 0) FROM @messages", use=Use.DELIVERIES)
        return int(rows[0][0])

    async def subscription_states(self) -> dict[str, SubscriptionState]:
        rows = await self._db.fetch("SELECT subscription, state FROM @subscription_states", use=Use.DELIVERIES)
        return {subscription: codec.read_subscription_state(state) for subscription, state in rows}
