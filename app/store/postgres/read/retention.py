"""Queries for what is to be expunged."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection
from datetime import datetime

from app.core.attempt import Attempt
from app.core.cancellation import FINAL, State
from app.core.receipt_status import ReceiptStatus
from app.store import codec
from app.store.compression import body_text
from app.store.postgres.columns import EVENT_COLUMNS
from app.store.postgres.read.events import of_order
from app.store.postgres.read.safe_position import SafeQueries
from app.store.records import LoggedRow, LogMark
from app.store.retention import OrderSlice, Slice
from app.store.use import Use

_PIECE = 100
"""Receipts whose bodies are searched at once."""
_LIVE = ", ".join(f"'{state}'" for state in State if state not in FINAL)
_OLD = {
    # What waits for a person keeps what that person needs: quarantined receipts, and calls of live cancellations.
    "receipts": "expunged_at IS NULL AND status <> 'quarantined'",
    "attempts": f"""ended_at IS NOT NULL AND (exchanges <> '[]' OR detail <> '') AND NOT EXISTS (
        SELECT 1 FROM @cancellations AS cancellations
        WHERE cancellations.id = attempts.cancellation AND state IN ({_LIVE}))""",
    "messages": "true",
}
_OVER = "('completed', 'canceled')"
LOG_MARKS = """SELECT orders.pk, count(events.seq), coalesce(max(events.seq), 0), (
        SELECT count(*) FROM @events AS erased JOIN @erasures AS erasures
        ON erasures.account = erased.account AND erasures.position = erased.seq
        WHERE erased.account = orders.account AND erased.order_pk = orders.pk)
    FROM @orders AS orders LEFT JOIN @events AS events
    ON events.account = orders.account AND events.order_pk = orders.pk
    WHERE orders.pk = ANY($1::bigint[]) GROUP BY orders.account, orders.pk"""
"""The number of each of these orders, and the fields of its `LogMark`."""
_NO_LOG = LogMark(0, 0, 0)


class RetentionQueries(SafeQueries):
    """The part of `Reader` about retention."""

    async def retention_positions(self) -> dict[str, int]:
        rows = await self._db.fetch("SELECT what, position FROM @retention", use=Use.WORK)
        return dict(map(tuple, rows))

    async def old_rows(self, what: str, after: int, before: int, limit: int) -> Slice:
        sql = f"""SELECT id, {_OLD[what]} AS has_content FROM @{what} AS {what}
                  WHERE id > $1 AND id < $2 ORDER BY id LIMIT $3"""
        rows = await self._db.fetch(sql, after, before, limit, use=Use.LOG)
        return Slice(tuple(id for id, has_content in rows if has_content), rows[-1][0] if rows else after, len(rows))

    async def attempts_at(self, ids: Collection[int]) -> list[Attempt]:
        sql = f"SELECT {codec.ATTEMPT_COLUMNS} FROM @attempts WHERE id = ANY($1::bigint[]) ORDER BY id"
        return [codec.read_attempt(tuple(row)) for row in await self._db.fetch(sql, list(ids), use=Use.LOG)]

    async def old_orders(self, after: int, received_before: datetime, limit: int) -> OrderSlice:
        sql = "SELECT seq, order_pk, received_at FROM @events WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3"
        ended = f"""SELECT account, id, number FROM @orders AS orders CROSS JOIN LATERAL (
                        SELECT count(*) AS number, max(seq) AS last FROM @events AS events
                        WHERE events.account = orders.account AND events.order_pk = orders.pk) AS counted
                    WHERE pk = ANY($1::bigint[]) AND phase IN {_OVER} AND last <= $2 ORDER BY pk"""
        async with self._db.borrow(Use.LOG) as session:
            safe = await self.safe_position.advance(session)
            rows, horizon = await session.fetch(sql, after, safe, limit), codec.micros(received_before)
            young = next((at for at, row in enumerate(rows) if row[2] >= horizon), len(rows))
            rows = rows[:young]
            numbers, last = {pk for _, pk, _ in rows if pk}, rows[-1][0] if rows else after
            orders = await session.fetch(ended, sorted(numbers), last) if numbers else []
        return OrderSlice(tuple((account, id, number) for account, id, number in orders), last, len(rows))

    async def logged(self, order_pk: int) -> tuple[LogMark, list[LoggedRow]]:
        sql = f"SELECT seq, {EVENT_COLUMNS} FROM @events WHERE {of_order('$1')} ORDER BY seq"
        async with self._db.borrow(Use.LOG) as session:
            row = await session.row(LOG_MARKS, [order_pk])
            rows = await session.fetch(sql, order_pk)
        mark = _NO_LOG if row is None else LogMark(*row[1:])
        return mark, [LoggedRow(position, tuple(columns)) for position, *columns in rows]

    async def receipts_naming(self, account: str, names: Collection[str]) -> list[int]:
        words = re.compile("|".join(rf"(?<![\w-]){re.escape(name)}(?![\w-])" for name in sorted(names)))
        # Bodies are packed, so that they are searched here.
        sql = f"""SELECT id, CASE WHEN account = $1 THEN body END AS body, dictionary FROM @receipts
                  WHERE status <> 'accepted' AND status = $2 AND id > $3 ORDER BY id LIMIT {_PIECE}"""
        matching: list[int] = []
        for status in ReceiptStatus:
            after = 0
            while rows := await self._db.fetch(sql, account, status.value, after, use=Use.LOG):
                own = [(id, body, dictionary) for id, body, dictionary in rows if body is not None]
                matching += await asyncio.to_thread(_naming, words, own)
                after = rows[-1]["id"]
        return matching

    async def order_receipts(self, order_pk: int) -> list[int]:
        sql = f"SELECT DISTINCT receipt FROM @events WHERE {of_order('$1')} AND receipt IS NOT NULL ORDER BY receipt"
        return [id for (id,) in await self._db.fetch(sql, order_pk, use=Use.WORK)]

    async def order_messages(self, order_pk: int) -> list[int]:
        sql = f"SELECT id FROM @messages WHERE {of_order('$1')}"
        return [id for (id,) in await self._db.fetch(sql, order_pk, use=Use.WORK)]


def _naming(words: re.Pattern[str], receipts: Collection[tuple[int, bytes, int | None]]) -> list[int]:
    """Return those of the receipts whose body has one of the words."""
    return [id for id, body, dictionary in receipts if words.search(_text(body, dictionary))]


def _text(body: bytes, dictionary: int | None) -> str:
    return body.decode("utf-8", "replace") if dictionary is None else body_text(body, None)
