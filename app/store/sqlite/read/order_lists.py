"""Lists of orders: each in the order of an index. Time alone changes verdicts: the columns are as of the last change.

The beginning of a name is found by the search index, and where many orders have it, by looking.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from app.core.aggregate import OrderAggregate
from app.core.event import order_key
from app.store import codec
from app.store.index_protocol import Facets
from app.store.protocol import StoreError
from app.store.records import Position, SearchResult, Window
from app.store.sqlite.connection import Queries, Rows, Use
from app.store.sqlite.index import IndexFile
from app.store.sqlite.read.decoding import read_aggregates
from app.store.sqlite.read.facets import COUNTED_MAX, count_groups, count_rows
from app.store.sqlite.read.ordered import GROUPS_MAX, Group, Grouping, Order, snapshot, walk
from app.store.sqlite.read.search import END, Where, in_order, search
from app.store.sqlite.statements import marks

NUMBERS_MAX = 5000
"""Orders that are looked up, and sorted, for one page."""
NAMES_MAX = 1000
"""Names that are looked up; where more begin so, a page is full before long."""
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
_OF_ACCOUNT = "INDEXED BY orders_by_account"
FEW = 20_000
"""Orders that may be looked at for one page."""
BY_CLOSING = Order(
    "orders INDEXED BY orders_by_closing",
    ("closes_at", "account", "pk"),
    ascending=True,
    condition="closes_at IS NOT NULL",
)
"""Those that close soonest come first."""
BY_OPENING = Order(
    "orders INDEXED BY orders_by_opening", ("opened_at", "account", "pk"), condition="opened_at IS NOT NULL"
)
_BY_NUMBER = Order("orders", ("pk",))
_BY_VERDICT = Grouping("orders", "orders_by_verdict", ("cancelable", "phase", "reason"), "pk")
_BY_ACCOUNT = Grouping("orders", "orders_by_account", ("account",), "pk")
_FIELDS = ("account", "cancelable", "phase", "reason")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFilter:
    """What the orders of a list have in common."""

    account: str | None = None
    phase: str | None = None
    cancelable: str | None = None
    reason: str | None = None
    closes_after: datetime | None = None
    closes_before: datetime | None = None
    opened_since: datetime | None = None
    opened_until: datetime | None = None
    text: str | None = None

    @property
    def order(self) -> Order | None:
        """What the list is ordered by; None: by number."""
        if (self.closes_after, self.closes_before) != (None, None):
            return BY_CLOSING
        return BY_OPENING if (self.opened_since, self.opened_until) != (None, None) else None

    @property
    def bounds(self) -> tuple[Group, Group]:
        """Between which positions of that order the list is."""
        if self.order is BY_CLOSING:
            return _position(self.closes_after, -END), _position(self.closes_before, END)
        return _position(self.opened_since, -END), _position(self.opened_until, END)

    @property
    def of_verdict(self) -> bool:
        """Whether verdict, phase or reason are given."""
        return (self.cancelable, self.phase, self.reason) != (None, None, None)

    def has_group(self, group: Group) -> bool:
        """Whether orders of this verdict, phase and reason are wanted."""
        wanted = (self.cancelable, self.phase, self.reason)
        return all(value is None or value == own for value, own in zip(wanted, group, strict=True))

    def where(self, order: Order | None = None) -> Where:
        """The conditions, but for `text`; without those that the bounds in this order stand for."""
        where = Where(account=self.account, cancelable=self.cancelable, phase=self.phase, reason=self.reason)
        if order is not BY_CLOSING:
            where.add("closes_at >= ?", codec.micros_or_none(self.closes_after))
            where.add("closes_at < ?", codec.micros_or_none(self.closes_before))
        if order is not BY_OPENING:
            where.add("opened_at >= ?", codec.micros_or_none(self.opened_since))
            where.add("opened_at < ?", codec.micros_or_none(self.opened_until))
        return where


def _position(moment: datetime | None, default: int) -> Group:
    """The position before all rows of this time."""
    return (default if moment is None else codec.micros(moment), "", -END)


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
        wanted = OrderFilter(
            account=account,
            phase=phase,
            cancelable=cancelable,
            reason=reason,
            closes_after=closes_after,
            closes_before=closes_before,
            opened_since=opened_since,
            opened_until=opened_until,
            text=text,
        )
        rows, resume = await self._order_rows(wanted, window, codec.ORDER_STATE)
        if wanted.order is None:
            return SearchResult(await read_aggregates(rows), resume)
        return SearchResult(await read_aggregates((tuple(position), state) for *position, state in rows), resume)

    async def order_facets(
        self,
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
    ) -> Facets:
        wanted = OrderFilter(
            account=account,
            phase=phase,
            cancelable=cancelable,
            reason=reason,
            closes_after=closes_after,
            closes_before=closes_before,
            opened_since=opened_since,
            opened_until=opened_until,
            text=text,
        )
        rows, resume = await self._order_rows(wanted, Window(COUNTED_MAX + 1), ", ".join(_FIELDS))
        newest = count_rows(_FIELDS, rows, complete=resume is None)
        if newest.complete or (account, text, wanted.order) != (None, None, None):
            return newest
        async with snapshot(self._db, Use.SEARCHES) as db:
            counted = await count_groups(db, _BY_VERDICT, wanted.has_group)
            by_account = None if wanted.of_verdict else await count_groups(db, _BY_ACCOUNT, lambda _: True)
        if counted is None:
            return newest
        of = by_account or newest
        counts = {**counted.counts, "account": of.counts["account"]}
        complete = counted.complete and of.complete
        return Facets(counted.total, counts, complete, {**counted.more, "account": of.more.get("account", ())})

    async def _order_rows(self, wanted: OrderFilter, window: Window, columns: str) -> tuple[Rows, Position | None]:
        """(rows of (*position, columns), position to resume from if the time budget was spent)."""
        order, numbers = wanted.order, None
        where = wanted.where(order)
        if wanted.text is not None:
            numbers = await self._named(wanted.text)
            where.all_of(_HAS_NAME, [wanted.text] * 4)
        elif order is not None:
            numbers = await self._few(wanted)
        if numbers is not None:
            return await self._of_numbers(numbers, wanted, window, columns), None
        if order is not None:
            return await walk(self._db, order, columns, where, window, wanted.bounds)
        if wanted.text is None and wanted.of_verdict:
            rows = await self._of_verdict(wanted, window, columns)
            if rows is not None:
                return rows, None
        if wanted.account is None:
            return await search(self._db, "orders", "pk", columns, where, window)
        if where.values == [wanted.account]:
            where = Where()
        within = Where(account=wanted.account)
        return await search(self._db, f"orders {_OF_ACCOUNT}", "pk", columns, where, window, within=within)

    async def _of_numbers(self, numbers: Sequence[int], wanted: OrderFilter, window: Window, columns: str) -> Rows:
        """Those of a few orders that are wanted."""
        order, where = wanted.order or _BY_NUMBER, wanted.where()
        where.all_of("pk IN (SELECT value FROM json_each(?))", [codec.to_json(numbers)])
        way, key = order.direction(window), ", ".join(order.columns)
        if window.position is not None:
            position = window.position if isinstance(window.position, tuple) else (window.position,)
            where.all_of(f"({key}) {'>' if way == 'ASC' else '<'} ({marks(position)})", position)
        by = ", ".join(f"{column} {way}" for column in order.columns)
        sql = f"SELECT {key}, {columns} FROM orders {where} ORDER BY {by} LIMIT ?"
        return in_order(await self._db.fetch(sql, (*where.values, window.limit), Use.SEARCHES), window)

    async def _few(self, wanted: OrderFilter) -> list[int] | None:
        """The numbers of all orders of the account, or with this verdict, phase and reason; None if there are many."""
        async with snapshot(self._db) as db:
            if wanted.account is not None:
                sql = f"SELECT pk FROM orders {_OF_ACCOUNT} WHERE account = ? LIMIT {NUMBERS_MAX + 1}"
                numbers = [pk for (pk,) in await db.execute_fetchall(sql, (wanted.account,))]
                if len(numbers) <= NUMBERS_MAX:
                    return numbers
            groups = await _BY_VERDICT.groups(db, GROUPS_MAX, wanted.has_group) if wanted.of_verdict else None
            if groups is None or sum(await _BY_VERDICT.counts(db, groups, NUMBERS_MAX + 1)) > NUMBERS_MAX:
                return None
            rows = await _BY_VERDICT.merged(db, "account", groups, Where(), Window(NUMBERS_MAX))
            return [pk for pk, _ in rows]

    async def _of_verdict(self, wanted: OrderFilter, window: Window, columns: str) -> Rows | None:
        """Orders by verdict, phase and reason; None if these are not what tells most of them apart.

        Of an account with few orders all are looked at; of one with many, those of the groups, if they are few.
        """
        where = Where(account=wanted.account)
        async with snapshot(self._db) as db:
            if wanted.account is not None:
                sql = f"SELECT count(*) FROM (SELECT 1 FROM orders {_OF_ACCOUNT} {where} LIMIT {FEW})"
                [(own,)] = await db.execute_fetchall(sql, where.values)
                if own < FEW:
                    return None
            groups = await _BY_VERDICT.groups(db, GROUPS_MAX, wanted.has_group)
            if groups is None:
                return None
            if wanted.account is not None and sum(await _BY_VERDICT.counts(db, groups, FEW)) >= FEW:
                return None
            return await _BY_VERDICT.merged(db, columns, groups, where, window)

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
