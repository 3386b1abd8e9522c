"""Queries for orders."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from app.core.aggregate import OrderAggregate
from app.store import codec
from app.store.order_lookups import Key, OrderLookups, StoredAggregate
from app.store.postgres.columns import EVENT_COLUMNS
from app.store.postgres.connection import Connections, Queries, Session
from app.store.postgres.read.names import PROVIDER_NAMES, read_provider_names
from app.store.records import StoredOrder
from app.store.use import Use

HOUR = 3_600_000_000
"""Microseconds: `quiet_hour` is the hour of `last_event_at`."""
_NAMED = """SELECT names.account, names.name, orders.pk, orders.state
    FROM unnest($1::bigint[], $2::text[], $3::text[]) AS wanted (key, account, name)
    JOIN @names AS names ON names.account = wanted.account AND names.key = wanted.key AND names.name = wanted.name
    JOIN @orders AS orders ON orders.account = names.account AND orders.pk = names.order_pk"""
_OPEN = "phase NOT IN ('completed', 'canceled')"


class OrderQueries(Queries):
    """The part of `Reader` about orders."""

    def __init__(self, connections: Connections) -> None:
        super().__init__(connections)
        self._lookups = OrderLookups(self._fetch_orders)

    async def order(self, account: str, order: str) -> StoredAggregate | None:
        """See `Reader.order`. Waiting look-ups share a round trip."""
        return await self._lookups.order(account, order)

    async def _fetch_orders(self, keys: Sequence[Key]) -> dict[tuple[str, str], StoredAggregate]:
        # No name that holds NUL is stored, and PostgreSQL would refuse the query.
        columns = list(zip(*(key for key in keys if "\0" not in key[1] + key[2]), strict=True))
        if not columns:
            return {}
        rows = await self._db.fetch(_NAMED, *columns, use=Use.LOOKUPS)
        return {(account, name): (pk, codec.read_aggregate(state)) for account, name, pk, state in rows}

    async def orders_sharing_alias(self, account: str, alias: str, limit: int) -> list[str]:
        sql = """SELECT orders.id FROM @shared_aliases AS alias
                 JOIN @orders AS orders ON orders.account = alias.account AND orders.pk = alias.order_pk
                 WHERE alias.account = $1 AND alias.name = $2 ORDER BY alias.order_pk LIMIT $3"""
        return [id for (id,) in await self._db.fetch(sql, account, alias, limit, use=Use.LOOKUPS)]

    async def provider_names(self, pk: int) -> set[str]:
        rows = await self._db.fetch(PROVIDER_NAMES, [pk], use=Use.LOOKUPS)
        return {name for _, names in read_provider_names(rows) for name in names}

    async def orders_opened(self, account: str, since: datetime, until: datetime, limit: int) -> list[OrderAggregate]:
        sql = """SELECT state FROM @orders WHERE account = $1 AND opened_at BETWEEN $2 AND $3
                 ORDER BY pk DESC LIMIT $4"""
        rows = await self._db.fetch(sql, account, codec.micros(since), codec.micros(until), limit)
        return [codec.read_aggregate(state) for (state,) in rows]

    async def count_orders(self, accounts: Sequence[str]) -> int:
        sql = "SELECT count(*) FROM @orders WHERE account = ANY($1::text[])"
        return int((await self._db.fetch(sql, list(accounts)))[0][0])

    async def every_nth_order(self, accounts: Sequence[str], n: int) -> list[int]:
        sql = """SELECT pk FROM (SELECT pk, row_number() OVER (ORDER BY pk) AS number FROM @orders
                                 WHERE account = ANY($1::text[])) AS numbered WHERE number % $2 = 0 ORDER BY pk"""
        return [pk for (pk,) in await self._db.fetch(sql, list(accounts), n)]

    async def quiet_orders(self, account: str, before: datetime, limit: int) -> list[tuple[int, str]]:
        # By the index of hours: one of times would be written with every event.
        sql = f"""SELECT pk, id FROM @orders WHERE account = $1 AND quiet_hour <= $2 AND last_event_at < $3 AND {_OPEN}
                  ORDER BY quiet_hour, last_event_at LIMIT $4"""
        at = codec.micros(before)
        return [(pk, id) for pk, id in await self._db.fetch(sql, account, at // HOUR, at, limit, use=Use.WORK)]

    async def stored_orders(self, after: StoredOrder | None, limit: int) -> list[StoredOrder]:
        async with self._db.snapshot() as session:
            start = ("", 0) if after is None else (after.account, after.pk)
            keys = await session.fetch(_KEYS, *start, limit)
            return await stored_rows(session, [(account, pk) for account, pk in keys])

    async def stored_again(self, orders: Sequence[StoredOrder]) -> list[StoredOrder]:
        async with self._db.snapshot() as session:
            return await stored_rows(session, [(order.account, order.pk) for order in orders])


def _first(table: str, pk: str, more: str = "") -> str:
    return f"""(SELECT account, {pk} AS pk FROM @{table} WHERE (account, {pk}) > ($1, $2) {more}
                GROUP BY account, {pk} ORDER BY account, {pk} LIMIT $3)"""


# By account and number, as all keys begin. Events of no order have the number 0.
_KEYS = f"""SELECT account, pk FROM (
    {_first("orders", "pk")} UNION {_first("events", "order_pk", "AND order_pk > 0")}
    UNION {_first("jobs", "order_pk")} UNION {_first("cancellations", "order_pk")}
    ) AS keys ORDER BY account, pk LIMIT $3"""


async def stored_rows(session: Session, keys: Sequence[tuple[str, int]]) -> list[StoredOrder]:
    """All rows of the orders of these accounts and numbers."""
    rows: dict[str, dict[int, list[tuple[Any, ...]]]] = {}
    for table, pk, columns, order in (
        ("events", "order_pk", EVENT_COLUMNS, "seq"),
        ("orders", "pk", "account, id, phase, last_event_at, state", "pk"),
        ("jobs", "order_pk", codec.JOB_COLUMNS, "order_pk"),
        ("cancellations", "order_pk", "id, account, state, body", "seq"),
    ):
        rows[table] = {number: [] for _, number in keys}
        sql = f"""SELECT {pk}, {columns} FROM @{table} JOIN unnest($1::text[], $2::bigint[]) AS wanted (account_, pk_)
                  ON account = account_ AND {pk} = pk_ ORDER BY {pk}, {order}"""
        for number, *row in await session.fetch(sql, [account for account, _ in keys], [pk for _, pk in keys]):
            rows[table][number].append(tuple(row))
    return [
        StoredOrder(
            pk=number,
            account=account,
            events=rows["events"][number],
            order=next(iter(rows["orders"][number]), None),
            job=next(iter(rows["jobs"][number]), None),
            cancellations={id: tuple(row) for id, *row in rows["cancellations"][number]},
        )
        for account, number in keys
    ]
