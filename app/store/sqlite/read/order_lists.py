"""Lists of orders on SQLite: the beginning of a name is found by the search index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog

from app.core.event import order_key
from app.store import codec, order_lists
from app.store.order_lists import OrderLists, OrderTables
from app.store.protocol import StoreError
from app.store.searching import Order
from app.store.sqlite.connection import Queries
from app.store.sqlite.index import IndexFile
from app.store.sqlite.read.ordered import SqliteGrouping
from app.store.use import Use
from app.store.where import Where

_BEGINS = "substr(lower({0}), 1, length(?1)) = lower(?1)"
_STARTS = f"""({_BEGINS.format("name")} OR {_BEGINS.format("substr(name, instr(name, ':') + 1)")})"""
_HAS_NAME = f"""EXISTS (SELECT 1 FROM (
        SELECT orders.id AS name UNION ALL SELECT value FROM json_each({codec.ORDER_STATE}, '$.order.aliases')
        UNION ALL SELECT value FROM json_each({codec.ORDER_STATE}, '$.order.shared_aliases'))
    WHERE {_STARTS})""".replace("?1", "?")
_INDEXED = """SELECT DISTINCT account, name FROM order_names
    WHERE key >= lower(?1) AND key < lower(?1) || char(1114111) LIMIT ?2"""
_NEWEST = f"""SELECT account, name FROM (
        SELECT account, name FROM log.events WHERE seq > ?2
        UNION SELECT account, alias.value
              FROM log.events, json_each({codec.EVENT_BODY}, '$.facts.aliases') AS alias WHERE seq > ?2
        UNION SELECT account, alias.value
              FROM log.events, json_each({codec.EVENT_BODY}, '$.facts.shared_aliases') AS alias WHERE seq > ?2)
    WHERE {_STARTS} LIMIT ?3"""
_NUMBERS = """WITH wanted AS (SELECT value ->> 0 AS key, value ->> 1 AS account, value ->> 2 AS name FROM json_each(?))
    SELECT order_pk FROM wanted JOIN names USING (key, account, name)
    UNION SELECT order_pk FROM wanted JOIN shared_aliases USING (account, name)"""

log = structlog.get_logger()


def _numbered(numbers: Sequence[int]) -> tuple[str, Sequence[Any]]:
    return "pk IN (SELECT value FROM json_each(?))", [codec.to_json(numbers)]


def _add_name(where: Where, text: str) -> None:
    where.all_of(_HAS_NAME, [text] * 4)


class OrderListQueries(OrderLists, Queries):
    """The part of `Reader` about lists of orders."""

    _index: IndexFile | None = None
    _orders = OrderTables(
        table="orders",
        of_account="orders INDEXED BY orders_by_account",
        by_closing=Order(
            "orders INDEXED BY orders_by_closing",
            ("closes_at", "account", "pk"),
            ascending=True,
            condition="closes_at IS NOT NULL",
        ),
        by_opening=Order(
            "orders INDEXED BY orders_by_opening", ("opened_at", "account", "pk"), condition="opened_at IS NOT NULL"
        ),
        by_verdict=SqliteGrouping("orders", "orders_by_verdict", ("cancelable", "phase", "reason"), "pk"),
        by_account=SqliteGrouping("orders", "orders_by_account", ("account",), "pk"),
        state=codec.ORDER_STATE,
        numbered=_numbered,
        has_name=_add_name,
    )

    async def _named(self, text: str) -> list[int] | None:
        if self._index is None:
            return None
        try:
            async with self._index.borrow() as db:
                [(filled_to,)] = await db.execute_fetchall("SELECT filled_to FROM state")
                sql = "SELECT count(*) FROM (SELECT 1 FROM log.events WHERE seq > ? LIMIT ?)"
                [(behind,)] = await db.execute_fetchall(sql, (filled_to, order_lists.NAMES_MAX + 1))
                if behind > order_lists.NAMES_MAX:
                    return None
                names = {tuple(row) for row in await db.execute_fetchall(_INDEXED, (text, order_lists.NAMES_MAX + 1))}
                names |= {
                    tuple(row)
                    for row in await db.execute_fetchall(_NEWEST, (text, filled_to, order_lists.NAMES_MAX + 1))
                }
        except StoreError as error:
            log.warning("search_index_unusable", error=str(error))
            return None
        if len(names) > order_lists.NAMES_MAX:
            return None
        wanted = [(order_key(account, name), account, name) for account, name in names]
        return [pk for (pk,) in await self._db.fetch(_NUMBERS, (codec.to_json(wanted),), Use.SEARCHES)]
