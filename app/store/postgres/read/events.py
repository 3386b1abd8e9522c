"""Queries for events, and what policies decided."""

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
from app.store.postgres.columns import EVENT_COLUMNS
from app.store.postgres.connection import Queries
from app.store.records import Window
from app.store.use import Use
from app.store.windows import beyond, direction, in_order

ORDER_PAGE = 250
"""Events of an order that are read at once."""
BY_ID = """FROM @events AS events JOIN (SELECT account AS account_, order_pk AS pk_ FROM @names WHERE key = $1) AS named
    ON account = account_ AND order_pk = pk_ WHERE key = $2
    UNION ALL SELECT {0} FROM @events WHERE order_pk = 0 AND key = $2"""
"""The events that may have an id, of the halves $1 and $2: of orders with this key, and of no order."""


def of_order(pk: str) -> str:
    """The condition that an event is of the order with this number."""
    return f"account = (SELECT account FROM @orders WHERE pk = {pk}) AND order_pk = {pk}"


class EventQueries(PolicyFailures, Queries):
    """The part of `Reader` about events, and what policies decided."""

    async def order_events(self, pk: int) -> list[Event]:
        return [event async for page in self.order_pages(pk) for _, event in page]

    async def order_pages(self, pk: int) -> AsyncIterator[list[tuple[int, Event]]]:
        sql = f"SELECT seq FROM @events WHERE {of_order('$1')} ORDER BY seq"
        positions = [seq for (seq,) in await self._db.fetch(sql, pk)]
        sql = f"""SELECT seq, {EVENT_COLUMNS} FROM @events WHERE seq = ANY($1::bigint[]) AND order_pk = $2
                  ORDER BY seq"""
        for start in range(0, len(positions), ORDER_PAGE):
            yield await read_events(await self._db.fetch(sql, positions[start : start + ORDER_PAGE], pk))

    async def event(self, id: str) -> Event | None:
        """See `Reader.event`. Raises ValueError if `id` is not an event's."""
        sql = f"SELECT {EVENT_COLUMNS} {BY_ID.format(EVENT_COLUMNS)}"
        rows = await self._db.fetch(sql, *split_id(id), use=Use.LOOKUPS)
        return next((event for event in map(codec.read_event, rows) if event.id == id), None)

    async def receipt_events(self, receipt: int, limit: int) -> list[Event]:
        sql = f"SELECT {EVENT_COLUMNS} FROM @events WHERE receipt = $1 ORDER BY seq LIMIT $2"
        return [codec.read_event(row) for row in await self._db.fetch(sql, receipt, limit, use=Use.LOOKUPS)]

    async def histories(
        self, accounts: Sequence[str], after: int, until: int, limit: int
    ) -> list[tuple[int, list[Event]]]:
        sql = """SELECT pk FROM @orders WHERE account = ANY($1::text[]) AND pk > $2 AND pk <= $3
                 ORDER BY pk LIMIT $4"""
        rows = await self._db.fetch(sql, list(accounts), after, until, limit)
        histories: dict[int, list[Event]] = {pk: [] for (pk,) in rows}
        for pk, event in await self._of_orders(list(histories), "order_pk, seq"):
            histories[pk].append(event)
        return list(histories.items())

    async def history_together(self, pks: Sequence[int]) -> list[tuple[int, Event]]:
        return await self._of_orders(pks, "seq")

    async def _of_orders(self, pks: Sequence[int], order: str) -> list[tuple[int, Event]]:
        columns = ", ".join(f"events.{column}" for column in EVENT_COLUMNS.split(", "))
        sql = f"""SELECT order_pk, {columns} FROM @orders AS orders
                  JOIN @events AS events ON events.account = orders.account AND events.order_pk = orders.pk
                  WHERE orders.pk = ANY($1::bigint[]) ORDER BY {order}"""
        return await read_events(await self._db.fetch(sql, list(pks))) if pks else []

    async def decisions(self, policy: str, window: Window) -> list[tuple[int, Event]]:
        where, values = beyond("position", window, "$3")
        sql = f"""SELECT seq, {EVENT_COLUMNS} FROM (SELECT position FROM @policy_decisions WHERE policy = $1
                  {where and f"AND {where}"} ORDER BY position {direction(window)} LIMIT $2) AS decided
                  JOIN @events AS events ON seq = position ORDER BY position {direction(window)}"""
        rows = in_order(await self._db.fetch(sql, policy, window.limit, *values), window)
        return [(seq, decision_of(event, policy)) for seq, event in await read_events(rows)]

    async def _repeatedly_failed(self, policies: Sequence[str]) -> list[str]:
        # One look-up by index per policy, however long the log is.
        sql = """SELECT given.policy FROM unnest($1::text[]) AS given (policy) CROSS JOIN LATERAL (
                     SELECT count(*) AS number, count(*) FILTER (WHERE type = 'policy.failed') AS failed FROM (
                         SELECT coalesce('policy.' || outcome, (SELECT type FROM @events WHERE seq = position)) AS type
                         FROM @policy_decisions AS decided WHERE decided.policy = given.policy
                         ORDER BY position DESC LIMIT $3) AS latest) AS counted
                 WHERE number >= $2 AND number = failed"""
        rows = await self._db.fetch(sql, list(policies), FAILURES_MIN, FAILING_DECISIONS)
        return [policy for (policy,) in rows]

    async def _orders_with_webhooks(self, account: str, since: int) -> Iterable[OrderAggregate]:
        newest = "SELECT order_pk, account, source FROM @events WHERE seq > $1 ORDER BY seq DESC LIMIT $2"
        sql = f"""SELECT state FROM (SELECT DISTINCT order_pk FROM ({newest}) AS newest
                      WHERE account = $3 AND source = $4 AND order_pk > 0 LIMIT $5) AS updated
                  JOIN @orders AS orders ON orders.account = $3 AND pk = order_pk
                  WHERE phase NOT IN ('completed', 'canceled')"""
        values = (since, LATEST_EVENTS, account, Source.WEBHOOK.value, LATEST_ORDERS)
        rows = await self._db.fetch(sql, *values, use=Use.LOOKUPS)
        return (codec.read_aggregate(state) for (state,) in rows)
