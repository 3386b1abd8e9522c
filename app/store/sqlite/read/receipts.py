"""Queries for receipts."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from app.store import codec
from app.store.records import Receipt, Searched
from app.store.sqlite.connection import Queries, Use
from app.store.sqlite.read.search import Where, search

LATE_MAX = 10_000
"""So many receipts in quarantine are looked at, the newest."""


class ReceiptQueries(Queries):
    """The part of `Reader` about receipts."""

    async def receipt(self, id: int) -> Receipt | None:
        """See `Reader.receipt`."""
        rows = await self._db.fetch(
            f"SELECT {codec.RECEIPT_COLUMNS} FROM receipts WHERE id = ?", (id,), use=Use.LOOKUPS
        )
        return codec.read_receipt(rows[0]) if rows else None

    async def receipts(
        self,
        *,
        account: str | None = None,
        endpoint: str | None = None,
        order_pk: int | None = None,
        status: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        text: str | None = None,
        before: int | None,
        limit: int,
    ) -> Searched[Receipt]:
        """See `Reader.receipts`."""
        where = Where(account=account, endpoint=endpoint)
        by_index = order_pk is not None or (
            account is not None and [endpoint, status, since, until, text] == [None] * 5
        )
        if status is not None and status != "accepted":
            # Written out, so that the partial index on what brought nothing new serves: there is little of it.
            where.add("status <> 'accepted' AND status = ?", status)
            by_index = by_index or [account, endpoint, since, until, text] == [None] * 5
        else:
            where.add("status = ?", status)
        where.add("received_at >= ?", codec.micros_or_none(since))
        where.add("received_at < ?", codec.micros_or_none(until))
        where.add("instr(lower(CAST(body AS TEXT)), lower(?))", text)
        if by_index:
            told = "id IN (SELECT receipt FROM events WHERE order_pk = ? AND receipt IS NOT NULL)"
            where.add(told, order_pk)
            where.add("id < ?", before)
            sql = f"SELECT {codec.RECEIPT_COLUMNS} FROM receipts {where} ORDER BY id DESC LIMIT ?"
            return Searched(codec.read_receipt(row) for row in await self._db.fetch(sql, (*where.values, limit)))
        found, beyond = await search(self._db, "receipts", "id", codec.RECEIPT_COLUMNS, where, before, limit)
        read = Searched([codec.read_receipt(row[1:]) for row in found], beyond)
        if beyond is not None:
            sql = "SELECT received_at FROM receipts WHERE id >= ? ORDER BY id LIMIT 1"
            read.until = next((codec.moment(at) for (at,) in await self._db.fetch(sql, (beyond,))), None)
        return read

    async def quarantined_because(self, account: str, parts: Collection[str]) -> bool:
        """See `Reader.quarantined_because`."""
        either = " OR ".join("instr(reason, ?)" for _ in parts)
        sql = f"""SELECT 1 FROM (SELECT account, reason FROM receipts WHERE status = 'quarantined'
                                 ORDER BY id DESC LIMIT {LATE_MAX}) WHERE account = ? AND ({either}) LIMIT 1"""
        return bool(await self._db.fetch(sql, (account, *parts), Use.LOOKUPS))
