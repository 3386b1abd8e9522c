"""Lists of receipts, and how many there are by status, endpoint and account."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.core.receipt_status import ReceiptStatus
from app.store import codec
from app.store.facets import GROUP_MAX, count_rows, counted_window
from app.store.filters import ALL_RECEIPTS, SET_ASIDE, ReceiptFilter
from app.store.grouping import Grouping
from app.store.index_protocol import Facets
from app.store.pieces import Lists
from app.store.records import Position, Receipt, Rows, SearchResult, Window
from app.store.searching import Check, search
from app.store.use import Use
from app.store.where import Where
from app.store.windows import direction, in_order


@dataclass(frozen=True, slots=True)
class ReceiptTables:
    """Where a database has its receipts, and their indexes."""

    table: str
    of_account: str
    """The table, by the index on accounts."""
    set_aside: str
    """The same, by that on those that were not accepted."""
    by_status: Grouping
    """Those that were not accepted, by status."""
    listed: str
    """The columns of a receipt without its content."""
    add_texts: Callable[[Where, ReceiptFilter], Check | None]
    """Adds the conditions on texts; returns how to check for what the database cannot tell."""
    of_order: Callable[[int], tuple[str, Sequence[Any]]]
    """Takes an order's number; returns the condition that a receipt led to an event of it, and its values."""


class ReceiptLists:
    """The part of `Reader` about lists of receipts."""

    _lists: Lists
    _receipts: ReceiptTables

    async def receipts(
        self, window: Window, wanted: ReceiptFilter = ALL_RECEIPTS
    ) -> SearchResult[tuple[Position, Receipt]]:
        rows, resume = await self._receipt_rows(wanted, window, self._receipts.listed)
        page = SearchResult[tuple[Position, Receipt]](
            [(position, codec.read_listed_receipt(tuple(row))) for position, *row in rows], resume
        )
        if resume is not None:
            sql = f"SELECT received_at FROM {self._receipts.table} WHERE id >= ? ORDER BY id LIMIT 1"
            page.searched_until = next((codec.moment(at) for (at,) in await self._lists.fetch(sql, (resume,))), None)
        return page

    async def receipt_facets(self, wanted: ReceiptFilter = ALL_RECEIPTS) -> Facets:
        fields = ("status", "endpoint", "account")
        rows, resume = await self._receipt_rows(wanted, counted_window(), ", ".join(fields))
        counted = count_rows(fields, rows, complete=resume is None)
        if counted.complete or wanted != ALL_RECEIPTS:
            return counted
        # Among all receipts those that were set aside are few, and of interest: they have an index.
        set_aside = [status.value for status in ReceiptStatus if status is not ReceiptStatus.ACCEPTED]
        statuses = {ReceiptStatus.ACCEPTED.value: counted.counts["status"].get(ReceiptStatus.ACCEPTED, 0)}
        async with self._lists.snapshot(Use.SEARCHES) as db:
            counts = await self._receipts.by_status.counts(db, [(status,) for status in set_aside], GROUP_MAX + 1)
        statuses.update(zip(set_aside, counts, strict=True))
        more = {status for status, count in statuses.items() if count > GROUP_MAX} | {ReceiptStatus.ACCEPTED.value}
        shown = {status: min(count, GROUP_MAX) for status, count in statuses.items() if count}
        return replace(
            counted, counts={**counted.counts, "status": shown}, more={**counted.more, "status": more & shown.keys()}
        )

    async def _receipt_rows(self, wanted: ReceiptFilter, window: Window, columns: str) -> tuple[Rows, int | None]:
        """(rows of (id, columns), id to resume from)."""
        where = wanted.where()
        check = self._receipts.add_texts(where, wanted)
        if wanted.by_index and check is None:
            if wanted.order_pk is not None:
                where.all_of(*self._receipts.of_order(wanted.order_pk))
            where.beyond("id", window)
            sql = f"SELECT id, {columns} FROM {self._receipts.table} {where} ORDER BY id {direction(window)} LIMIT ?"
            return in_order(await self._lists.fetch(sql, (*where.values, window.limit)), window), None
        within, table = Where(account=wanted.account), self._receipts.table
        if wanted.order_pk is not None and check is not None:
            return await self._checked_of_order(wanted.order_pk, columns, where, window, check)
        if wanted.of_set_aside:
            within, table = Where(), self._receipts.set_aside
            within.add(SET_ASIDE, wanted.status)
        elif wanted.account is not None:
            table = self._receipts.of_account
        bounds = wanted.bounds
        return await search(self._lists, table, "id", columns, where, window, within=within, bounds=bounds, check=check)

    async def _checked_of_order(
        self, order_pk: int, columns: str, where: Where, window: Window, check: Check
    ) -> tuple[Rows, int | None]:
        """Those of one order; there are few."""
        where.all_of(*self._receipts.of_order(order_pk))
        where.beyond("id", window)
        by, rest = f"id {direction(window)}", f"FROM {self._receipts.table} {where}"
        async with self._lists.snapshot(Use.SEARCHES) as db:
            rows, reached = await check.read(db, f"SELECT id, {columns}", by, rest, tuple(where.values), 1)
        resume = None if reached is None or len(rows) >= window.limit else reached[0]
        return in_order(rows[: window.limit], window), resume
