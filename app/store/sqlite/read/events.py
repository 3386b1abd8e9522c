"""Queries for the log of events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence

from app.contract import Source
from app.core.aggregate import OrderAggregate
from app.core.event import Event, split_id
from app.core.policy.decide import FAILING_DECISIONS, FAILURES_MIN
from app.core.policy.decisions import decision_of
from app.store import codec
from app.store.decoding import read_events
from app.store.policy_failures import LATEST_EVENTS, LATEST_ORDERS, PolicyFailures
from app.store.records import Window
from app.store.sqlite.connection import Queries
from app.store.sqlite.statements import marks
from app.store.use import Use
from app.store.where import Where
from app.store.windows import direction, in_order

LOG_PAGE = 2000
ORDER_PAGE = 250
"""Events of an order that are read at once."""


class EventQueries(PolicyFailures, Queries):
    """The part of `Reader` about events, and what policies decided."""

    async def order_events(self, pk: int) -> list[Event]:
        return [event async for page in self.order_pages(pk) for _, event in page]

    async def order_pages(self, pk: int) -> AsyncIterator[list[tuple[int, Event]]]:
        # The index alone gives the positions; sorting rows with their bodies would read all of them for each page.
        positions = [
            seq for (seq,) in await self._db.fetch("SELECT seq FROM events WHERE order_pk = ? ORDER BY seq", (pk,))
        ]
        for start in range(0, len(positions), ORDER_PAGE):
            part = positions[start : start + ORDER_PAGE]
            sql = f"SELECT seq, {codec.EVENT_COLUMNS} FROM events WHERE seq IN ({marks(part)}) ORDER BY seq"
            yield await read_events(await self._db.fetch(sql, part))

    async def event(self, id: str) -> Event | None:
        """See `Reader.event`. Raises ValueError if `id` is not an event's."""
        order, key = split_id(id)
        sql = f"""SELECT {codec.EVENT_COLUMNS} FROM events
                  WHERE key = ? AND order_pk IN (SELECT order_pk FROM names WHERE key = ? UNION SELECT 0)"""
        candidates = [codec.read_event(row) for row in await self._db.fetch(sql, (key, order), use=Use.LOOKUPS)]
        return next((event for event in candidates if event.id == id), None)

    async def receipt_events(self, receipt: int, limit: int) -> list[Event]:
        sql = f"SELECT {codec.EVENT_COLUMNS} FROM events WHERE receipt = ? ORDER BY seq LIMIT ?"
        return [codec.read_event(row) for row in await self._db.fetch(sql, (receipt, limit), Use.LOOKUPS)]

    async def log(self) -> AsyncIterator[list[tuple[int, int, Event]]]:
        seq = 0
        sql = f"SELECT seq, order_pk, {codec.EVENT_COLUMNS} FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
        while rows := await self._db.fetch(sql, (seq, LOG_PAGE)):
            yield [(seq, pk, codec.read_event(row)) for seq, pk, *row in rows]
            seq = rows[-1][0]

    async def histories(
        self, accounts: Sequence[str], after: int, until: int, limit: int
    ) -> list[tuple[int, list[Event]]]:
        sql = f"SELECT pk FROM orders WHERE account IN ({marks(accounts)}) AND pk > ? AND pk <= ? ORDER BY pk LIMIT ?"
        rows = await self._db.fetch(sql, (*accounts, after, until, limit))
        histories: dict[int, list[Event]] = {pk: [] for (pk,) in rows}
        if histories:
            sql = f"""SELECT order_pk, {codec.EVENT_COLUMNS} FROM events
                      WHERE order_pk IN ({marks(histories)}) ORDER BY order_pk, seq"""
            for pk, *row in await self._db.fetch(sql, tuple(histories)):
                histories[pk].append(codec.read_event(row))
        return list(histories.items())

    async def history_together(self, pks: Sequence[int]) -> list[tuple[int, Event]]:
        sql = f"SELECT order_pk, {codec.EVENT_COLUMNS} FROM events WHERE order_pk IN ({marks(pks)}) ORDER BY seq"
        return [(pk, codec.read_event(row)) for pk, *row in await self._db.fetch(sql, pks)]

    async def decisions(self, policy: str, window: Window) -> list[tuple[int, Event]]:
        where = Where()
        where.add("decided.policy = ?", policy)
        where.beyond("position", window)
        sql = f"""SELECT seq, {codec.EVENT_COLUMNS} FROM policy_decisions AS decided JOIN events ON seq = position
                  {where} ORDER BY position {direction(window)} LIMIT ?"""
        rows = in_order(await self._db.fetch(sql, (*where.values, window.limit)), window)
        return [(seq, decision_of(event, policy)) for seq, event in await read_events(rows)]

    async def _repeatedly_failed(self, policies: Sequence[str]) -> list[str]:
        # One look-up by index per policy, however long the log is.
        latest = """SELECT coalesce('policy.' || outcome, (SELECT type FROM events WHERE seq = position)) AS type
                    FROM policy_decisions WHERE policy = policies.value ORDER BY position DESC LIMIT ?"""
        sql = f"""SELECT policies.value FROM json_each(?) AS policies
                  WHERE (SELECT count(*) >= ? AND count(*) = sum(type = 'policy.failed') FROM ({latest}))"""
        rows = await self._db.fetch(sql, (codec.to_json(list(policies)), FAILURES_MIN, FAILING_DECISIONS))
        return [policy for (policy,) in rows]

    async def _orders_with_webhooks(self, account: str, since: int) -> Iterable[OrderAggregate]:
        newest = "SELECT order_pk, account, source FROM events WHERE seq > ? ORDER BY seq DESC LIMIT ?"
        sql = f"SELECT DISTINCT order_pk FROM ({newest}) WHERE account = ? AND source = ? AND order_pk > 0 LIMIT ?"
        values = (since, LATEST_EVENTS, account, Source.WEBHOOK, LATEST_ORDERS)
        pks = [pk for (pk,) in await self._db.fetch(sql, values, Use.LOOKUPS)]
        sql = f"""SELECT {codec.ORDER_STATE} FROM orders WHERE pk IN ({marks(pks)})
                  AND phase NOT IN ('completed', 'canceled')"""
        rows = await self._db.fetch(sql, pks, Use.LOOKUPS)
        return (codec.read_aggregate(state) for (state,) in rows)
