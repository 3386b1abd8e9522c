"""Queries from one record to others: each by an index on the order, whose rows stand together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from app.core.event import Event, split_id
from app.core.outbound.delivery import Delivery
from app.core.outbound.message import Message
from app.store import codec
from app.store.delivery_lists import COLUMNS
from app.store.link_rows import links_of_cancellation, links_of_event, message_bounds
from app.store.links import LINKS_MAX, CancellationLinks, EventLinks
from app.store.sqlite.connection import Queries
from app.store.sqlite.read.delivery_lists import JOIN
from app.store.use import Use


class LinkQueries(Queries):
    """`LinkReader` on SQLite; its methods are described there."""

    async def event_links(self, event: Event) -> EventLinks:
        order, key = split_id(event.id)
        sql = """SELECT order_pk FROM events WHERE key = ? AND account = ?
                 AND order_pk IN (SELECT order_pk FROM names WHERE key = ? UNION SELECT 0)"""
        pks = await self._db.fetch(sql, (key, event.account, order), Use.LOOKUPS)
        pk = pks[0][0] if pks else 0
        resting: Iterable[Sequence[Any]] = ()
        if pk:
            # A cancellation names the events that it rests on.
            sql = "SELECT id FROM cancellations WHERE order_pk = ? AND instr(body, ?) ORDER BY seq DESC LIMIT ?"
            resting = await self._db.fetch(sql, (pk, event.id, LINKS_MAX), Use.LOOKUPS)
        first, end = message_bounds(event, pk)
        sql = "SELECT id FROM messages WHERE order_pk = ? AND id >= ? AND id < ? AND cause = ? ORDER BY id LIMIT ?"
        rows = await self._db.fetch(sql, (pk, first, end, event.id, LINKS_MAX), Use.LOOKUPS)
        return links_of_event(event, resting, rows)

    async def cancellation_links(self, id: str, policy: str | None, steps: Sequence[str]) -> CancellationLinks:
        rows = await self._db.fetch("SELECT order_pk FROM cancellations WHERE id = ?", (id,), Use.LOOKUPS)
        pk = rows[0][0] if rows else 0
        sql = "SELECT id FROM attempts WHERE order_pk = ? AND cancellation = ? ORDER BY id DESC LIMIT ?"
        attempts = await self._db.fetch(sql, (pk, id, LINKS_MAX), Use.LOOKUPS)
        sql = """SELECT id FROM messages WHERE order_pk = ? AND cause IN (SELECT value FROM json_each(?))
                 ORDER BY id DESC LIMIT ?"""
        messages = await self._db.fetch(sql, (pk, codec.to_json(list(steps)), LINKS_MAX), Use.LOOKUPS)
        decisions: Iterable[Event] = ()
        if policy is not None:
            sql = f"""SELECT {codec.EVENT_COLUMNS} FROM policy_decisions AS decided JOIN events ON seq = position
                      WHERE decided.policy = ? AND position IN (SELECT seq FROM events WHERE order_pk = ?)
                      ORDER BY position"""
            rows = await self._db.fetch(sql, (policy, pk), Use.LOOKUPS)
            decisions = (codec.read_event(row) for row in rows)
        return links_of_cancellation(id, policy, decisions, attempts, messages)

    async def message(self, id: int) -> Message | None:
        rows = await self._db.fetch(f"SELECT {codec.MESSAGE_COLUMNS} FROM messages WHERE id = ?", (id,), Use.LOOKUPS)
        return codec.read_message(rows[0]) if rows else None

    async def message_deliveries(self, id: int, limit: int) -> list[Delivery]:
        sql = f"""SELECT {COLUMNS} FROM deliveries AS delivery INDEXED BY deliveries_by_message {JOIN}
                  WHERE delivery.message = ? ORDER BY delivery.subscription LIMIT ?"""
        return [codec.read_delivery(row) for row in await self._db.fetch(sql, (id, limit), Use.LOOKUPS)]
