"""Lists of the deliveries of a subscription, and how many there are by state, type and account."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fnmatch import fnmatchcase

import aiosqlite

from app.core.outbound.delivery import Delivery, DeliveryState
from app.runtime import ids
from app.store import codec
from app.store.index_protocol import Facets
from app.store.records import SearchResult, Window
from app.store.sqlite.connection import Queries, Rows, Use
from app.store.sqlite.read.facets import COUNTED_MAX, count_groups, count_rows
from app.store.sqlite.read.ordered import GROUPS_MAX, Group, Grouping, snapshot
from app.store.sqlite.read.search import Where, direction, in_order, search

COLUMNS = ", ".join(
    [f"delivery.{column}" for column in codec.DELIVERY_COLUMNS.split(", ")]
    + [f"message.{column}" for column in codec.MESSAGE_COLUMNS.split(", ")]
)
JOIN = "CROSS JOIN messages AS message ON message.id = delivery.message"
"""Deliveries are read first, by the index of the statement."""
END = (1 << 63) - 1
_BY_TYPE = Grouping("deliveries", "deliveries_by_type", ("subscription", "type", "state"), "message")
_FIELDS = ("state", "type", "account")
_FACETS = "delivery.state, delivery.type, nullif(delivery.account, '')"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilter:
    """What the deliveries of a list have in common."""

    subscription: str
    state: DeliveryState | None = None
    types: Sequence[str] = ()
    account: str | None = None
    order_pk: int | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def bounds(self) -> tuple[int, int]:
        """The first number of a message, and the one after the last."""
        return 0 if self.since is None else first_message(self.since), end_of_messages(self.until)

    @property
    def by_group(self) -> bool:
        """Whether type and state are all that tells them apart, beside the time."""
        return (self.account, self.order_pk) == (None, None) and (self.state is not None or bool(self.types))

    def where(self) -> Where:
        """The conditions that a row tells."""
        where = Where(**{"delivery.state": self.state})
        where.any_of("delivery.type GLOB ?", self.types)
        return where

    def has_group(self, group: Group) -> bool:
        """Whether those of this subscription, type and state are wanted."""
        _, type, state = group
        return self.state in (None, state) and (not self.types or any(fnmatchcase(type, glob) for glob in self.types))


class DeliveryListQueries(Queries):
    """The part of `DeliveryReader` about lists."""

    async def deliveries(
        self,
        window: Window,
        subscription: str,
        *,
        state: DeliveryState | None = None,
        types: Sequence[str] = (),
        account: str | None = None,
        order_pk: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> SearchResult[tuple[int, Delivery]]:
        wanted = DeliveryFilter(
            subscription=subscription,
            state=state,
            types=types,
            account=account,
            order_pk=order_pk,
            since=since,
            until=until,
        )
        rows, resume = await self._delivery_rows(wanted, window, COLUMNS, JOIN)
        return SearchResult([(number, codec.read_delivery(tuple(row))) for number, *row in rows], resume)

    async def delivery_facets(
        self,
        subscription: str,
        *,
        state: DeliveryState | None = None,
        types: Sequence[str] = (),
        account: str | None = None,
        order_pk: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Facets:
        wanted = DeliveryFilter(
            subscription=subscription,
            state=state,
            types=types,
            account=account,
            order_pk=order_pk,
            since=since,
            until=until,
        )
        rows, resume = await self._delivery_rows(wanted, Window(COUNTED_MAX + 1), _FACETS)
        counted = count_rows(_FIELDS, rows, complete=resume is None)
        if counted.complete or (account, order_pk, since, until) != (None,) * 4:
            return counted
        async with snapshot(self._db, Use.SEARCHES) as db:
            by_type = await count_groups(db, _BY_TYPE, wanted.has_group, (subscription,))
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
            async with snapshot(self._db) as db:
                groups = await _BY_TYPE.groups(db, GROUPS_MAX, wanted.has_group, (wanted.subscription,))
                if groups is not None:
                    return await _of_groups(db, groups, wanted, window, columns, join), None
        within = Where(**{"delivery.subscription": wanted.subscription, "delivery.account": wanted.account})
        index = "" if wanted.account is None else "INDEXED BY deliveries_of_account"
        return await search(
            self._db,
            f"deliveries AS delivery {index}",
            "delivery.message",
            columns,
            wanted.where(),
            window,
            within=within,
            bounds=wanted.bounds,
            join=join,
        )

    async def _deliveries_of_order(self, wanted: DeliveryFilter, window: Window, columns: str) -> Rows:
        where = wanted.where()
        where.add("delivery.account = ?", wanted.account)
        where.add("message.order_pk = ?", wanted.order_pk)
        where.all_of("message.id >= ? AND message.id < ?", wanted.bounds)
        where.beyond("message.id", window)
        sql = f"""SELECT message.id, {columns} FROM messages AS message INDEXED BY messages_by_order
                  CROSS JOIN deliveries AS delivery ON delivery.subscription = ? AND delivery.message = message.id
                  {where} ORDER BY message.id {direction(window)} LIMIT ?"""
        return in_order(await self._db.fetch(sql, (wanted.subscription, *where.values, window.limit)), window)


async def _of_groups(
    db: aiosqlite.Connection, groups: Sequence[Group], wanted: DeliveryFilter, window: Window, columns: str, join: str
) -> Rows:
    within = Where()
    within.all_of("message >= ? AND message < ?", wanted.bounds)
    numbers = [number for number, _ in await _BY_TYPE.merged(db, "subscription", groups, within, window)]
    sql = f"""SELECT delivery.message, {columns} FROM deliveries AS delivery {join}
              WHERE delivery.subscription = ? AND delivery.message IN (SELECT value FROM json_each(?))"""
    rows = await db.execute_fetchall(sql, (wanted.subscription, codec.to_json(numbers)))
    return sorted((tuple(row) for row in rows), key=lambda row: -row[0])


def first_message(moment: datetime) -> int:
    """The smallest number of a message that was written at this time or later."""
    return ids.at(codec.micros(moment) // 1000)


def end_of_messages(until: datetime | None) -> int:
    """A number above those of all messages that were written before this time; None: of all."""
    return END if until is None else first_message(until)
