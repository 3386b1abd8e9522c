"""Queries from one record to others: each by an index on the order, whose rows stand together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from app.core.event import Event, split_id
from app.core.outbound.delivery import Delivery
from app.core.outbound.message import Message
from app.core.policy.decisions import decision_of
from app.runtime import ids
from app.store import codec
from app.store.links import LINKS_MAX, CancellationLinks, EventLinks
from app.store.postgres.columns import DELIVERY_JOIN, DELIVERY_WITH_MESSAGE, EVENT_COLUMNS
from app.store.postgres.connection import Queries
from app.store.use import Use

_BEFORE, _AFTER = timedelta(minutes=1), timedelta(minutes=10)
"""Messages of events that are about no order are looked for around the time of the event: no index has only them."""
_END = (1 << 63) - 1


class LinkQueries(Queries):
    """The part of `Reader` about what leads from one record to others."""

    async def event_links(self, event: Event) -> EventLinks:
        order, key = split_id(event.id)
        sql = """SELECT order_pk FROM @events WHERE account = $1 AND key = $2 AND order_pk IN
                 (SELECT order_pk FROM @names WHERE account = $1 AND key = $3 UNION SELECT 0)"""
        rows = await self._db.fetch(sql, event.account, key, order, use=Use.LOOKUPS)
        pk = rows[0][0] if rows else 0
        named = event.data.get("cancellation")
        cancellations = [named] if isinstance(named, str) else []
        if pk:
            # A cancellation names the events that it rests on.
            sql = """SELECT id FROM @cancellations WHERE account = $1 AND order_pk = $2 AND position($3 in body) > 0
                     ORDER BY seq DESC LIMIT $4"""
            rows = await self._db.fetch(sql, event.account, pk, event.id, LINKS_MAX, use=Use.LOOKUPS)
            cancellations = list(dict.fromkeys([*cancellations, *(id for (id,) in rows)]))
        first, end = 0, _END
        if not pk:
            first, end = _first_message(event, -_BEFORE), _first_message(event, _AFTER)
        sql = """SELECT id FROM @messages WHERE account = $1 AND order_pk = $2 AND id >= $3 AND id < $4 AND cause = $5
                 ORDER BY id LIMIT $6"""
        rows = await self._db.fetch(sql, event.account, pk, first, end, event.id, LINKS_MAX, use=Use.LOOKUPS)
        return EventLinks(cancellations, [ids.show(ids.MESSAGE, id) for (id,) in rows])

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
        decision = None
        if policy is not None:
            sql = f"""SELECT {EVENT_COLUMNS} FROM @events WHERE account = $1 AND order_pk = $2
                      AND EXISTS (SELECT 1 FROM @policy_decisions AS decided WHERE decided.policy = $3
                      AND decided.position = seq) ORDER BY seq"""
            rows = await self._db.fetch(sql, account, pk, policy, use=Use.LOOKUPS)
            decisions = (decision_of(codec.read_event(row), policy) for row in rows)
            decision = next((event.id for event in decisions if event.data.get("cancellation") == id), None)
        return CancellationLinks(
            decision,
            [ids.show(ids.ATTEMPT, id) for (id,) in reversed(attempts)],
            [ids.show(ids.MESSAGE, id) for (id,) in reversed(messages)],
        )

    async def message(self, id: int) -> Message | None:
        sql = f"SELECT {codec.MESSAGE_COLUMNS} FROM @messages WHERE id = $1"
        rows = await self._db.fetch(sql, id, use=Use.LOOKUPS)
        return codec.read_message(tuple(rows[0])) if rows else None

    async def message_deliveries(self, id: int, limit: int) -> list[Delivery]:
        sql = f"""SELECT {DELIVERY_WITH_MESSAGE} FROM @deliveries AS delivery {DELIVERY_JOIN}
                  WHERE delivery.message = $1 ORDER BY delivery.subscription LIMIT $2"""
        rows = await self._db.fetch(sql, id, limit, use=Use.LOOKUPS)
        return [codec.read_delivery(tuple(row)) for row in rows]


def _first_message(event: Event, later: timedelta) -> int:
    """The smallest number of a message that was written so much after the event was received, or after that."""
    return ids.at(codec.micros(event.received_at + later) // 1000)
