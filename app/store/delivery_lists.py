"""Lists of the deliveries of a subscription, and how many there are by state, type and account."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.core.outbound.delivery import Delivery
from app.store import codec
from app.store.facets import GROUPS_MAX, count_groups, count_rows, counted_window
from app.store.filters import DeliveryFilter, Group
from app.store.grouping import Grouping
from app.store.index_protocol import Facets
from app.store.pieces import Lists, Statements
from app.store.records import Rows, SearchResult, Window
from app.store.searching import search
from app.store.use import Use
from app.store.where import Where

COLUMNS = ", ".join(
    [f"delivery.{column}" for column in codec.DELIVERY_COLUMNS.split(", ")]
    + [f"message.{column}" for column in codec.MESSAGE_COLUMNS.split(", ")]
)
_FIELDS = ("state", "type", "account")
_FACETS = "delivery.state, delivery.type, nullif(delivery.account, '')"


@dataclass(frozen=True, slots=True)
class DeliveryTables:
    """Where a database has its deliveries, and their indexes."""

    table: str
    """As `delivery`."""
    of_account: str
    """The same, by the index on accounts."""
    messages: str
    """What joins their messages, as `message`."""
    by_type: Grouping
    """By subscription, type and state."""
    where: Callable[[DeliveryFilter], Where]
    """The conditions on state and type."""
    numbered: Callable[[Sequence[int]], tuple[str, Sequence[Any]]]
    """Takes numbers of messages; returns the condition that a delivery is of one of them, and its values."""


class DeliveryLists(ABC):
    """The part of `DeliveryReader` about lists."""

    _lists: Lists
    _deliveries: DeliveryTables

    @abstractmethod
    async def _deliveries_of_order(self, wanted: DeliveryFilter, window: Window, columns: str) -> Rows:
        """Rows of (number of the message, columns) of one order."""

    async def deliveries(self, window: Window, wanted: DeliveryFilter) -> SearchResult[tuple[int, Delivery]]:
        rows, resume = await self._delivery_rows(wanted, window, COLUMNS, self._deliveries.messages)
        return SearchResult([(number, codec.read_delivery(tuple(row))) for number, *row in rows], resume)

    async def delivery_facets(self, wanted: DeliveryFilter) -> Facets:
        rows, resume = await self._delivery_rows(wanted, counted_window(), _FACETS)
        counted = count_rows(_FIELDS, rows, complete=resume is None)
        if counted.complete or not wanted.of_groups:
            return counted
        async with self._lists.snapshot(Use.SEARCHES) as db:
            by_type = await count_groups(db, self._deliveries.by_type, wanted.has_group, (wanted.subscription,))
        if by_type is None:
            return counted
        counts = {**counted.counts, "state": by_type.counts["state"], "type": by_type.counts["type"]}
        return replace(
            by_type, counts=counts, complete=False, more={**by_type.more, "account": counted.more["account"]}
        )

    async def _delivery_rows(
        self, wanted: DeliveryFilter, window: Window, columns: str, join: str = ""
    ) -> tuple[Rows, int | None]:
        """(rows of (number of the message, columns), number to resume from)."""
        if wanted.order_pk is not None:
            return await self._deliveries_of_order(wanted, window, columns), None
        if wanted.by_group:
            async with self._lists.snapshot() as db:
                groups = await self._deliveries.by_type.groups(db, GROUPS_MAX, wanted.has_group, (wanted.subscription,))
                if groups is not None:
                    return await self._of_groups(db, groups, wanted, window, columns, join), None
        within = Where(**{"delivery.subscription": wanted.subscription, "delivery.account": wanted.account})
        table = self._deliveries.table if wanted.account is None else self._deliveries.of_account
        return await search(
            self._lists,
            table,
            "delivery.message",
            columns,
            self._deliveries.where(wanted),
            window,
            within=within,
            bounds=wanted.bounds,
            join=join,
        )

    async def _of_groups(
        self,
        db: Statements,
        groups: Sequence[Group],
        wanted: DeliveryFilter,
        window: Window,
        columns: str,
        join: str,
    ) -> Rows:
        within = Where()
        within.all_of("message >= ? AND message < ?", wanted.bounds)
        merged = await self._deliveries.by_type.merged(db, "subscription", groups, within, window)
        where = Where(**{"delivery.subscription": wanted.subscription})
        where.all_of(*self._deliveries.numbered([number for number, _ in merged]))
        sql = f"SELECT delivery.message, {columns} FROM {self._deliveries.table} {join} {where}"
        rows = await db.execute_fetchall(sql, where.values)
        return sorted((tuple(row) for row in rows), key=lambda row: -row[0])
