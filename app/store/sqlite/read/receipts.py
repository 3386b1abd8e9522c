"""Queries for receipts."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any

from app.store import codec
from app.store.compression import LARGE
from app.store.filters import ReceiptFilter
from app.store.receipt_lists import ReceiptLists, ReceiptTables
from app.store.records import Receipt
from app.store.sqlite.connection import Queries
from app.store.sqlite.read.ordered import SqliteGrouping
from app.store.use import Use
from app.store.where import Where

RECENT_MAX = 10_000
"""How many of the newest receipts in quarantine are searched."""


def _add_texts(where: Where, wanted: ReceiptFilter) -> None:
    where.add("instr(lower(reason), lower(?))", wanted.reason)
    where.add(f"instr(lower({codec.RECEIPT_BODY}), lower(?))", wanted.text)


def _of_order(pk: int) -> tuple[str, Sequence[Any]]:
    return "id IN (SELECT receipt FROM events WHERE order_pk = ? AND receipt IS NOT NULL)", [pk]


class ReceiptQueries(ReceiptLists, Queries):
    """The part of `Reader` about receipts."""

    _receipts = ReceiptTables(
        table="receipts",
        of_account="receipts INDEXED BY receipts_by_account",
        set_aside="receipts INDEXED BY receipts_set_aside",
        by_status=SqliteGrouping("receipts", "receipts_set_aside", ("status",), "id", "status <> 'accepted'"),
        listed=codec.RECEIPT_LISTED,
        add_texts=_add_texts,
        of_order=_of_order,
    )

    async def receipt(self, id: int) -> Receipt | None:
        rows = await self._db.fetch(f"SELECT {codec.RECEIPT_FIELDS} FROM receipts WHERE id = ?", (id,), use=Use.LOOKUPS)
        if not rows:
            return None
        is_large = len(rows[0][9]) > LARGE
        return await asyncio.to_thread(codec.read_receipt, rows[0]) if is_large else codec.read_receipt(rows[0])

    async def quarantined_because(self, account: str, parts: Collection[str]) -> bool:
        any_part = " OR ".join("instr(reason, ?)" for _ in parts)
        sql = f"""SELECT 1 FROM (SELECT account, reason FROM receipts WHERE status = 'quarantined'
                                 ORDER BY id DESC LIMIT {RECENT_MAX}) WHERE account = ? AND ({any_part}) LIMIT 1"""
        return bool(await self._db.fetch(sql, (account, *parts), Use.LOOKUPS))
