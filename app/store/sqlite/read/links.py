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
from app.store.delivery_lists import COLUMNS
from app.store.id_bounds import first_id
from app.store.links import LINKS_MAX, CancellationLinks, EventLinks
from app.store.sqlite.connection import Queries
from app.store.sqlite.read.delivery_lists import JOIN
from app.store.use import Use

_BEFORE, _AFTER = timedelta(minutes=1), timedelta(minutes=10)
"""Messages of events that are about no order are looked for around the time of the event: none index has only them."""
_END = (1 << 63) - 1


class LinkQueries(Queries):
    """`LinkReader` on SQLite; its methods are described there."""

    async def event_links(self, event: Event) -> EventLinks:
        order, key = split_id(event.id)
        sql = """SELECT order_pk FROM events WHERE key = ? AND account = ?
                 AND order_pk IN (SELECT order_pk FROM names WHERE key = ? UNION SELECT 0)"""
        pks = await self._db.fetch(sql, (key, event.account, order), Use.LOOKUPS)
        pk = pks[0][0] if pks else 0
        named = event.data.get("cancellation")
        cancellations = [named] if isinstance(named, str) else []
        if pk:
            # A cancellation names the events that it rests on.
            sql = "SELECT id FROM cancellations WHERE order_pk = ? AND instr(body, ?) ORDER BY seq DESC LIMIT ?"
            rows = await self._db.fetch(sql, (pk, event.id, LINKS_MAX), Use.LOOKUPS)
            cancellations = list(dict.fromkeys([*cancellations, *(id for (id,) in rows)]))
        first, end = 0, _END
        if not pk:
            first, end = first_id(event.received_at - _BEFORE), first_id(event.received_at + _AFTER)
        sql = "SELECT id FROM messages WHERE order_pk = ? AND id >= ? AND id < ? AND cause = ? ORDER BY id LIMIT ?"
        rows = await self._db.fetch(sql, (pk, first, end, event.id, LINKS_MAX), Use.LOOKUPS)
        return EventLinks(cancellations, [ids.show(ids.MESSAGE, id) for (id,) in rows])

    async def cancellation_links(self, id: str, policy: str | None, steps: Sequence[str]) -> CancellationLinks:
        rows = await self._db.fetch("SELECT order_pk FROM cancellations WHERE id = ?", (id,), Use.LOOKUPS)
        pk = rows[0][0] if rows else 0
        sql = "SELECT id FROM attempts WHERE order_pk = ? AND cancellation = ? ORDER BY id DESC LIMIT ?"
        attempts = await self._db.fetch(sql, (pk, id, LINKS_MAX), Use.LOOKUPS)
        sql = """SELECT id FROM messages WHERE order_pk = ? AND cause IN (SELECT value FROM json_each(?))
                 ORDER BY id DESC LIMIT ?"""
        messages = await self._db.fetch(sql, (pk, codec.to_json(list(steps)), LINKS_MAX), Use.LOOKUPS)
        decision = None
        if policy is not None:
            sql = f"""SELECT {codec.EVENT_COLUMNS} FROM policy_decisions AS decided JOIN events ON seq = position
                      WHERE decided.policy = ? AND position IN (SELECT seq FROM events WHERE order_pk = ?)
                      ORDER BY position"""
            rows = await self._db.fetch(sql, (policy, pk), Use.LOOKUPS)
            decisions = (decision_of(codec.read_event(row), policy) for row in rows)
            decision = next((event.id for event in decisions if event.data.get("cancellation") == id), None)
        return CancellationLinks(
            decision,
            [ids.show(ids.ATTEMPT, id) for (id,) in reversed(attempts)],
            [ids.show(ids.MESSAGE, id) for (id,) in reversed(messages)],
        )

    async def message(self, id: int) -> Message | None:
        rows = await self._db.fetch(f"SELECT {codec.MESSAGE_COLUMNS} FROM messages WHERE id = ?", (id,), Use.LOOKUPS)
        return codec.read_message(rows[0]) if rows else None

    async def message_deliveries(self, id: int, limit: int) -> list[Delivery]:
        sql = f"""SELECT {COLUMNS} FROM deliveries AS delivery INDEXED BY deliveries_by_message {JOIN}
                  WHERE delivery.message = ? ORDER BY delivery.subscription LIMIT ?"""
        return [codec.read_delivery(row) for row in await self._db.fetch(sql, (id, limit), Use.LOOKUPS)]
