"""Lists of deliveries on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.store.delivery_lists import DeliveryLists, DeliveryTables
from app.store.filters import DeliveryFilter
from app.store.postgres.columns import DELIVERY_JOIN
from app.store.postgres.grouping import PostgresGrouping
from app.store.postgres.lists import ListQueries, like
from app.store.records import Rows, Window
from app.store.where import Where
from app.store.windows import direction, in_order


def _conditions(wanted: DeliveryFilter) -> Where:
    """The conditions that a row tells."""
    where = Where(**{"delivery.state": wanted.state})
    if wanted.types:
        where.all_of("delivery.type LIKE ANY(?::text[])", [[like(type) for type in wanted.types]])
    return where


def _numbered(numbers: Sequence[int]) -> tuple[str, Sequence[Any]]:
    return "delivery.message = ANY(?::bigint[])", [list(numbers)]


class DeliveryListQueries(DeliveryLists, ListQueries):
    """The part of `DeliveryReader` about lists."""

    _deliveries = DeliveryTables(
        table="@deliveries AS delivery",
        of_account="@deliveries AS delivery",
        messages=DELIVERY_JOIN,
        by_type=PostgresGrouping("@deliveries", ("subscription", "type", "state"), "message"),
        where=_conditions,
        numbered=_numbered,
    )

    async def _deliveries_of_order(self, wanted: DeliveryFilter, window: Window, columns: str) -> Rows:
        where = _conditions(wanted)
        where.add("delivery.subscription = ?", wanted.subscription)
        where.add("delivery.account = ?", wanted.account)
        where.add("message.order_pk = ?", wanted.order_pk)
        where.all_of("message.id >= ? AND message.id < ?", wanted.bounds)
        where.beyond("message.id", window)
        sql = f"""SELECT message.id, {columns} FROM @messages AS message
                  JOIN @deliveries AS delivery ON delivery.message = message.id AND delivery.account = message.account
                  {where} ORDER BY message.id {direction(window)} LIMIT ?"""
        return in_order(await self._lists.fetch(sql, (*where.values, window.limit)), window)
