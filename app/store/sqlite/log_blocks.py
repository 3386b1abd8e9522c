"""Writes the blocks of the log's hash chain."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from app.core.log_chain import Block
from app.store.protocol import StoreConflict
from app.store.sqlite.read.log_chain import BLOCK_COLUMNS


def append(db: sqlite3.Connection, blocks: Sequence[Block]) -> None:
    """Append blocks. Raises `StoreConflict` if the first does not follow the last one stored."""
    (last,) = db.execute("SELECT coalesce(max(number), 0) FROM log_blocks").fetchone()
    if blocks and blocks[0].number != last + 1:
        raise StoreConflict(f"block {blocks[0].number} of the log does not follow block {last}")
    rows = [
        (
            block.number,
            block.first,
            block.last,
            block.received_from,
            block.received_until,
            block.root,
            block.at,
            block.signature,
            block.marks,
        )
        for block in blocks
    ]
    db.executemany(f"INSERT INTO log_blocks ({BLOCK_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
