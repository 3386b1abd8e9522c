"""Queries for orders."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from itertools import chain
from typing import Any

import aiosqlite

from app.core.aggregate import OrderAggregate
from app.core.event import order_key
from app.kit.cel.order_view import as_text
from app.store import codec
from app.store.records import Searched, StoredOrder
from app.store.sqlite.connection import Queries, Readers, Use
from app.store.sqlite.read.search import Where, search
from app.store.sqlite.statements import ROWS_MAX, find_cases, marks, read_stated, stated_names

_Key = tuple[int, str, str]
_Found = tuple[int, OrderAggregate] | None


class OrderQueries(Queries):
    """The part of `Reader` about orders."""

    def __init__(self, readers: Readers) -> None:
        super().__init__(readers)
        self._wanted: list[tuple[_Key, asyncio.Future[_Found]]] = []
        self._looking: asyncio.Task[None] | None = None

    async def case(self, account: str, order: str) -> tuple[int, OrderAggregate] | None:
        """See `Reader.case`. Whoever waits is served together: the visit to the database's thread is what costs."""
        found: asyncio.Future[_Found] = asyncio.get_running_loop().create_future()
        self._wanted.append(((order_key(account, order), account, order), found))
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_up())
        return await found

    async def _look_up(self) -> None:
        while self._wanted:
            asked, self._wanted = self._wanted[:ROWS_MAX], self._wanted[ROWS_MAX:]
            await self._answer(asked)

    async def _answer(self, asked: Sequence[tuple[_Key, asyncio.Future[_Found]]]) -> None:
        try:
            known = await self._cases([key for key, _ in asked])
        except Exception as error:  # noqa: BLE001 - whatever it is, it goes to those who asked
            if len(asked) == 1:
                _settle(asked[0][1], error)
                return
            # One may have spoiled it for all: each gets a question of its own.
            for each in asked:
                await self._answer([each])
            return
        for key, found in asked:
            _settle(found, known.get(key[1:]))

    async def _cases(self, keys: Sequence[_Key]) -> dict[tuple[str, str], tuple[int, OrderAggregate]]:
        wanted = list(dict.fromkeys(keys))
        ((text,),) = await self._db.fetch(find_cases(len(wanted)), tuple(chain.from_iterable(wanted)), use=Use.LOOKUPS)
        return {(account, name): (pk, codec.read_case(state)) for account, name, pk, state in codec.read_json(text)}

    async def carriers(self, account: str, alias: str, limit: int) -> list[str]:
        """See `Reader.carriers`."""
        sql = """SELECT orders.id FROM shared_aliases AS carried JOIN orders ON orders.pk = carried.order_pk
                 WHERE carried.account = ? AND carried.name = ? ORDER BY carried.order_pk LIMIT ?"""
        return [id for (id,) in await self._db.fetch(sql, (account, alias, limit), use=Use.LOOKUPS)]

    async def stated_names(self, pk: int) -> set[str]:
        """See `Reader.stated_names`."""
        rows = await self._db.fetch(stated_names(1), (pk, pk), use=Use.LOOKUPS)
        return {name for _, names in read_stated(rows) for name in names}

    async def orders(
        self, *, account: str | None, phase: str | None, cancelable: str | None, before: int | None, limit: int
    ) -> Searched[tuple[int, OrderAggregate]]:
        """See `Reader.orders`."""
        where = Where(account=account, phase=phase, cancelable=cancelable)
        found, beyond = await search(self._db, "orders", "pk", "state", where, before, limit)
        return Searched([(pk, codec.read_case(state)) for pk, state in found], beyond)

    async def opened(self, account: str, since: datetime, until: datetime, limit: int) -> list[OrderAggregate]:
        """See `Reader.opened`."""
        sql = """SELECT state FROM orders WHERE account = ? AND json_extract(state, '$.order.opened_at') BETWEEN ? AND ?
                 ORDER BY pk DESC LIMIT ?"""
        rows = await self._db.fetch(sql, (account, as_text(since), as_text(until), limit))
        return [codec.read_case(state) for (state,) in rows]

    async def count_orders(self, accounts: Sequence[str]) -> int:
        """See `Reader.count_orders`."""
        sql = f"SELECT count(*) FROM orders WHERE account IN ({marks(accounts)})"
        return int((await self._db.fetch(sql, accounts))[0][0])

    async def every_nth_order(self, accounts: Sequence[str], n: int) -> list[int]:
        """See `Reader.every_nth_order`."""
        sql = f"""SELECT pk FROM (SELECT pk, row_number() OVER (ORDER BY pk) AS number FROM orders
                                  WHERE account IN ({marks(accounts)})) WHERE number % ? = 0 ORDER BY pk"""
        return [pk for (pk,) in await self._db.fetch(sql, (*accounts, n))]

    async def quiet_orders(self, account: str, before: datetime, limit: int) -> list[tuple[int, str]]:
        """See `Reader.quiet_orders`."""
        sql = """SELECT pk, id FROM orders
                 WHERE account = ? AND last_event_at < ? AND phase NOT IN ('completed', 'canceled')
                 ORDER BY last_event_at LIMIT ?"""
        return [(pk, id) for pk, id in await self._db.fetch(sql, (account, codec.micros(before), limit), use=Use.WORK)]

    async def stored_orders(self, after: int, limit: int) -> list[StoredOrder]:
        """See `Reader.stored_orders`."""
        async with self._db.borrow() as db:
            await db.execute("BEGIN")  # one snapshot for all the questions, while others may write
            try:
                return await _stored_orders(db, after, limit)
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
    if not numbers:
        return []
    rows: dict[str, dict[int, list[tuple[Any, ...]]]] = {}
    for table, pk, columns, order in (
        ("events", "order_pk", codec.EVENT_COLUMNS, "seq"),
        ("orders", "pk", "account, id, phase, last_event_at, state", "pk"),
        ("jobs", "order_pk", codec.JOB_COLUMNS, "order_pk"),
        ("cancellations", "order_pk", "id, account, state, body", "seq"),
    ):
        found: dict[int, list[tuple[Any, ...]]] = {number: [] for number in numbers}
        sql = f"SELECT {pk}, {columns} FROM {table} WHERE {pk} BETWEEN ? AND ? ORDER BY {pk}, {order}"
        for number, *row in await db.execute_fetchall(sql, (numbers[0], numbers[-1])):
            found[number].append(tuple(row))
        rows[table] = found
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


def _settle(waiting: asyncio.Future[_Found], found: _Found | Exception) -> None:
    if waiting.done():
        return  # whoever asked has gone
    if isinstance(found, Exception):
        waiting.set_exception(found)
    else:
        waiting.set_result(found)
