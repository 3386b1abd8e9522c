"""Search tables for what no index serves: in short pieces from the end that is asked for, within a time budget.

Each piece is a statement of its own: between two pieces others use the connection, and no snapshot keeps the
write-ahead log from being truncated. When the budget is spent, the search says where to resume.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Any, TypeVar

import aiosqlite

from app.store.records import Window
from app.store.sqlite.connection import Connections, Rows, Use

SEARCH_S = 1.0
"""Time budget: no piece starts after it."""
PIECE_S = 0.05
"""Target duration of a piece; the next piece has more or fewer rows by how long the last one took."""
PIECE_ROWS = 1000
"""Rows in the first piece, and the fewest in any."""
END = (1 << 63) - 1
"""Above every key."""

_End = TypeVar("_End")
"""Where a piece ends."""


class Where:
    """A WHERE clause of the conditions that have a value."""

    def __init__(self, **equal: Any) -> None:
        self._conditions: list[str] = []
        self.values: list[Any] = []
        for column, value in equal.items():
            self.add(f"{column} = ?", value)

    def add(self, condition: str, value: Any) -> None:
        """Add a condition with one placeholder; not if the value is None."""
        if value is not None:
            self._conditions.append(condition)
            self.values.append(value)

    def any_of(self, condition: str, values: Sequence[Any]) -> None:
        """Add that the condition, which has one placeholder, holds for any of the values; not if there are none."""
        if values:
            self._conditions.append(f"({' OR '.join([condition] * len(values))})")
            self.values += values

    def all_of(self, condition: str, values: Sequence[Any]) -> None:
        """Add a condition with several placeholders."""
        self._conditions.append(condition)
        self.values += values

    def beyond(self, key: str, window: Window) -> None:
        """Add that the key lies after the window's position in its direction."""
        self.add(f"{key} {'>' if window.newer else '<'} ?", window.position)

    def __bool__(self) -> bool:
        return bool(self._conditions)

    def __str__(self) -> str:
        return f"WHERE {' AND '.join(self._conditions)}" if self._conditions else ""


def direction(window: Window) -> str:
    """The direction in which rows of a list that goes newest first are read for this window."""
    return "ASC" if window.newer else "DESC"


def in_order(rows: Rows, window: Window) -> Rows:
    """Rows as they were read for the window, in the order of the list."""
    return rows[::-1] if window.newer else rows


def next_size(size: int, took_s: float) -> int:
    """How many rows the next piece of a search has, by how long the last one took."""
    return max(PIECE_ROWS, size // 2 if took_s > PIECE_S else size * 2)


async def in_pieces(
    db: Connections,
    window: Window,
    read: Callable[[aiosqlite.Connection, int, int], Awaitable[tuple[Rows, _End | None]]],
) -> tuple[Rows, _End | None]:
    """(the first `limit` rows, in the order of the list; the end of the last piece if the time budget was spent).

    `read` takes a connection, how many rows the next piece has at most, and how many of these are wanted; it returns
    those that were found, and where the piece ends: None where nothing comes after it.
    """
    rows: Rows = []
    began, size = monotonic(), PIECE_ROWS
    while True:
        async with db.borrow(Use.SEARCHES) as connection:
            started = monotonic()
            piece, end = await read(connection, size, window.limit - len(rows))
            took_s = monotonic() - started
        rows += piece
        if end is None or len(rows) >= window.limit:
            return in_order(rows, window), None
        if monotonic() - began >= SEARCH_S:
            return in_order(rows, window), end
        await asyncio.sleep(0)  # let another search have the connection
        size = next_size(size, took_s)


async def search(
    db: Connections,
    table: str,
    key: str,
    columns: str,
    where: Where,
    window: Window,
    *,
    within: Where | None = None,
    bounds: tuple[int, int] = (-END, END),
    join: str = "",
) -> tuple[Rows, int | None]:
    """(rows of (key, columns), key to resume from): the first `limit` rows from the window's position, newest first.

    The key is None unless the time budget was spent before the rows were found.

    Args:
        db: connections.
        table: the table.
        key: the column that the list is ordered by.
        columns: the columns to return.
        where: what rows are filtered by, one by one.
        window: the part of the list.
        within: what an index serves, in the order of the key.
        bounds: the first key, and the one after the last, that are searched.
        join: what `columns` need besides, one row for each of the table.
    """
    within = within or Where()
    past, until, way = (">", "<=", "ASC") if window.newer else ("<", ">=", "DESC")
    start, last = (bounds[0] - 1, bounds[1] - 1) if window.newer else (bounds[1], bounds[0])
    if window.position is not None:
        start = max(start, window.position) if window.newer else min(start, window.position)
    inside = f"{within} AND" if within else "WHERE"
    if not where:
        sql = f"""SELECT {key}, {columns} FROM {table} {join} {inside} {key} {past} ? AND {key} {until} ?
                  ORDER BY {key} {way} LIMIT ?"""
        return in_order(await db.fetch(sql, (*within.values, start, last, window.limit)), window), None
    also = str(where).removeprefix("WHERE ")
    piece = f"""SELECT {key}, {columns} FROM {table} {join} {inside} {also} AND {key} {past} ? AND {key} {until} ?
                ORDER BY {key} {way} LIMIT ?"""
    end_of = f"""SELECT {key} FROM {table} {inside} {key} {past} ? AND {key} {until} ?
                 ORDER BY {key} {way} LIMIT 1 OFFSET ?"""

    async def read(connection: aiosqlite.Connection, size: int, wanted: int) -> tuple[Rows, int | None]:
        nonlocal start
        remaining = (*within.values, start, last, size - 1)
        end = next((end for (end,) in await connection.execute_fetchall(end_of, remaining)), None)
        values = (*within.values, *where.values, start, last if end is None else end, wanted)
        start = start if end is None else end
        return [tuple(row) for row in await connection.execute_fetchall(piece, values)], end

    return await in_pieces(db, window, read)
