"""Queries for those who follow the log. One connection writes, so that events become visible in the order of `seq`."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from typing import Any

import aiosqlite

from app.store import codec, log
from app.store.log import LogEntry, LogPage
from app.store.log_cursors import LATE, is_of_another_log, join_cursor, other_log, split_cursor
from app.store.sqlite.connection import Queries
from app.store.use import Use

_CHUNK = 64
"""Rows read at once."""
_FOLLOWED = f"SELECT seq, order_pk, {codec.EVENT_COLUMNS} FROM events WHERE seq > ? ORDER BY seq LIMIT ?"


class LogQueries(Queries):
    """The part of `Reader` about following the log."""

    async def follow(self, cursor: str, limit: int) -> LogPage:
        async with self._db.borrow(Use.LOG) as db:
            rows: list[Any] = []
            size, more = 0, True
            # The position is checked after the rows are read: what is pruned in between is noticed.
            generation, position = split_cursor(cursor)
            async with db.execute(_FOLLOWED, (position, limit)) as found:
                while more and size < log.PAGE_BYTES:
                    chunk = list(await found.fetchmany(_CHUNK))
                    rows += chunk
                    size += sum(len(row[-1]) for row in chunk)
                    more = len(chunk) == _CHUNK
            await _require(db, cursor)
        entries = [LogEntry(join_cursor(generation, seq), pk, codec.read_event(row)) for seq, pk, *row in rows]
        return LogPage(entries, entries[-1].cursor if entries else cursor, at_end=not more and len(rows) < limit)

    async def log_start(self) -> str:
        async with self._db.borrow(Use.LOG) as db:
            generation, first, _ = await _bounds(db)
            return join_cursor(generation, first)

    async def log_end(self) -> str:
        async with self._db.borrow(Use.LOG) as db:
            generation, _, last = await _bounds(db)
            return join_cursor(generation, last)

    async def log_since(self, since: datetime) -> str:
        async with self._db.borrow(Use.LOG) as db:
            generation, low, high = await _bounds(db)
            # Times of receipt grow along the log, but for commands that waited for their commit.
            wanted = codec.micros(since) - LATE
            sql = "SELECT seq, received_at FROM events WHERE seq > ? ORDER BY seq LIMIT 1"
            while low < high:
                middle = (low + high) // 2
                [(seq, received_at)] = await db.execute_fetchall(sql, (middle,))
                low, high = (seq, high) if received_at < wanted else (low, middle)
            return join_cursor(generation, low)


def begin_generation(db: sqlite3.Connection, at: datetime) -> None:
    """Begin a new generation of the log."""
    sql = """INSERT INTO log_generations (id, began_at, began_after, pruned_through)
             SELECT lower(hex(randomblob(8))), ?, (SELECT coalesce(max(seq), 0) FROM events), pruned_through
             FROM log_generations ORDER BY number DESC LIMIT 1"""
    db.execute(sql, (codec.micros(at),))


async def _require(db: aiosqlite.Connection, cursor: str) -> None:
    """Raise `LogCursorError` unless nothing of the log is missing after the cursor."""
    present, first, last = await _bounds(db)
    if not is_of_another_log(cursor, present, first, last, last):
        return
    sql = """SELECT began_after FROM log_generations
             WHERE number > (SELECT number FROM log_generations WHERE id = ?) ORDER BY number LIMIT 1"""
    rows = await db.execute_fetchall(sql, (split_cursor(cursor)[0],))
    raise other_log(cursor, present, first, last, next((int(after) for (after,) in rows), None))


async def _bounds(db: aiosqlite.Connection) -> tuple[str, int, int]:
    """(id of the present generation, position before the first event that is left, position of the last event)."""
    sql = """SELECT id, pruned_through, max(pruned_through, coalesce((SELECT max(seq) FROM events), 0))
             FROM log_generations ORDER BY number DESC LIMIT 1"""
    [(id, first, last)] = list(await db.execute_fetchall(sql))
    return id, first, last
