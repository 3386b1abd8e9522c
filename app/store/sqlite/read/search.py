"""Lists with filters that no index serves, the newest first: in short pieces, within a time budget.

A text index would cost every webhook. So a search goes back through the table, and when its time is over says how far
it came; the next question goes on from there. Each piece is a statement of its own: between two, others have the
connection, and no snapshot keeps the write-ahead log from being emptied.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

from app.store.sqlite.connection import Connections, Rows, Use

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


async def search(
    db: Connections, table: str, key: str, columns: str, where: Where, before: int | None, limit: int
) -> tuple[Rows, int | None]:
    """(key, columns) of the first `limit` rows below `before`, and where to go on if the time was over first."""
    top = _END if before is None else before
    if not where:
        sql = f"SELECT {key}, {columns} FROM {table} WHERE {key} < ? ORDER BY {key} DESC LIMIT ?"
        return await db.fetch(sql, (top, limit)), None
    piece = f"""SELECT {key}, {columns} FROM {table} {where} AND {key} < ? AND {key} >= ?
                ORDER BY {key} DESC LIMIT ?"""
    bottom = f"SELECT {key} FROM {table} WHERE {key} < ? ORDER BY {key} DESC LIMIT 1 OFFSET ?"
    found: Rows = []
    began, size = monotonic(), PIECE_ROWS
    while True:
        async with db.borrow(Use.SEARCHES) as connection:
            started = monotonic()
            ends = [end for (end,) in await connection.execute_fetchall(bottom, (top, size - 1))]
            values = (*where.values, top, ends[0] if ends else -_END, limit - len(found))
            found += [tuple(row) for row in await connection.execute_fetchall(piece, values)]
            took_s = monotonic() - started
        if not ends or len(found) >= limit:
            return found, None
        top = ends[0]
        if monotonic() - began >= SEARCH_S:
            return found, top
        await asyncio.sleep(0)  # whoever waits for the connection takes it now
        size = max(PIECE_ROWS, size // 2 if took_s > PIECE_S else size * 2)
