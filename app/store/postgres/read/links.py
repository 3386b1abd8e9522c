"""Queries from one record to others: each by an index on the order, whose rows stand together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from app.core.event import Event, split_id
from app.core.outbound.delivery import Delivery
from app.core.outbound.message import Message
from app.store import codec
from app.store.link_rows import links_of_cancellation, links_of_event, message_bounds
from app.store.links import LINKS_MAX, CancellationLinks, EventLinks
from app.store.postgres.columns import DELIVERY_JOIN, DELIVERY_WITH_MESSAGE, EVENT_COLUMNS
from app.store.postgres.connection import Queries
from app.store.use import Use


class LinkQueries(Queries):
    """The part of `Reader` about what leads from one record to others."""

    async def event_links(self, event: Event) -> EventLinks:
        order, key = split_id(event.id)
        sql = """SELECT order_pk FROM @events WHERE account = $1 AND key = $2 AND order_pk IN
                 (SELECT order_pk FROM @names WHERE account = $1 AND key = $3 UNION SELECT 0)"""
        rows = await self._db.fetch(sql, event.account, key, order, use=Use.LOOKUPS)
        pk = rows[0][0] if rows else 0
        resting: Iterable[Sequence[Any]] = ()
        if pk:
            # A cancellation names the events that it rests on.
            sql = """SELECT id FROM @cancellations WHERE account = $1 AND order_pk = $2 AND position($3 in body) > 0
                     ORDER BY seq DESC LIMIT $4"""
            resting = await self._db.fetch(sql, event.account, pk, event.id, LINKS_MAX, use=Use.LOOKUPS)
        first, end = message_bounds(event, pk)
        sql = """SELECT id FROM @messages WHERE account = $1 AND order_pk = $2 AND id >= $3 AND id < $4 AND cause = $5
                 ORDER BY id LIMIT $6"""
        rows = await self._db.fetch(sql, event.account, pk, first, end, event.id, LINKS_MAX, use=Use.LOOKUPS)
        return links_of_event(event, resting, rows)

    async def cancellation_links(self, id: str, policy: str | None, steps: Sequence[str]) -> CancellationLinks:
        sql = "SELECT account, order_pk FROM @cancellations WHERE id = $1"
        rows = await self._db.fetch(sql, id, use=Use.LOOKUPS)
        account, pk = rows[0] if rows else ("", 0)
        sql = """SELECT id FROM @attempts WHERE account = $1 AND order_pk = $2 AND cancellation = $3
                 ORDER BY id DESC LIMIT $4"""
        attempts = await self._db.fetch(sql, account, pk, id, LINKS_MAX, use=Use.LOOKUPS)
        sql = """SELECT id FROM @messages WHERE account = $1 AND order_pk = $2 AND cause = ANY($3::text[])
                 ORDER BY id DESC LIMIT $4"""
        messages = await self._db.fetch(sql, account, pk, list(steps), LINKS_MAX, use=Use.LOOKUPS)
        decisions: Iterable[Event] = ()
        if policy is not None:
            sql = f"""SELECT {EVENT_COLUMNS} FROM @events WHERE account = $1 AND order_pk = $2
                      AND EXISTS (SELECT 1 FROM @policy_decisions AS decided WHERE decided.policy = $3
                      AND decided.position = seq) ORDER BY seq"""
            rows = await self._db.fetch(sql, account, pk, policy, use=Use.LOOKUPS)
            decisions = (codec.read_event(row) for row in rows)
        return links_of_cancellation(id, policy, decisions, attempts, messages)

    async def message(self, id: int) -> Message | None:
        sql = f"SELECT {codec.MESSAGE_COLUMNS} FROM @messages WHERE id = $1"
        rows = await self._db.fetch(sql, id, use=Use.LOOKUPS)
        return codec.read_message(tuple(rows[0])) if rows else None

    async def message_deliveries(self, id: int, limit: int) -> list[Delivery]:
        sql = f"""SELECT {DELIVERY_WITH_MESSAGE} FROM @deliveries AS delivery {DELIVERY_JOIN}
                  WHERE delivery.message = $1 ORDER BY delivery.subscription LIMIT $2"""
        rows = await self._db.fetch(sql, id, limit, use=Use.LOOKUPS)
        return [codec.read_delivery(tuple(row)) for row in rows]
