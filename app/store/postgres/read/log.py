"""Queries for those who follow the log: in the order of positions, up to the safe one (`safe_position`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

from app.core.event import Event
from app.store import codec, log
from app.store.log import LogEntry, LogPage
from app.store.log_cursors import LATE, is_of_another_log, join_cursor, other_log, split_cursor
from app.store.postgres.columns import EVENT_COLUMNS
from app.store.postgres.connection import Session
from app.store.postgres.read.safe_position import SafeQueries
from app.store.use import Use

LOG_PAGE = 2000
# The sum of sizes is that of the page so far: only what belongs to the page is sent.
_FOLLOWED = f"""SELECT * FROM (
    SELECT seq, order_pk, {EVENT_COLUMNS}, sum(octet_length(body)) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) AS size
    FROM (SELECT seq, order_pk, {EVENT_COLUMNS} FROM @events WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3) AS part
    ) AS sized WHERE size - octet_length(body) < $4 ORDER BY seq"""


class LogQueries(SafeQueries):
    """The part of `Reader` about following the log."""

    async def follow(self, cursor: str, limit: int) -> LogPage:
        generation, position = split_cursor(cursor)
        async with self._db.borrow(Use.LOG) as session:
            safe = await self.safe_position.advance(session)
            rows = await session.fetch(_FOLLOWED, position, safe, limit, log.PAGE_BYTES)
            # The position is checked after the rows are read: what is pruned in between is noticed.
            await _require(session, cursor, safe)
        entries = [LogEntry(join_cursor(generation, seq), pk, codec.read_event(row)) for seq, pk, *row, _ in rows]
        at_end = len(rows) < limit and (not rows or rows[-1]["size"] < log.PAGE_BYTES)
        return LogPage(entries, entries[-1].cursor if entries else cursor, at_end)

    async def log_start(self) -> str:
        async with self._db.borrow(Use.LOG) as session:
            generation, first, _ = await _bounds(session)
            return join_cursor(generation, first)

    async def log_end(self) -> str:
        async with self._db.borrow(Use.LOG) as session:
            safe = await self.safe_position.advance(session)
            generation, _, last = await _bounds(session, safe)
            return join_cursor(generation, last)

    async def log_since(self, since: datetime) -> str:
        async with self._db.borrow(Use.LOG) as session:
            safe = await self.safe_position.advance(session)
            generation, low, high = await _bounds(session, safe)
            # Times of receipt grow along the log, but for commands that waited for their commit.
            wanted = codec.micros(since) - LATE
            sql = "SELECT seq, received_at FROM @events WHERE seq > $1 ORDER BY seq LIMIT 1"
            while low < high:
                middle = (low + high) // 2
                row = await session.row(sql, middle)
                seq, received_at = (high, wanted) if row is None else row
                low, high = (seq, high) if received_at < wanted else (low, middle)
            return join_cursor(generation, low)

    async def log(self) -> AsyncIterator[list[tuple[int, int, Event]]]:
        sql = f"""SELECT seq, order_pk, {EVENT_COLUMNS} FROM @events WHERE seq > $1 AND seq <= $2
                  ORDER BY seq LIMIT $3"""
        seq = 0
        while True:
            async with self._db.borrow(Use.LOG) as session:
                safe = await self.safe_position.advance(session)
                rows = await session.fetch(sql, seq, safe, LOG_PAGE)
            if not rows:
                return
            yield [(seq, pk, codec.read_event(row)) for seq, pk, *row in rows]
            seq = rows[-1]["seq"]


async def _require(session: Session, cursor: str, safe: int) -> None:
    """Raise `LogCursorError` unless nothing of the log is missing after the cursor."""
    generation, position = split_cursor(cursor)
    # Another node may have shown what is not safe yet by what this one has seen.
    present, first, last = await _bounds(session)
    if position <= last and generation == present and position >= first:
        return
    _, _, end = await _bounds(session, safe)
    if is_of_another_log(cursor, present, first, last, end):
        sql = """SELECT began_after FROM @log_generations
                 WHERE number > (SELECT number FROM @log_generations WHERE id = $1) ORDER BY number LIMIT 1"""
        raise other_log(cursor, present, first, end, await session.value(sql, generation))


async def _bounds(session: Session, until: int | None = None) -> tuple[str, int, int]:
    """(id of the present generation, position before the first event that is left, position of the last event).

    The last event is one up to `until`, if given.
    """
    sql = """SELECT id, pruned_through, greatest(pruned_through, coalesce((SELECT seq FROM @events
             WHERE $1::bigint IS NULL OR seq <= $1 ORDER BY seq DESC LIMIT 1), 0))
             FROM @log_generations ORDER BY number DESC LIMIT 1"""
    [(id, first, last)] = await session.fetch(sql, until)
    return id, first, last
