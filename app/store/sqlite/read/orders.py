"""Queries for orders."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import chain
from typing import Any

import aiosqlite

from app.core.aggregate import OrderAggregate
from app.store import codec
from app.store.order_lookups import Key, OrderLookups, StoredAggregate
from app.store.records import StoredOrder
from app.store.sqlite.connection import Queries, Readers
from app.store.sqlite.statements import find_orders, marks, provider_names, read_provider_names
from app.store.use import Use


class OrderQueries(Queries):
    """The part of `Reader` about orders."""

    def __init__(self, readers: Readers) -> None:
        super().__init__(readers)
        self._lookups = OrderLookups(self._fetch_orders)

    async def order(self, account: str, order: str) -> StoredAggregate | None:
        """See `Reader.order`. Waiting look-ups share a query: the visit to the database's thread is what costs."""
        return await self._lookups.order(account, order)

    async def _fetch_orders(self, keys: Sequence[Key]) -> dict[tuple[str, str], StoredAggregate]:
        ((text,),) = await self._db.fetch(find_orders(len(keys)), tuple(chain.from_iterable(keys)), use=Use.LOOKUPS)
        return {
            (account, name): (pk, codec.read_aggregate(state)) for account, name, pk, state in codec.read_json(text)
        }

    async def orders_sharing_alias(self, account: str, alias: str, limit: int) -> list[str]:
        sql = """SELECT orders.id FROM shared_aliases AS alias JOIN orders ON orders.pk = alias.order_pk
                 WHERE alias.account = ? AND alias.name = ? ORDER BY alias.order_pk LIMIT ?"""
        return [id for (id,) in await self._db.fetch(sql, (account, alias, limit), use=Use.LOOKUPS)]

    async def provider_names(self, pk: int) -> set[str]:
        rows = await self._db.fetch(provider_names(1), (pk, pk), use=Use.LOOKUPS)
        return {name for _, names in read_provider_names(rows) for name in names}

    async def orders_opened(self, account: str, since: datetime, until: datetime, limit: int) -> list[OrderAggregate]:
        sql = f"""SELECT {codec.ORDER_STATE} FROM orders INDEXED BY orders_by_opening
                 WHERE opened_at BETWEEN ? AND ? AND account = ? ORDER BY pk DESC LIMIT ?"""
        rows = await self._db.fetch(sql, (codec.micros(since), codec.micros(until), account, limit))
        return [codec.read_aggregate(state) for (state,) in rows]

    async def count_orders(self, accounts: Sequence[str]) -> int:
        sql = f"SELECT count(*) FROM orders WHERE account IN ({marks(accounts)})"
        return int((await self._db.fetch(sql, accounts))[0][0])

    async def every_nth_order(self, accounts: Sequence[str], n: int) -> list[int]:
        sql = f"""SELECT pk FROM (SELECT pk, row_number() OVER (ORDER BY pk) AS number FROM orders
                                  WHERE account IN ({marks(accounts)})) WHERE number % ? = 0 ORDER BY pk"""
        return [pk for (pk,) in await self._db.fetch(sql, (*accounts, n))]

    async def quiet_orders(self, account: str, before: datetime, limit: int) -> list[tuple[int, str]]:
        sql = """SELECT pk, id FROM orders
                 WHERE account = ? AND last_event_at < ? AND phase NOT IN ('completed', 'canceled')
                 ORDER BY last_event_at LIMIT ?"""
        return [(pk, id) for pk, id in await self._db.fetch(sql, (account, codec.micros(before), limit), use=Use.WORK)]

    async def stored_orders(self, after: StoredOrder | None, limit: int) -> list[StoredOrder]:
        async with self._db.borrow() as db:
            await db.execute("BEGIN")  # one snapshot for all queries, while others may write
            try:
                return await _stored_orders(db, 0 if after is None else after.pk, limit)
            finally:
                await db.execute("COMMIT")

    async def stored_again(self, orders: Sequence[StoredOrder]) -> list[StoredOrder]:
        async with self._db.borrow() as db:
            await db.execute("BEGIN")
            try:
                return [order for part in orders for order in await _rows_of(db, [part.pk])]
            finally:
                await db.execute("COMMIT")


_NUMBERS = """SELECT pk FROM (
    SELECT pk FROM (SELECT pk FROM orders WHERE pk > :after ORDER BY pk LIMIT :limit)
    UNION SELECT pk FROM (SELECT DISTINCT order_pk AS pk FROM events WHERE order_pk > :after ORDER BY pk LIMIT :limit)
    UNION SELECT pk FROM (SELECT order_pk AS pk FROM jobs WHERE order_pk > :after ORDER BY pk LIMIT :limit)
    UNION SELECT pk FROM (SELECT order_pk AS pk FROM cancellations WHERE order_pk > :after ORDER BY pk LIMIT :limit)
) ORDER BY pk LIMIT :limit"""


async def _stored_orders(db: aiosqlite.Connection, after: int, limit: int) -> list[StoredOrder]:
    numbers = [pk for (pk,) in await db.execute_fetchall(_NUMBERS, {"after": after, "limit": limit})]
    return await _rows_of(db, numbers) if numbers else []


async def _rows_of(db: aiosqlite.Connection, numbers: Sequence[int]) -> list[StoredOrder]:
    """All rows of the orders with these numbers, of which none between is left out."""
    rows: dict[str, dict[int, list[tuple[Any, ...]]]] = {}
    for table, pk, columns, order in (
        ("events", "order_pk", codec.EVENT_COLUMNS, "seq"),
        ("orders", "pk", f"account, id, phase, last_event_at, {codec.ORDER_STATE}", "pk"),
        ("jobs", "order_pk", codec.JOB_COLUMNS, "order_pk"),
        ("cancellations", "order_pk", "id, account, state, body", "seq"),
    ):
        table_rows: dict[int, list[tuple[Any, ...]]] = {number: [] for number in numbers}
        sql = f"SELECT {pk}, {columns} FROM {table} WHERE {pk} BETWEEN ? AND ? ORDER BY {pk}, {order}"
        for number, *row in await db.execute_fetchall(sql, (numbers[0], numbers[-1])):
            table_rows[number].append(tuple(row))
        rows[table] = table_rows
    return [
        StoredOrder(
            pk=number,
            events=rows["events"][number],
            order=next(iter(rows["orders"][number]), None),
            job=next(iter(rows["jobs"][number]), None),
            cancellations={id: tuple(row) for id, *row in rows["cancellations"][number]},
        )
        for number in numbers
    ]
