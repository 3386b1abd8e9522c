"""Queries for receipts."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from app.store import codec
from app.store.compression import LARGE, DamagedReceiptError, unpack
from app.store.filters import ReceiptFilter
from app.store.postgres.columns import RECEIPT_FIELDS
from app.store.postgres.grouping import PostgresGrouping
from app.store.postgres.lists import ListQueries
from app.store.postgres.read.events import of_order
from app.store.receipt_lists import ReceiptLists, ReceiptTables
from app.store.records import Receipt, Rows
from app.store.searching import Check
from app.store.use import Use
from app.store.where import Where

RECENT_MAX = 10_000
"""How many of the newest receipts in quarantine are searched."""


def _of_order(pk: int) -> tuple[str, Sequence[Any]]:
    receipts = f"SELECT receipt FROM @events WHERE {of_order('?')} AND receipt IS NOT NULL"
    return f"id = ANY(ARRAY({receipts}))", [pk, pk]


def _add_texts(where: Where, wanted: ReceiptFilter) -> Check | None:
    where.add('position(lower(? COLLATE "C") in lower(reason)) > 0', wanted.reason)
    return None if wanted.text is None else _has_text(wanted.text.encode().lower())


def _has_text(text: bytes) -> Check:
    """Looks into bodies, which are deflated."""

    def of(rows: Rows) -> Rows:
        return [row[:-2] for row in rows if text in _body(*row[-2:]).lower()]

    return Check("body AS checked, dictionary", "octet_length(body)", lambda rows: asyncio.to_thread(of, rows))


def _body(packed: bytes, dictionary: int | None) -> bytes:
    try:
        return packed if dictionary is None else unpack(packed, None)[2]
    except (DamagedReceiptError, msgspec.DecodeError):
        return b""


class ReceiptQueries(ReceiptLists, ListQueries):
    """The part of `Reader` about receipts."""

    _receipts = ReceiptTables(
        table="@receipts",
        of_account="@receipts",
        set_aside="@receipts",
        by_status=PostgresGrouping("@receipts", ("status",), "id", condition="status <> 'accepted'"),
        listed=codec.RECEIPT_LISTED,
        add_texts=_add_texts,
        of_order=_of_order,
    )

    async def receipt(self, id: int) -> Receipt | None:
        sql = f"SELECT {RECEIPT_FIELDS} FROM @receipts WHERE id = $1"
        rows = await self._db.fetch(sql, id, use=Use.LOOKUPS)
        if not rows:
            return None
        row = tuple(rows[0])
        return await asyncio.to_thread(codec.read_receipt, row) if len(row[9]) > LARGE else codec.read_receipt(row)

    async def quarantined_because(self, account: str, parts: Collection[str]) -> bool:
        sql = f"""SELECT 1 FROM (SELECT account, reason FROM @receipts WHERE status = 'quarantined'
                                 ORDER BY id DESC LIMIT {RECENT_MAX}) AS latest
                  WHERE account = $1 AND EXISTS (SELECT 1 FROM unnest($2::text[]) AS given (part)
                                                 WHERE position(part in reason) > 0) LIMIT 1"""
        return bool(await self._db.fetch(sql, account, list(parts), use=Use.LOOKUPS))
