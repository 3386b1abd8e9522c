"""Queries for the hash chain over the log.

SQLite joins the columns of an event to what its leaf is the hash of, without Python's lock; the hashing is done on the
connection's thread, so that the event loop only gets finished leaves.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from hashlib import sha256
from typing import TypeVar

from app.core.event import join_id, order_key, split_id
from app.core.log_chain import Block
from app.store import codec
from app.store.block_search import BlockSearch
from app.store.log_chain import BLOCK_COLUMNS, ErasureRow, LeafRow, Leaves, LoggedEvent, read_block
from app.store.records import Window
from app.store.sqlite.connection import Queries
from app.store.sqlite.statements import marks, parts
from app.store.use import Use
from app.store.where import Where
from app.store.windows import direction, in_order

T = TypeVar("T")

ERASURES_PAGE = 1000


def _netstring(column: str) -> str:
    return f"length(CAST({column} AS BLOB)) || ':' || {column} || ','"


_NUMBERS = "seq || ' ' || key || ' ' || occurred_at || ' ' || received_at || ' ' || coalesce(receipt, '')"
_TEXTS = " || ".join(_netstring(column) for column in ("account", "name", "type", "source"))
LEAF_INPUT = f"CAST(x'00' || {_NUMBERS} || ' ' || {_TEXTS} || {codec.EVENT_BODY} AS BLOB)"
"""What the leaf of an event is the hash of, as `app.core.log_chain.leaf_hash` says."""
_LEAF_ROWS = f"""SELECT seq, received_at, {LEAF_INPUT},
    (SELECT CAST(leaf AS BLOB) FROM erasures WHERE position = seq AND number = 1)
    FROM events WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"""
_ERASED = f"""SELECT erasures.event, erasures.position, CAST(erasures.leaf AS BLOB),
    CAST(later.leaf AS BLOB), {LEAF_INPUT}
    FROM erasures LEFT JOIN events ON events.seq = erasures.position
    LEFT JOIN erasures AS later ON later.position = erasures.position AND later.number = erasures.number + 1
    ORDER BY erasures.event, erasures.position"""
_END = (1 << 63) - 1


class LogChainQueries(BlockSearch, Queries):
    """The part of `Reader` about the chain."""

    async def block_at(self, position: int) -> Block | None:
        sql = f"SELECT {BLOCK_COLUMNS} FROM log_blocks WHERE last_position >= ? ORDER BY last_position LIMIT 1"
        blocks = [read_block(row) for row in await self._db.fetch(sql, (position,))]
        return next((block for block in blocks if block.first <= position), None)

    async def block_with_root(self, root: bytes) -> Block | None:
        sql = f"SELECT {BLOCK_COLUMNS} FROM log_blocks WHERE root = ? LIMIT 1"
        return next((read_block(row) for row in await self._db.fetch(sql, (root,))), None)

    async def _received_until(self, number: int) -> int:
        sql = "SELECT received_until FROM log_blocks WHERE number >= ? ORDER BY number LIMIT 1"
        [(until,)] = await self._db.fetch(sql, (number,))
        return int(until)

    async def restored_at(self) -> datetime | None:
        sql = "SELECT began_at FROM log_generations WHERE number > 1 ORDER BY number DESC LIMIT 1"
        return next((codec.moment(at) for (at,) in await self._db.fetch(sql)), None)

    async def blocks(self, window: Window) -> list[Block]:
        where = Where()
        where.beyond("number", window)
        sql = f"SELECT {BLOCK_COLUMNS} FROM log_blocks {where} ORDER BY number {direction(window)} LIMIT ?"
        return [read_block(row) for row in in_order(await self._db.fetch(sql, (*where.values, window.limit)), window)]

    async def block_numbers(self) -> tuple[int, int]:
        sql = "SELECT coalesce(min(number), 0), coalesce(max(number), 0) FROM log_blocks"
        [(first, last)] = await self._db.fetch(sql)
        return first, last

    async def blocks_between(self, first: int, last: int, limit: int) -> list[Block]:
        sql = f"SELECT {BLOCK_COLUMNS} FROM log_blocks WHERE number BETWEEN ? AND ? ORDER BY number LIMIT ?"
        return [read_block(row) for row in await self._db.fetch(sql, (first, last, limit))]

    async def unsealed(self, after: int, limit: int) -> Leaves:
        def hash_run(db: sqlite3.Connection) -> Leaves:
            first = 0
            leaves: list[bytes] = []
            received: list[int] = []
            for position, received_at, leaf_input, original in db.execute(_LEAF_ROWS, (after, _END, limit)):
                if leaves and position != first + len(leaves):
                    break
                first = first or position
                leaves.append(original or sha256(leaf_input).digest())
                received.append(received_at)
            return Leaves(first, leaves, received)

        return await self._visit(hash_run)

    async def leaf_rows(self, after: int, until: int) -> list[LeafRow]:
        def hash_all(db: sqlite3.Connection) -> list[LeafRow]:
            rows = []
            for position, _, leaf_input, original in db.execute(_LEAF_ROWS, (after, until, -1)):
                present = sha256(leaf_input).digest()
                rows.append(LeafRow(position, present, original or present))
            return rows

        return await self._visit(hash_all)

    async def events_at(self, positions: Sequence[int]) -> dict[int, LoggedEvent]:
        rows: dict[int, LoggedEvent] = {}
        for part in parts(positions):
            sql = f"SELECT seq, {codec.EVENT_COLUMNS} FROM events WHERE seq IN ({marks(part)})"
            for position, account, name, key, *rest in await self._db.fetch(sql, part):
                rows[position] = LoggedEvent(join_id(order_key(account, name), key), (account, name, key, *rest))
        return rows

    async def event_position(self, id: str) -> int | None:
        order, key = split_id(id)
        sql = f"""SELECT seq, {codec.EVENT_COLUMNS} FROM events
                  WHERE key = ? AND order_pk IN (SELECT order_pk FROM names WHERE key = ? UNION SELECT 0)"""
        rows = await self._db.fetch(sql, (key, order))
        return next((seq for seq, *row in rows if codec.read_event(row).id == id), None)

    async def pruned_through(self) -> int:
        sql = "SELECT pruned_through FROM log_generations ORDER BY number DESC LIMIT 1"
        return int((await self._db.fetch(sql))[0][0])

    async def log_bounds(self) -> tuple[int, int]:
        sql = """SELECT coalesce((SELECT max(seq) FROM events), 0),
                 coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0)"""
        [(last, given_out)] = await self._db.fetch(sql)
        return last, given_out

    async def erasures(self) -> AsyncIterator[list[ErasureRow]]:
        async with self._db.borrow(Use.LOG) as db, db.execute(_ERASED) as found:
            while rows := list(await found.fetchmany(ERASURES_PAGE)):
                yield [
                    ErasureRow(event, position, before, _after(later, leaf_input))
                    for event, position, before, later, leaf_input in rows
                ]

    async def _visit(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on the thread of a connection."""
        async with self._db.borrow(Use.LOG) as db:
            result: T = await db._execute(work, db._conn)  # type: ignore[no-untyped-call]  # noqa: SLF001 - as `Writer.visit`
            return result


def _after(later: bytes | None, leaf_input: bytes | None) -> bytes | None:
    """The leaf after an erasure: that before the next one, else the present one."""
    if later is not None:
        return later
    return None if leaf_input is None else sha256(leaf_input).digest()
