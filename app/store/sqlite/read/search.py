"""Search tables newest first for what no index serves: in short pieces, within a time budget.

A text index would cost every webhook. So a search reads the table backwards, and says where to resume when its time
budget is spent. Each piece is a statement of its own: between two pieces others use the connection, and no snapshot
keeps the write-ahead log from being truncated.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

from app.store.sqlite.connection import Connections, Rows, Use

SEARCH_S = 1.0
"""Time budget: no piece starts after it."""
PIECE_S = 0.05
"""Target duration of a piece; the next piece has more or fewer rows by how long the last one took."""
PIECE_ROWS = 1000
"""Rows in the first piece, and the fewest in any."""
_END = (1 << 63) - 1


class Where:
    """A WHERE clause of the conditions that have a value."""

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


async def search(
    db: Connections, table: str, key: str, columns: str, where: Where, before: int | None, limit: int
) -> tuple[Rows, int | None]:
    """(rows of (key, columns), key to resume before): the first `limit` rows below `before`, newest first.

    The key is None unless the time budget was spent before the rows were found.
    """
    top = _END if before is None else before
    if not where:
        sql = f"SELECT {key}, {columns} FROM {table} WHERE {key} < ? ORDER BY {key} DESC LIMIT ?"
        return await db.fetch(sql, (top, limit)), None
    piece = f"""SELECT {key}, {columns} FROM {table} {where} AND {key} < ? AND {key} >= ?
                ORDER BY {key} DESC LIMIT ?"""
    bottom = f"SELECT {key} FROM {table} WHERE {key} < ? ORDER BY {key} DESC LIMIT 1 OFFSET ?"
    rows: Rows = []
    began, size = monotonic(), PIECE_ROWS
    while True:
        async with db.borrow(Use.SEARCHES) as connection:
            started = monotonic()
            ends = [end for (end,) in await connection.execute_fetchall(bottom, (top, size - 1))]
            values = (*where.values, top, ends[0] if ends else -_END, limit - len(rows))
            rows += [tuple(row) for row in await connection.execute_fetchall(piece, values)]
            took_s = monotonic() - started
        if not ends or len(rows) >= limit:
            return rows, None
        top = ends[0]
        if monotonic() - began >= SEARCH_S:
            return rows, top
        await asyncio.sleep(0)  # let another search have the connection
        size = max(PIECE_ROWS, size // 2 if took_s > PIECE_S else size * 2)
