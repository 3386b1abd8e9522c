"""Lists of orders. The beginning of a name is found by the search index, and where many orders have it, by looking."""

from __future__ import annotations

from datetime import datetime

import structlog

from app.core.aggregate import OrderAggregate
from app.core.event import order_key
from app.kit.cel.order_view import as_text
from app.store import codec
from app.store.protocol import StoreError
from app.store.records import Position, SearchResult, Window
from app.store.sqlite.connection import Queries, Use
from app.store.sqlite.index import IndexFile
from app.store.sqlite.read.search import Where, direction, in_order, search

NAMES_MAX = 1000
"""Names that are looked up; where more begin so, a page is full before long."""
_BEGINS = "substr(lower({0}), 1, length(?1)) = lower(?1)"
_STARTS = f"""({_BEGINS.format("name")} OR {_BEGINS.format("substr(name, instr(name, ':') + 1)")})"""
_HAS_NAME = f"""EXISTS (SELECT 1 FROM (
        SELECT orders.id AS name UNION ALL SELECT value FROM json_each(orders.state, '$.order.aliases')
        UNION ALL SELECT value FROM json_each(orders.state, '$.order.shared_aliases'))
    WHERE {_STARTS})""".replace("?1", "?")
_INDEXED = """SELECT DISTINCT account, name FROM order_names
    WHERE key >= lower(?1) AND key < lower(?1) || char(1114111) LIMIT ?2"""
_NEWEST = f"""SELECT account, name FROM (
        SELECT account, name FROM log.events WHERE seq > ?2
        UNION SELECT account, alias.value FROM log.events, json_each(body, '$.facts.aliases') AS alias WHERE seq > ?2
        UNION SELECT account, alias.value
              FROM log.events, json_each(body, '$.facts.shared_aliases') AS alias WHERE seq > ?2)
    WHERE {_STARTS} LIMIT ?3"""
_NUMBERS = """WITH wanted AS (SELECT value ->> 0 AS key, value ->> 1 AS account, value ->> 2 AS name FROM json_each(?))
    SELECT order_pk FROM wanted JOIN names USING (key, account, name)
    UNION SELECT order_pk FROM wanted JOIN shared_aliases USING (account, name)"""

log = structlog.get_logger()


class OrderListQueries(Queries):
    """The part of `Reader` about lists of orders."""

    _index: IndexFile | None = None

    async def orders(
        self,
        window: Window,
        *,
        account: str | None = None,
        phase: str | None = None,
        cancelable: str | None = None,
        reason: str | None = None,
        closes_after: datetime | None = None,
        closes_before: datetime | None = None,
        opened_since: datetime | None = None,
        opened_until: datetime | None = None,
        text: str | None = None,
    ) -> SearchResult[tuple[Position, OrderAggregate]]:
        where = Where(account=account, phase=phase, cancelable=cancelable, reason=reason)
        where.add("closes_at >= ?", codec.micros_or_none(closes_after))
        where.add("closes_at < ?", codec.micros_or_none(closes_before))
        where.add("json_extract(state, '$.order.opened_at') >= ?", opened_since and as_text(opened_since))
        where.add("json_extract(state, '$.order.opened_at') < ?", opened_until and as_text(opened_until))
        if text is not None:
            where.all_of(_HAS_NAME, [text] * 4)
        numbers = None if text is None else await self._named(text)
        if numbers is None:
            rows, resume = await search(self._db, "orders", "pk", "state", where, window)
        else:
            where.all_of("pk IN (SELECT value FROM json_each(?))", [codec.to_json(numbers)])
            where.beyond("pk", window)
            sql = f"SELECT pk, state FROM orders {where} ORDER BY pk {direction(window)} LIMIT ?"
            values = (*where.values, window.limit)
            rows, resume = in_order(await self._db.fetch(sql, values, Use.SEARCHES), window), None
        return SearchResult([(pk, codec.read_aggregate(state)) for pk, state in rows], resume)

    async def _named(self, text: str) -> list[int] | None:
        """The numbers of all orders of which a name begins with `text`; None if these are too many to be looked up."""
        if self._index is None:
            return None
        try:
            async with self._index.borrow() as db:
                [(filled_to,)] = await db.execute_fetchall("SELECT filled_to FROM state")
                sql = "SELECT count(*) FROM (SELECT 1 FROM log.events WHERE seq > ? LIMIT ?)"
                [(behind,)] = await db.execute_fetchall(sql, (filled_to, NAMES_MAX + 1))
                if behind > NAMES_MAX:
                    return None
                names = {tuple(row) for row in await db.execute_fetchall(_INDEXED, (text, NAMES_MAX + 1))}
                names |= {tuple(row) for row in await db.execute_fetchall(_NEWEST, (text, filled_to, NAMES_MAX + 1))}
        except StoreError as error:
            log.warning("search_index_unusable", error=str(error))
            return None
        if len(names) > NAMES_MAX:
            return None
        wanted = [(order_key(account, name), account, name) for account, name in names]
        return [pk for (pk,) in await self._db.fetch(_NUMBERS, (codec.to_json(wanted),), Use.SEARCHES)]
