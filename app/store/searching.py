"""Searches by what no index serves, in the order of an index: by one key, or by several columns.

The statements are the same for every database (`app.store.where`). What is asked of a row that its database cannot tell
is checked here, of the rows of a piece (`Check`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from app.store.filters import Group
from app.store.id_bounds import END
from app.store.pieces import Lists, Statements, in_pieces
from app.store.records import Rows, Window
from app.store.where import Where
from app.store.windows import in_order

PIECE_BYTES = 8 << 20
"""How many bytes of what is checked are read at once, and one row more."""


@dataclass(frozen=True, slots=True)
class Check:
    """What rows are to be checked for once they have been read."""

    columns: str
    """What it reads of a row, behind the columns that are asked for."""
    size: str
    """SQL: how many bytes these are."""
    keep: Callable[[Rows], Awaitable[Rows]]
    """Takes rows, and returns those that are wanted, without the columns of the check."""

    async def read(
        self, db: Statements, select: str, by: str, rest: str, values: tuple[Any, ...], keys: int
    ) -> tuple[Rows, Group | None]:
        """(the wanted rows among the first that fit into memory; the key of the last of these, if there are more)."""
        sql = f"""SELECT * FROM (
                {select}, {self.columns}, row_number() OVER of_list AS number, {self.size} AS bytes,
                CAST(sum({self.size}) OVER of_list AS bigint) AS total
                {rest} WINDOW of_list AS (ORDER BY {by} ROWS UNBOUNDED PRECEDING)) AS piece
            WHERE total - bytes < {PIECE_BYTES} ORDER BY number"""
        rows = [tuple(row) for row in await db.execute_fetchall(sql, values)]
        end = tuple(rows[-1][:keys]) if rows and rows[-1][-1] >= PIECE_BYTES else None
        return await self.keep([row[:-3] for row in rows]), end


async def search(
    db: Lists,
    table: str,
    key: str,
    columns: str,
    where: Where,
    window: Window,
    *,
    within: Where | None = None,
    bounds: tuple[int, int] = (-END, END),
    join: str = "",
    check: Check | None = None,
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
        check: what rows are filtered by besides, once they have been read.
    """
    within = within or Where()
    past, until, way = (">", "<=", "ASC") if window.newer else ("<", ">=", "DESC")
    start, last = (bounds[0] - 1, bounds[1] - 1) if window.newer else (bounds[1], bounds[0])
    if window.position is not None:
        start = max(start, window.position) if window.newer else min(start, window.position)
    inside = f"{within} AND" if within else "WHERE"
    if not where and check is None:
        sql = f"""SELECT {key}, {columns} FROM {table} {join} {inside} {key} {past} ? AND {key} {until} ?
                  ORDER BY {key} {way} LIMIT ?"""
        return in_order(await db.fetch(sql, (*within.values, start, last, window.limit)), window), None
    also = f"{str(where).removeprefix('WHERE ')} AND" if where else ""
    select = f"SELECT {key}, {columns}"
    rest = f"FROM {table} {join} {inside} {also} {key} {past} ? AND {key} {until} ?"
    end_of = f"""SELECT {key} FROM {table} {inside} {key} {past} ? AND {key} {until} ?
                 ORDER BY {key} {way} LIMIT 1 OFFSET ?"""

    async def read(connection: Statements, size: int, wanted: int) -> tuple[Rows, int | None]:
        nonlocal start
        remaining = (*within.values, start, last, size - 1)
        end = next((end for (end,) in await connection.execute_fetchall(end_of, remaining)), None)
        values = (*within.values, *where.values, start, last if end is None else end)
        if check is not None:
            rows, reached = await check.read(connection, select, f"{key} {way}", rest, values, 1)
            end = reached[0] if reached is not None else end
        else:
            sql = f"{select} {rest} ORDER BY {key} {way} LIMIT ?"
            rows = [tuple(row) for row in await connection.execute_fetchall(sql, (*values, wanted))]
        start = start if end is None else end
        return rows[:wanted], end

    return await in_pieces(db, window, read)


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
    db: Lists,
    order: Order,
    columns: str,
    where: Where,
    window: Window,
    bounds: tuple[Group, Group],
    check: Check | None = None,
) -> tuple[Rows, Group | None]:
    """(rows of (*order, columns), position to resume from): the first `limit` rows from the window's position.

    In pieces as `search`, within its time budget; the position is None unless that was spent. `bounds` are positions:
    that before the least row and that after the greatest.
    """
    way = order.direction(window)
    least, greatest = bounds
    key, mark = ", ".join(order.columns), ", ".join("?" * len(order.columns))
    by = ", ".join(f"{column} {way}" for column in order.columns)
    between = f"{order.condition} AND ({key}) {{after}} ({mark}) AND ({key}) {{until}} ({mark})"
    also = f"AND {str(where).removeprefix('WHERE ')}" if where else ""
    if window.position is not None:
        least, greatest = (window.position, greatest) if way == "ASC" else (least, window.position)
    end_of = f"""SELECT {key} FROM {order.table} WHERE {between.format(after=">", until="<")}
                 ORDER BY {by} LIMIT 1 OFFSET ?"""

    async def read(connection: Statements, size: int, wanted: int) -> tuple[Rows, Group | None]:
        nonlocal least, greatest
        ends = await connection.execute_fetchall(end_of, (*least, *greatest, size - 1)) if where or check else ()
        end = next((tuple(row) for row in ends), None)
        low, high, inside = least, greatest, between.format(after=">", until="<")
        if end is not None and way == "ASC":
            least = high = end
            inside = between.format(after=">", until="<=")
        elif end is not None:
            greatest = low = end
            inside = between.format(after=">=", until="<")
        select, rest = f"SELECT {key}, {columns}", f"FROM {order.table} WHERE {inside} {also}"
        values = (*low, *high, *where.values)
        if check is None:
            found = await connection.execute_fetchall(f"{select} {rest} ORDER BY {by} LIMIT ?", (*values, wanted))
            return [tuple(row) for row in found], end
        rows, reached = await check.read(connection, select, by, rest, values, len(order.columns))
        if reached is not None:
            end = reached
            least, greatest = (reached, greatest) if way == "ASC" else (least, reached)
        return rows[:wanted], end

    return await in_pieces(db, window, read)
