"""Lists of orders: each in the order of an index. Time alone changes verdicts: the columns are as of the last change.

The beginning of a name is found by an index, and where many orders have it, by looking.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from app.core.aggregate import OrderAggregate
from app.store.decoding import read_aggregates
from app.store.facets import GROUPS_MAX, count_groups, count_rows, counted_window
from app.store.filters import ALL_ORDERS, OrderFilter
from app.store.grouping import Grouping
from app.store.index_protocol import Facets
from app.store.pieces import Lists
from app.store.records import Position, Rows, SearchResult, Window
from app.store.searching import Check, Order, search, walk
from app.store.use import Use
from app.store.where import Where
from app.store.windows import in_order

NUMBERS_MAX = 5000
"""Orders that are looked up, and sorted, for one page."""
NAMES_MAX = 1000
"""Names that are looked up; where more begin so, a page is full before long."""
FEW = 20_000
"""Orders that may be looked at for one page."""
_FIELDS = ("account", "cancelable", "phase", "reason")


@dataclass(frozen=True, slots=True)
class OrderTables:
    """Where a database has its orders, and their indexes."""

    table: str
    of_account: str
    """The table, by the index on accounts."""
    by_closing: Order
    by_opening: Order
    by_verdict: Grouping
    """By verdict, phase and reason."""
    by_account: Grouping
    state: str
    """The column with the state as JSON."""
    numbered: Callable[[Sequence[int]], tuple[str, Sequence[Any]]]
    """Takes order numbers; returns the condition that an order has one of them, and its values."""
    has_name: Callable[[Where, str], Check | None]
    """Adds the condition that a name of an order begins with a text, or returns how to check for it."""

    @property
    def by_number(self) -> Order:
        """The order of lists that are not by time."""
        return Order(self.table, ("pk",))

    def order_of(self, wanted: OrderFilter) -> Order | None:
        """What the list is ordered by; None: by number."""
        if wanted.by_closing:
            return self.by_closing
        return self.by_opening if wanted.by_opening else None


class OrderLists(ABC):
    """The part of `Reader` about lists of orders."""

    _lists: Lists
    _orders: OrderTables

    @abstractmethod
    async def _named(self, text: str) -> Sequence[int] | None:
        """The numbers of all orders of which a name begins with `text`; None if these are too many to be looked up."""

    async def orders(
        self, window: Window, wanted: OrderFilter = ALL_ORDERS
    ) -> SearchResult[tuple[Position, OrderAggregate]]:
        rows, resume = await self._order_rows(wanted, window, self._orders.state)
        if not wanted.by_time:
            return SearchResult(await read_aggregates(rows), resume)
        return SearchResult(await read_aggregates((tuple(position), state) for *position, state in rows), resume)

    async def order_facets(self, wanted: OrderFilter = ALL_ORDERS) -> Facets:
        rows, resume = await self._order_rows(wanted, counted_window(), ", ".join(_FIELDS))
        newest = count_rows(_FIELDS, rows, complete=resume is None)
        if newest.complete or (wanted.account, wanted.text) != (None, None) or wanted.by_time:
            return newest
        async with self._lists.snapshot(Use.SEARCHES) as db:
            counted = await count_groups(db, self._orders.by_verdict, wanted.has_group)
            by_account = None if wanted.of_verdict else await count_groups(db, self._orders.by_account, lambda _: True)
        if counted is None:
            return newest
        of = by_account or newest
        counts = {**counted.counts, "account": of.counts["account"]}
        complete = counted.complete and of.complete
        return Facets(counted.total, counts, complete, {**counted.more, "account": of.more.get("account", ())})

    async def _order_rows(self, wanted: OrderFilter, window: Window, columns: str) -> tuple[Rows, Position | None]:
        """(rows of (*position, columns), position to resume from if the time budget was spent)."""
        order, numbers, check = self._orders.order_of(wanted), None, None
        where = wanted.where(in_bounds=True)
        if wanted.text is not None:
            numbers = await self._named(wanted.text)
            check = self._orders.has_name(where, wanted.text)
        elif order is not None:
            numbers = await self._few(wanted)
        if numbers is not None:
            return await self._of_numbers(numbers, wanted, window, columns), None
        if order is not None:
            return await walk(self._lists, order, columns, where, window, wanted.bounds, check)
        if wanted.text is None and wanted.of_verdict:
            rows = await self._of_verdict(wanted, window, columns)
            if rows is not None:
                return rows, None
        if wanted.account is None:
            return await search(self._lists, self._orders.table, "pk", columns, where, window, check=check)
        if where.values == [wanted.account]:
            where = Where()
        within = Where(account=wanted.account)
        return await search(
            self._lists, self._orders.of_account, "pk", columns, where, window, within=within, check=check
        )

    async def _of_numbers(self, numbers: Sequence[int], wanted: OrderFilter, window: Window, columns: str) -> Rows:
        """Those of a few orders that are wanted."""
        order, where = self._orders.order_of(wanted) or self._orders.by_number, wanted.where()
        where.all_of(*self._orders.numbered(numbers))
        way, key = order.direction(window), ", ".join(order.columns)
        if window.position is not None:
            position = window.position if isinstance(window.position, tuple) else (window.position,)
            marks = ", ".join("?" * len(position))
            where.all_of(f"({key}) {'>' if way == 'ASC' else '<'} ({marks})", position)
        by = ", ".join(f"{column} {way}" for column in order.columns)
        sql = f"SELECT {key}, {columns} FROM {self._orders.table} {where} ORDER BY {by} LIMIT ?"
        return in_order(await self._lists.fetch(sql, (*where.values, window.limit), Use.SEARCHES), window)

    async def _few(self, wanted: OrderFilter) -> list[int] | None:
        """The numbers of all orders of the account, or with this verdict, phase and reason; None if there are many."""
        async with self._lists.snapshot() as db:
            if wanted.account is not None:
                sql = f"SELECT pk FROM {self._orders.of_account} WHERE account = ? LIMIT {NUMBERS_MAX + 1}"
                numbers = [pk for (pk,) in await db.execute_fetchall(sql, (wanted.account,))]
                if len(numbers) <= NUMBERS_MAX:
                    return numbers
            by_verdict = self._orders.by_verdict
            groups = await by_verdict.groups(db, GROUPS_MAX, wanted.has_group) if wanted.of_verdict else None
            if groups is None or sum(await by_verdict.counts(db, groups, NUMBERS_MAX + 1)) > NUMBERS_MAX:
                return None
            rows = await by_verdict.merged(db, "account", groups, Where(), Window(NUMBERS_MAX))
            return [pk for pk, _ in rows]

    async def _of_verdict(self, wanted: OrderFilter, window: Window, columns: str) -> Rows | None:
        """Orders by verdict, phase and reason; None if these are not what tells most of them apart.

        Of an account with few orders all are looked at; of one with many, those of the groups, if they are few.
        """
        where = Where(account=wanted.account)
        async with self._lists.snapshot() as db:
            if wanted.account is not None:
                sql = f"SELECT count(*) FROM (SELECT 1 FROM {self._orders.of_account} {where} LIMIT {FEW}) AS subquery"
                [(own,)] = await db.execute_fetchall(sql, where.values)
                if own < FEW:
                    return None
            groups = await self._orders.by_verdict.groups(db, GROUPS_MAX, wanted.has_group)
            if groups is None:
                return None
            if wanted.account is not None and sum(await self._orders.by_verdict.counts(db, groups, FEW)) >= FEW:
                return None
            return await self._orders.by_verdict.merged(db, columns, groups, where, window)
