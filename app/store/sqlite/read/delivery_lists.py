"""Lists of deliveries on SQLite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.store import codec
from app.store.delivery_lists import DeliveryLists, DeliveryTables
from app.store.filters import DeliveryFilter
from app.store.records import Rows, Window
from app.store.sqlite.connection import Queries
from app.store.sqlite.read.ordered import SqliteGrouping
from app.store.where import Where
from app.store.windows import direction, in_order

JOIN = "CROSS JOIN messages AS message ON message.id = delivery.message"
"""Deliveries are read first, by the index of the statement."""


def _conditions(wanted: DeliveryFilter) -> Where:
    """The conditions that a row tells."""
    where = Where(**{"delivery.state": wanted.state})
    where.any_of("delivery.type GLOB ?", wanted.types)
    return where


def _numbered(numbers: Sequence[int]) -> tuple[str, Sequence[Any]]:
    return "delivery.message IN (SELECT value FROM json_each(?))", [codec.to_json(numbers)]


class DeliveryListQueries(DeliveryLists, Queries):
    """The part of `DeliveryReader` about lists."""

    _deliveries = DeliveryTables(
        table="deliveries AS delivery",
        of_account="deliveries AS delivery INDEXED BY deliveries_of_account",
        messages=JOIN,
        by_type=SqliteGrouping("deliveries", "deliveries_by_type", ("subscription", "type", "state"), "message"),
        where=_conditions,
        numbered=_numbered,
    )

    async def _deliveries_of_order(self, wanted: DeliveryFilter, window: Window, columns: str) -> Rows:
        where = _conditions(wanted)
        where.add("delivery.account = ?", wanted.account)
        where.add("message.order_pk = ?", wanted.order_pk)
        where.all_of("message.id >= ? AND message.id < ?", wanted.bounds)
        where.beyond("message.id", window)
        sql = f"""SELECT message.id, {columns} FROM messages AS message INDEXED BY messages_by_order
                  CROSS JOIN deliveries AS delivery ON delivery.subscription = ? AND delivery.message = message.id
                  {where} ORDER BY message.id {direction(window)} LIMIT ?"""
        return in_order(await self._db.fetch(sql, (wanted.subscription, *where.values, window.limit)), window)
