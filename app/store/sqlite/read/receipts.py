"""Queries for receipts."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from app.core.receipt_status import ReceiptStatus
from app.runtime import ids
from app.store import codec
from app.store.compression import LARGE
from app.store.index_protocol import Facets
from app.store.records import Position, Receipt, SearchResult, Window
from app.store.sqlite.connection import Queries, Rows, Use
from app.store.sqlite.read.facets import COUNTED_MAX, GROUP_MAX, count_rows
from app.store.sqlite.read.search import END, Where, direction, in_order, search

RECENT_MAX = 10_000
"""So many of the newest receipts in quarantine are searched."""
_SET_ASIDE = "status <> 'accepted' AND status = ?"
"""Literally the condition of the partial index on receipts that were not accepted: there are few."""
_AHEAD_MAX = ids.FOLLOWED_MAX + timedelta(minutes=1)
"""An id is drawn at most so long after or before the time of receipt, also where the clock was set back."""


def _first_id(moment: datetime | None, ahead: timedelta) -> int:
    """The smallest id of a receipt that may have been received at this time; the bound of all for None."""
    if moment is None:
        return END if ahead > timedelta() else 0
    return ids.at((codec.micros(moment) + ahead // timedelta(microseconds=1)) // 1000)


class ReceiptQueries(Queries):
    """The part of `Reader` about receipts."""

    async def receipt(self, id: int) -> Receipt | None:
        rows = await self._db.fetch(f"SELECT {codec.RECEIPT_FIELDS} FROM receipts WHERE id = ?", (id,), use=Use.LOOKUPS)
        if not rows:
            return None
        is_large = len(rows[0][9]) > LARGE
        return await asyncio.to_thread(codec.read_receipt, rows[0]) if is_large else codec.read_receipt(rows[0])

    async def receipts(
        self,
        window: Window,
        *,
        account: str | None = None,
        endpoint: str | None = None,
        order_pk: int | None = None,
        status: str | None = None,
        reason: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        text: str | None = None,
    ) -> SearchResult[tuple[Position, Receipt]]:
        rows, resume = await self._receipt_rows(
            codec.RECEIPT_LISTED,
            window,
            account=account,
            endpoint=endpoint,
            order_pk=order_pk,
            status=status,
            reason=reason,
            since=since,
            until=until,
            text=text,
        )
        page = SearchResult[tuple[Position, Receipt]](
            [(position, codec.read_listed_receipt(tuple(row))) for position, *row in rows], resume
        )
        if resume is not None:
            sql = "SELECT received_at FROM receipts WHERE id >= ? ORDER BY id LIMIT 1"
            page.searched_until = next((codec.moment(at) for (at,) in await self._db.fetch(sql, (resume,))), None)
        return page

    async def receipt_facets(self, **filters: Any) -> Facets:
        fields = ("status", "endpoint", "account")
        rows, resume = await self._receipt_rows(", ".join(fields), Window(COUNTED_MAX + 1), **filters)
        counted = count_rows(fields, rows, complete=resume is None)
        if counted.complete or any(value is not None for value in filters.values()):
            return counted
        # Among all receipts those that were set aside are few, and of interest: they have an index.
        sql = """SELECT value, (SELECT count(*) FROM (SELECT 1 FROM receipts INDEXED BY receipts_set_aside
                                WHERE status <> 'accepted' AND status = value LIMIT ?)) FROM json_each(?)"""
        set_aside = codec.to_json([status for status in ReceiptStatus if status is not ReceiptStatus.ACCEPTED])
        statuses = {ReceiptStatus.ACCEPTED.value: counted.counts["status"].get(ReceiptStatus.ACCEPTED, 0)}
        statuses.update(await self._db.fetch(sql, (GROUP_MAX + 1, set_aside), Use.SEARCHES))
        more = {status for status, count in statuses.items() if count > GROUP_MAX} | {ReceiptStatus.ACCEPTED.value}
        shown = {status: min(count, GROUP_MAX) for status, count in statuses.items() if count}
        return replace(
            counted, counts={**counted.counts, "status": shown}, more={**counted.more, "status": more & shown.keys()}
        )

    async def _receipt_rows(
        self,
        columns: str,
        window: Window,
        *,
        account: str | None = None,
        endpoint: str | None = None,
        order_pk: int | None = None,
        status: str | None = None,
        reason: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        text: str | None = None,
    ) -> tuple[Rows, int | None]:
        """(rows of (id, columns), id to resume from)."""
        where = Where(account=account, endpoint=endpoint)
        by_index = order_pk is not None or (
            account is not None and [endpoint, status, reason, since, until, text] == [None] * 6
        )
        if status is not None and status != "accepted":
            where.add(_SET_ASIDE, status)
            by_index = by_index or [account, endpoint, reason, since, until, text] == [None] * 6
        else:
            where.add("status = ?", status)
        where.add("instr(lower(reason), lower(?))", reason)
        where.add("received_at >= ?", codec.micros_or_none(since))
        where.add("received_at < ?", codec.micros_or_none(until))
        where.add(f"instr(lower({codec.RECEIPT_BODY}), lower(?))", text)
        if by_index:
            of_order = "id IN (SELECT receipt FROM events WHERE order_pk = ? AND receipt IS NOT NULL)"
            where.add(of_order, order_pk)
            where.beyond("id", window)
            sql = f"SELECT id, {columns} FROM receipts {where} ORDER BY id {direction(window)} LIMIT ?"
            return in_order(await self._db.fetch(sql, (*where.values, window.limit)), window), None
        bounds = _first_id(since, -_AHEAD_MAX), _first_id(until, _AHEAD_MAX)
        within, table = Where(account=account), "receipts"
        if status is not None and status != "accepted":
            within, table = Where(), "receipts INDEXED BY receipts_set_aside"
            within.add(_SET_ASIDE, status)
        elif account is not None:
            table = "receipts INDEXED BY receipts_by_account"
        return await search(self._db, table, "id", columns, where, window, within=within, bounds=bounds)

    async def quarantined_because(self, account: str, parts: Collection[str]) -> bool:
        any_part = " OR ".join("instr(reason, ?)" for _ in parts)
        sql = f"""SELECT 1 FROM (SELECT account, reason FROM receipts WHERE status = 'quarantined'
                                 ORDER BY id DESC LIMIT {RECENT_MAX}) WHERE account = ? AND ({any_part}) LIMIT 1"""
        return bool(await self._db.fetch(sql, (account, *parts), Use.LOOKUPS))
