"""Lists with filters that no index serves, the newest first: in short pieces, within a time budget.

A text index would cost every webhook. So a search goes back through the table, and when its time is over says how far
it came; the next question goes on from there. Each piece is a statement of its own: between two, others have the
connection, and no snapshot keeps the write-ahead log from being emptied.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from time import monotonic
from typing import Any

from app.core.aggregate import OrderAggregate
from app.core.event import Event
from app.store import Receipt, Searched, codec
from app.store.sqlite_attempts import SqliteAttempts
from app.store.sqlite_configuration import Rows, Use

SEARCH_S = 1.0
"""No new piece is begun after so long."""
PIECE_S = 0.05
"""What a piece should take; the number of rows in it follows from what the last one took."""
PIECE_ROWS = 1000
"""So many rows are looked at first."""
_END = (1 << 63) - 1


class Where:
    """Conditions that are there only if they have a value."""

    def __init__(self, **equal: Any) -> None:
        self._conditions: list[str] = []
        self.values: list[Any] = []
        for column, value in equal.items():
            self.add(f"{column} = ?", value)

    def add(self, condition: str, value: Any) -> None:
        if value is not None:
            self._conditions.append(condition)
            self.values.append(value)

    def __bool__(self) -> bool:
        return bool(self._conditions)

    def __str__(self) -> str:
        return f"WHERE {' AND '.join(self._conditions)}" if self._conditions else ""


class SqliteSearch(SqliteAttempts):
    """The part of `Reader` that searches."""

    async def orders(
        self, *, account: str | None, phase: str | None, cancelable: str | None, before: int | None, limit: int
    ) -> Searched[tuple[int, OrderAggregate]]:
        """See `Reader.orders`."""
        where = Where(account=account, phase=phase, cancelable=cancelable)
        found, beyond = await self._search("orders", "pk", "state", where, before, limit)
        return Searched([(pk, codec.read_case(state)) for pk, state in found], beyond)

    async def events(
        self,
        *,
        account: str | None,
        order_pk: int | None,
        type: str | None,
        since: datetime | None,
        until: datetime | None,
        text: str | None,
        before: int | None,
        limit: int,
    ) -> Searched[tuple[int, Event]]:
        """See `Reader.events`."""
        where = Where(account=account)
        if type is not None and type.endswith("*"):
            # Not by the index on types, by which all rows of these types would be sorted for each piece.
            where.add("+type >= ?", type[:-1])
            where.add("+type < ?", type[:-1] + "\U0010ffff")
        else:
            where.add("type = ?", type)
        by_index = order_pk is not None or (str(where) == "WHERE type = ?" and [since, until, text] == [None] * 3)
        where.add("received_at >= ?", codec.micros_or_none(since))
        where.add("received_at < ?", codec.micros_or_none(until))
        where.add("instr(lower(body), lower(?))", text)
        if not by_index:
            found, beyond = await self._search("events", "seq", codec.EVENT_COLUMNS, where, before, limit)
        else:
            where.add("order_pk = ?", order_pk)
            where.add("seq < ?", before)
            sql = f"SELECT seq, {codec.EVENT_COLUMNS} FROM events {where} ORDER BY seq DESC LIMIT ?"
            found, beyond = await self._ask(sql, (*where.values, limit)), None
        read = Searched([(seq, codec.read_event(row)) for seq, *row in found], beyond)
        if beyond is not None:
            sql = "SELECT received_at FROM events WHERE seq >= ? ORDER BY seq LIMIT 1"
            read.until = next((codec.moment(at) for (at,) in await self._ask(sql, (beyond,))), None)
        return read

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
            return Searched(codec.read_receipt(row) for row in await self._ask(sql, (*where.values, limit)))
        found, beyond = await self._search("receipts", "id", codec.RECEIPT_COLUMNS, where, before, limit)
        read = Searched([codec.read_receipt(row[1:]) for row in found], beyond)
        if beyond is not None:
            sql = "SELECT received_at FROM receipts WHERE id >= ? ORDER BY id LIMIT 1"
            read.until = next((codec.moment(at) for (at,) in await self._ask(sql, (beyond,))), None)
        return read

    async def receipt_events(self, receipt: int, limit: int) -> list[Event]:
        """See `Reader.receipt_events`."""
        sql = f"SELECT {codec.EVENT_COLUMNS} FROM events WHERE receipt = ? ORDER BY seq LIMIT ?"
        return [codec.read_event(row) for row in await self._ask(sql, (receipt, limit), Use.LOOKUPS)]

    async def _search(
        self, table: str, key: str, columns: str, where: Where, before: int | None, limit: int
    ) -> tuple[Rows, int | None]:
        """(key, columns) of the first `limit` rows below `before`, and where to go on if the time was over first."""
        top = _END if before is None else before
        if not where:
            sql = f"SELECT {key}, {columns} FROM {table} WHERE {key} < ? ORDER BY {key} DESC LIMIT ?"
            return await self._ask(sql, (top, limit)), None
        piece = f"""SELECT {key}, {columns} FROM {table} {where} AND {key} < ? AND {key} >= ?
                    ORDER BY {key} DESC LIMIT ?"""
        bottom = f"SELECT {key} FROM {table} WHERE {key} < ? ORDER BY {key} DESC LIMIT 1 OFFSET ?"
        found: Rows = []
        began, size = monotonic(), PIECE_ROWS
        while True:
            async with self._connection(Use.SEARCHES) as db:
                started = monotonic()
                ends = [end for (end,) in await db.execute_fetchall(bottom, (top, size - 1))]
                values = (*where.values, top, ends[0] if ends else -_END, limit - len(found))
                found += [tuple(row) for row in await db.execute_fetchall(piece, values)]
                took_s = monotonic() - started
            if not ends or len(found) >= limit:
                return found, None
            top = ends[0]
            if monotonic() - began >= SEARCH_S:
                return found, top
            await asyncio.sleep(0)  # whoever waits for the connection takes it now
            size = max(PIECE_ROWS, size // 2 if took_s > PIECE_S else size * 2)
