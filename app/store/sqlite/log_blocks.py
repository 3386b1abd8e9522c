"""Writes what concerns the log as a whole: blocks of its hash chain, generations, contexts of traces."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from app.core.log_chain import Block
from app.runtime import ids
from app.store import codec
from app.store.log_chain import BLOCK_COLUMNS, block_row
from app.store.protocol import StoreConflict
from app.store.sqlite.connection import Queries
from app.store.sqlite.read.log import begin_generation

T = TypeVar("T")


class LogWrites(Queries):
    """The part of the store that writes the log as a whole."""

    @property
    def log_delay_s(self) -> float:
        """See `Store.log_delay_s`: positions become visible in their order."""
        return 0.0

    async def begin_log_generation(self, at: datetime) -> None:
        await self._write(lambda db: begin_generation(db, at))

    async def delete_trace_contexts(self, prefix: str, until: datetime, limit: int) -> bool:
        last = ids.show(prefix, ids.at(codec.micros(until) // 1000))
        sql = """DELETE FROM trace_contexts WHERE id IN
                 (SELECT id FROM trace_contexts WHERE id >= ? AND id < ? ORDER BY id LIMIT ?)"""
        return await self._write(lambda db: db.execute(sql, (prefix, last, limit)).rowcount == limit)

    async def drop_months(self, before: datetime) -> list[str]:
        """Nothing to do: a file has no parts for months."""
        del before
        return []

    async def save_blocks(self, blocks: Sequence[Block]) -> None:
        await self._write(lambda db: _append(db, blocks))

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        raise NotImplementedError


def _append(db: sqlite3.Connection, blocks: Sequence[Block]) -> None:
    """Append blocks. Raises `StoreConflict` if the first does not follow the last one stored."""
    (last,) = db.execute("SELECT coalesce(max(number), 0) FROM log_blocks").fetchone()
    if blocks and blocks[0].number != last + 1:
        raise StoreConflict(f"block {blocks[0].number} of the log does not follow block {last}")
    db.executemany(
        f"INSERT INTO log_blocks ({BLOCK_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", map(block_row, blocks)
    )
