"""Queries for what is to be expunged."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime

from app.core.attempt import Attempt
from app.core.cancellation import FINAL, State
from app.core.receipt_status import ReceiptStatus
from app.store import codec
from app.store.records import LoggedRow, LogMark
from app.store.retention import OrderSlice, Slice
from app.store.sqlite.connection import Queries
from app.store.sqlite.statements import LOG_MARK, marks, parts
from app.store.use import Use

_PIECE = 100
"""Receipts whose bodies are searched in one statement."""
_LIVE = ", ".join(f"'{state}'" for state in State if state not in FINAL)
_OLD = {
    # What waits for a person keeps what that person needs: quarantined receipts, and calls of live cancellations.
    "receipts": "expunged_at IS NULL AND status <> 'quarantined'",
    "attempts": f"""ended_at IS NOT NULL AND (exchanges <> '[]' OR detail <> '') AND NOT EXISTS (
        SELECT 1 FROM cancellations WHERE cancellations.id = attempts.cancellation AND state IN ({_LIVE}))""",
    "messages": "1",
}
_OVER = "('completed', 'canceled')"


class RetentionQueries(Queries):
    """The part of `Reader` about retention."""

    async def retention_positions(self) -> dict[str, int]:
        return dict(await self._db.fetch("SELECT what, position FROM retention"))

    async def old_rows(self, what: str, after: int, before: int, limit: int) -> Slice:
        sql = f"SELECT id, {_OLD[what]} FROM {what} WHERE id > ? AND id < ? ORDER BY id LIMIT ?"
        rows = await self._db.fetch(sql, (after, before, limit), Use.SEARCHES)
        return Slice(tuple(id for id, has_content in rows if has_content), rows[-1][0] if rows else after, len(rows))

    async def attempts_at(self, ids: Collection[int]) -> list[Attempt]:
        sql = f"SELECT {codec.ATTEMPT_COLUMNS} FROM attempts WHERE id IN"
        return [
            codec.read_attempt(row)
            for part in parts(sorted(ids))
            for row in await self._db.fetch(f"{sql} ({marks(part)}) ORDER BY id", tuple(part), Use.SEARCHES)
        ]

    async def old_orders(self, after: int, received_before: datetime, limit: int) -> OrderSlice:
        sql = "SELECT seq, order_pk, received_at FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
        rows, horizon = await self._db.fetch(sql, (after, limit), Use.SEARCHES), codec.micros(received_before)
        young = next((at for at, row in enumerate(rows) if row[2] >= horizon), len(rows))
        rows = rows[:young]
        orders: list[tuple[str, str, int]] = []
        numbers, last = {pk for _, pk, _ in rows if pk}, rows[-1][0] if rows else after
        for part in parts(sorted(numbers)):
            ended = f"""SELECT order_pk, count(*) AS number FROM events WHERE order_pk IN ({marks(part)})
                        GROUP BY order_pk HAVING max(seq) <= ?"""
            sql = f"SELECT account, id, number FROM ({ended}) JOIN orders ON pk = order_pk WHERE phase IN {_OVER}"
            orders += await self._db.fetch(sql, (*part, last), Use.SEARCHES)
        return OrderSlice(tuple(orders), last, len(rows))

    async def logged(self, order_pk: int) -> tuple[LogMark, list[LoggedRow]]:
        mark = LogMark(*(await self._db.fetch(LOG_MARK, (order_pk, order_pk), Use.SEARCHES))[0])
        positions = await self._db.fetch("SELECT seq FROM events WHERE order_pk = ?", (order_pk,), Use.SEARCHES)
        sql = f"SELECT seq, {codec.EVENT_COLUMNS} FROM events WHERE order_pk = ? AND seq IN"
        return mark, [
            LoggedRow(position, tuple(columns))
            for part in parts(sorted(position for (position,) in positions))
            for position, *columns in await self._db.fetch(
                f"{sql} ({marks(part)}) ORDER BY seq", (order_pk, *part), Use.SEARCHES
            )
        ]

    async def receipts_naming(self, account: str, names: Collection[str]) -> list[int]:
        words = re.compile("|".join(rf"(?<![\w-]){re.escape(name)}(?![\w-])" for name in sorted(names)))
        mentions = " OR ".join(["instr(text, ?)"] * len(names))
        rows_of = f"""SELECT id, account, {codec.RECEIPT_BODY} AS text FROM receipts
                      WHERE status <> 'accepted' AND status = ? AND id > ? ORDER BY id LIMIT {_PIECE}"""
        sql = f"SELECT id, CASE WHEN account = ? AND ({mentions}) THEN text END FROM ({rows_of}) ORDER BY id"
        matching: list[int] = []
        for status in ReceiptStatus:
            after = 0
            values = (account, *sorted(names), status)
            while rows := await self._db.fetch(sql, (*values, after), Use.SEARCHES):
                matching += [id for id, text in rows if text is not None and words.search(text)]
                after = rows[-1][0]
        return matching

    async def order_receipts(self, order_pk: int) -> list[int]:
        sql = "SELECT DISTINCT receipt FROM events WHERE order_pk = ? AND receipt IS NOT NULL ORDER BY receipt"
        return [id for (id,) in await self._db.fetch(sql, (order_pk,), Use.SEARCHES)]

    async def order_messages(self, order_pk: int) -> list[int]:
        sql = "SELECT id FROM messages WHERE order_pk = ?"
        return [id for (id,) in await self._db.fetch(sql, (order_pk,), Use.SEARCHES)]
