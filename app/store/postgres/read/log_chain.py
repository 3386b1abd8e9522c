"""Queries for the hash chain over the log.

PostgreSQL hashes the events: only leaves go over the network, and the event loop gets them finished.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from app.core.event import join_id, order_key, split_id
from app.core.log_chain import Block
from app.store import codec
from app.store.block_search import BlockSearch
from app.store.log_chain import BLOCK_COLUMNS, ErasureRow, LeafRow, Leaves, LoggedEvent, read_block
from app.store.postgres.columns import EVENT_COLUMNS
from app.store.postgres.read.events import BY_ID
from app.store.postgres.read.safe_position import SafeQueries
from app.store.records import Window
from app.store.use import Use
from app.store.windows import beyond, direction, in_order

ERASURES_PAGE = 1000
LEAVES_PAGE = 1000


def _netstring(column: str) -> str:
    return f"octet_length({column}) || ':' || {column} || ','"


_NUMBERS = "seq || ' ' || key || ' ' || occurred_at || ' ' || received_at || ' ' || coalesce(receipt::text, '')"


def _leaf(table: str) -> str:
    """The leaf of an event in SQL, as `app.core.log_chain.leaf_hash` says."""
    numbers = _NUMBERS
    for column in ("seq", "key", "occurred_at", "received_at", "receipt"):
        numbers = numbers.replace(f"{column} ||", f"{table}.{column} ||").replace(f"({column}:", f"({table}.{column}:")
    texts = " || ".join(_netstring(f"{table}.{column}") for column in ("account", "name", "type", "source"))
    return rf"sha256('\x00'::bytea || convert_to({numbers} || ' ' || {texts} || {table}.body, 'UTF8'))"


_LEAF_ROWS = f"""SELECT seq, received_at, {_leaf("events")} AS leaf,
    (SELECT leaf FROM @erasures WHERE position = seq AND number = 1) AS original
    FROM @events AS events WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3"""
# The end of the run first, by the index: events behind a gap would be hashed again for the next block.
_RUN = """SELECT min(seq), max(seq) FROM (
    SELECT seq, seq - row_number() OVER (ORDER BY seq) AS run, first_value(seq) OVER (ORDER BY seq) - 1 AS first
    FROM (SELECT seq FROM @events WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3) AS part
    ) AS numbered WHERE run = first"""
_ERASED = f"""SELECT erasures.event, erasures.position, erasures.leaf, coalesce(later.leaf,
        CASE WHEN events.seq IS NOT NULL THEN {_leaf("events")} END)
    FROM @erasures AS erasures LEFT JOIN @events AS events ON events.seq = erasures.position
    LEFT JOIN @erasures AS later ON later.position = erasures.position AND later.number = erasures.number + 1
    ORDER BY erasures.event, erasures.position"""


class LogChainQueries(BlockSearch, SafeQueries):
    """The part of `Reader` about the hash chain over the log."""

    async def block_at(self, position: int) -> Block | None:
        sql = f"SELECT {BLOCK_COLUMNS} FROM @log_blocks WHERE last_position >= $1 ORDER BY last_position LIMIT 1"
        blocks = [read_block(row) for row in await self._db.fetch(sql, position, use=Use.LOG)]
        return next((block for block in blocks if block.first <= position), None)

    async def block_with_root(self, root: bytes) -> Block | None:
        sql = f"SELECT {BLOCK_COLUMNS} FROM @log_blocks WHERE root = $1 LIMIT 1"
        return next((read_block(row) for row in await self._db.fetch(sql, root, use=Use.LOG)), None)

    async def _received_until(self, number: int) -> int:
        sql = "SELECT received_until FROM @log_blocks WHERE number >= $1 ORDER BY number LIMIT 1"
        [(until,)] = await self._db.fetch(sql, number, use=Use.LOG)
        return int(until)

    async def restored_at(self) -> datetime | None:
        sql = "SELECT began_at FROM @log_generations WHERE number > 1 ORDER BY number DESC LIMIT 1"
        return next((codec.moment(at) for (at,) in await self._db.fetch(sql, use=Use.LOG)), None)

    async def blocks(self, window: Window) -> list[Block]:
        where, values = beyond("number", window, "$2")
        sql = f"""SELECT {BLOCK_COLUMNS} FROM @log_blocks {where and f"WHERE {where}"}
                  ORDER BY number {direction(window)} LIMIT $1"""
        rows = await self._db.fetch(sql, window.limit, *values, use=Use.LOG)
        return [read_block(row) for row in in_order(rows, window)]

    async def block_numbers(self) -> tuple[int, int]:
        sql = "SELECT coalesce(min(number), 0), coalesce(max(number), 0) FROM @log_blocks"
        [(first, last)] = await self._db.fetch(sql, use=Use.LOG)
        return first, last

    async def blocks_between(self, first: int, last: int, limit: int) -> list[Block]:
        sql = f"SELECT {BLOCK_COLUMNS} FROM @log_blocks WHERE number BETWEEN $1 AND $2 ORDER BY number LIMIT $3"
        return [read_block(row) for row in await self._db.fetch(sql, first, last, limit, use=Use.LOG)]

    async def unsealed(self, after: int, limit: int) -> Leaves:
        async with self._db.borrow(Use.LOG) as session:
            safe = await self.safe_position.advance(session)
            [(first, last)] = await session.fetch(_RUN, after, safe, limit)
            rows = [] if first is None else await session.fetch(_LEAF_ROWS, first - 1, last, limit)
        return Leaves(
            first or 0, [row["original"] or row["leaf"] for row in rows], [row["received_at"] for row in rows]
        )

    async def leaf_rows(self, after: int, until: int) -> list[LeafRow]:
        rows: list[LeafRow] = []
        while part := await self._db.fetch(_LEAF_ROWS, after, until, LEAVES_PAGE, use=Use.LOG):
            rows += [LeafRow(position, leaf, original or leaf) for position, _, leaf, original in part]
            after = rows[-1].position
        return rows

    async def events_at(self, positions: Sequence[int]) -> dict[int, LoggedEvent]:
        rows: dict[int, LoggedEvent] = {}
        sql = f"SELECT seq, {EVENT_COLUMNS} FROM @events WHERE seq = ANY($1::bigint[])"
        for position, account, name, key, *rest in await self._db.fetch(sql, list(positions), use=Use.LOG):
            rows[position] = LoggedEvent(join_id(order_key(account, name), key), (account, name, key, *rest))
        return rows

    async def event_position(self, id: str) -> int | None:
        sql = f"SELECT seq, {EVENT_COLUMNS} {BY_ID.format(f'seq, {EVENT_COLUMNS}')}"
        rows = await self._db.fetch(sql, *split_id(id), use=Use.LOG)
        return next((seq for seq, *row in rows if codec.read_event(row).id == id), None)

    async def pruned_through(self) -> int:
        sql = "SELECT pruned_through FROM @log_generations ORDER BY number DESC LIMIT 1"
        return int((await self._db.fetch(sql, use=Use.LOG))[0][0])

    async def log_bounds(self) -> tuple[int, int]:
        async with self._db.borrow(Use.LOG) as session:
            safe = await self.safe_position.advance(session)
            sql = """SELECT greatest(pruned_through,
                         (SELECT seq FROM @events WHERE seq <= greatest($1,
                             (SELECT max(last_position) FROM @log_blocks)) ORDER BY seq DESC LIMIT 1))
                     FROM @log_generations ORDER BY number DESC LIMIT 1"""
            # What another node has sealed was safe for it, though a transaction may keep this one from knowing.
            last = await session.value(sql, safe)
        # A transaction that failed leaves a gap: that positions were given out says nothing of the end of the log.
        return last, last

    async def erasures(self) -> AsyncIterator[list[ErasureRow]]:
        async with self._db.snapshot(Use.LOG) as session:
            page: list[ErasureRow] = []
            async for row in session.cursor(_ERASED, prefetch=ERASURES_PAGE):
                page.append(ErasureRow(*row))
                if len(page) == ERASURES_PAGE:
                    yield page
                    page = []
            if page:
                yield page
