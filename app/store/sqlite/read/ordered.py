"""Lists in the order of an index: by several columns, or merged from the groups of rows that its first columns make.

Where the first columns of an index have few values (a state, a phase), the rows of each combination of them are a
group, in the order of what comes next. A list whose filter leaves several groups merges these.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiosqlite

from app.store import codec
from app.store.records import Window
from app.store.sqlite.connection import Connections, Rows, Use
from app.store.sqlite.read import search as searches
from app.store.sqlite.read.search import Where, direction, in_order
from app.store.sqlite.statements import marks

GROUPS_MAX = 100
"""Groups that one statement merges."""

Group = tuple[Any, ...]
"""The values of the first columns of an index."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a list is ordered by: all columns in one direction."""

    table: str
    """With the index that serves it."""
    columns: tuple[str, ...]
    ascending: bool = False
    condition: str = "true"
    """That of the index, if it is partial."""

    def direction(self, window: Window) -> str:
        """The direction in which rows are read for this window."""
        return "ASC" if self.ascending != window.newer else "DESC"


async def walk(
    db: Connections, order: Order, columns: str, where: Where, window: Window, bounds: tuple[Group, Group]
) -> tuple[Rows, Group | None]:
    """(rows of (*order, columns), position to resume from): the first `limit` rows from the window's position.

    In pieces as `search`, within its time budget; the position is None unless that was spent. `bounds` are positions:
    that before the least row and that after the greatest.
    """
    way = order.direction(window)
    least, greatest = bounds
    key, mark = ", ".join(order.columns), marks(order.columns)
    by = ", ".join(f"{column} {way}" for column in order.columns)
    between = f"{order.condition} AND ({key}) {{after}} ({mark}) AND ({key}) {{until}} ({mark})"
    also = f"AND {str(where).removeprefix('WHERE ')}" if where else ""
    if window.position is not None:
        least, greatest = (window.position, greatest) if way == "ASC" else (least, window.position)
    end_of = f"""SELECT {key} FROM {order.table} WHERE {between.format(after=">", until="<")}
                 ORDER BY {by} LIMIT 1 OFFSET ?"""

    async def read(connection: aiosqlite.Connection, size: int, wanted: int) -> tuple[Rows, Group | None]:
        nonlocal least, greatest
        ends = await connection.execute_fetchall(end_of, (*least, *greatest, size - 1)) if where else ()
        end = next((tuple(row) for row in ends), None)
        low, high, inside = least, greatest, between.format(after=">", until="<")
        if end is not None and way == "ASC":
            least = high = end
            inside = between.format(after=">", until="<=")
        elif end is not None:
            greatest = low = end
            inside = between.format(after=">=", until="<")
        sql = f"SELECT {key}, {columns} FROM {order.table} WHERE {inside} {also} ORDER BY {by} LIMIT ?"
        found = await connection.execute_fetchall(sql, (*low, *high, *where.values, wanted))
        return [tuple(row) for row in found], end

    return await searches.in_pieces(db, window, read)


@dataclass(frozen=True, slots=True)
class Grouping:
    """An index with first columns of few values, after which it is ordered by `key`."""

    table: str
    index: str
    columns: tuple[str, ...]
    key: str

    @property
    def source(self) -> str:
        """The table, read by the index."""
        return f"{self.table} INDEXED BY {self.index}"

    async def groups(
        self, db: aiosqlite.Connection, maximum: int, wanted: Callable[[Group], bool], first: Group = ()
    ) -> list[Group] | None:
        """The wanted groups that have rows; None if there are more than `maximum`, wanted or not.

        One look into the index for each. With `first`, only groups that begin so.
        """
        given, rest = self.columns[: len(first)], self.columns[len(first) :]
        fixed = "".join(f"{column} = ?{number} AND " for number, column in enumerate(given, 1))
        one = f"SELECT json_array({', '.join(self.columns)}) FROM {self.source} WHERE {fixed}"
        by = f"ORDER BY {', '.join(rest)} LIMIT 1"
        # The next group differs in the last column, else in the one before it, and so on. (For one comparison of all
        # columns at once SQLite reads a whole group.)
        nexts = []
        for number in range(len(self.columns) - 1, len(first) - 1, -1):
            same = "".join(f"{self.columns[n]} IS found ->> {n} AND " for n in range(len(first), number))
            nexts.append(f"({one} {same} {self.columns[number]} > ifnull(found ->> {number}, '') {by})")
        sql = f"""WITH RECURSIVE grouped (found) AS (
                SELECT ({one} {rest[0]} > '' {by})
            UNION ALL
                SELECT coalesce({", ".join([*nexts, "NULL"])}) FROM grouped
                WHERE found IS NOT NULL LIMIT {maximum + 2})
            SELECT found FROM grouped WHERE found IS NOT NULL"""
        found = [tuple(codec.read_json(text)) for (text,) in await db.execute_fetchall(sql, first)]
        return None if len(found) > maximum else [group for group in found if wanted(group)]

    async def merged(
        self, db: aiosqlite.Connection, columns: str, groups: Sequence[Group], where: Where, window: Window
    ) -> Rows:
        """Rows of (key, columns) of these groups from the window's position, in the order of the list."""
        if not groups:
            return []
        within = " AND ".join(f"{column} IS ?" for column in self.columns)
        also = str(where).replace("WHERE", "AND", 1)
        past = Where()
        past.beyond(self.key, window)
        beyond = str(past).replace("WHERE", "AND", 1)
        part = f"SELECT {self.key}, {columns} FROM {self.source} WHERE {within} {beyond} {also}"
        sql = f"{' UNION ALL '.join([part] * len(groups))} ORDER BY {self.key} {direction(window)} LIMIT ?"
        values = [value for group in groups for value in (*group, *past.values, *where.values)]
        return in_order([tuple(row) for row in await db.execute_fetchall(sql, (*values, window.limit))], window)

    async def counts(self, db: aiosqlite.Connection, groups: Sequence[Group], maximum: int) -> list[int]:
        """How many rows each of these groups has, counted up to `maximum`."""
        within = " AND ".join(f"{column} IS value ->> {number}" for number, column in enumerate(self.columns))
        sql = f"""SELECT json_each.key, (SELECT count(*) FROM (SELECT 1 FROM {self.source} WHERE {within} LIMIT ?))
                  FROM json_each(?)"""
        counts = dict(tuple(row) for row in await db.execute_fetchall(sql, (maximum, codec.to_json(groups))))
        return [counts[number] for number in range(len(groups))]


@asynccontextmanager
async def snapshot(db: Connections, use: Use = Use.LISTS) -> AsyncIterator[aiosqlite.Connection]:
    """A connection on which several statements see the same rows."""
    async with db.borrow(use) as connection:
        try:
            await connection.execute("BEGIN")
            yield connection
        finally:
            await connection.rollback()  # also what was begun for a caller that was canceled meanwhile
