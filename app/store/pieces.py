"""Searches in short pieces from the end that is asked for, within a time budget.

Each piece is a statement of its own: between two pieces others use the connection, and no snapshot keeps the database
from cleaning up. When the budget is spent, the search says where to resume.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from time import monotonic
from typing import Any, Protocol, TypeVar

from app.store.records import Rows, Window
from app.store.use import Use
from app.store.windows import in_order

SEARCH_S = 1.0
"""Time budget: no piece starts after it."""
PIECE_S = 0.05
"""Target duration of a piece; the next piece has more or fewer rows by how long the last one took."""
PIECE_ROWS = 1000
"""Rows in the first piece, and the fewest in any."""

_End = TypeVar("_End")
"""Where a piece ends."""


class Statements(Protocol):
    """A connection of any database."""

    def execute_fetchall(self, sql: str, values: Iterable[Any] = ..., /) -> Awaitable[Iterable[Any]]:
        """All rows that a query gives; it has a question mark for each value."""


class Lists(Protocol):
    """The connections of a database that serve lists."""

    def borrow(self, use: Use = ...) -> AbstractAsyncContextManager[Statements]:
        """A connection for several queries in a row, each in the order of an index."""

    def snapshot(self, use: Use = ...) -> AbstractAsyncContextManager[Statements]:
        """A connection on which several queries see the same rows."""

    def fetch(self, sql: str, values: Sequence[Any] = ..., use: Use = ...) -> Awaitable[Rows]:
        """All rows that a query gives."""


def next_size(size: int, took_s: float) -> int:
    """How many rows the next piece of a search has, by how long the last one took."""
    return max(PIECE_ROWS, size // 2 if took_s > PIECE_S else size * 2)


async def in_pieces(
    db: Lists,
    window: Window,
    read: Callable[[Statements, int, int], Awaitable[tuple[Rows, _End | None]]],
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
