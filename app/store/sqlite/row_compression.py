"""Compressed rows: the dictionaries that are stored, and the rows of earlier releases, compressed by and by."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from app.runtime.time_slice import TimeSlice
from app.store.row_compression import OWN, RowCompressor, RowDictionary, dictionary_of
from app.store.sqlite.connection import Connections
from app.store.use import Use

Write = Callable[[Callable[[sqlite3.Connection], None]], Awaitable[None]]
"""Runs work in a transaction of its own."""
STEP_ROWS, STEP_BYTES = 100, 1 << 20
"""Rows that are compressed in one transaction: so many, or of so many bytes and one more."""
INSERT = "INSERT INTO row_dictionaries (id, account, content) VALUES (?, ?, ?)"
_TABLES = {"events": ("seq", "order_pk", "body"), "orders": ("pk", "pk", "state")}
"""Table → its number, the number of the order, what is compressed."""
_UNFINISHED = "SELECT what, position, until FROM row_compression WHERE position < until ORDER BY what LIMIT 1"


def _take(table: str) -> str:
    number, order, column = _TABLES[table]
    row = f"iif(typeof({column}) = 'text', CAST({column} AS BLOB), NULL)"
    size = f"iif(typeof({column}) = 'text', length({column}), 0)"
    return f"""SELECT number, account, order_pk, row FROM (
        SELECT *, sum(size) OVER (ORDER BY number ROWS UNBOUNDED PRECEDING) - size AS before FROM (
            SELECT {number} AS number, account, {order} AS order_pk, {row} AS row, {size} AS size
            FROM {table} WHERE {number} > ? AND {number} <= ? ORDER BY {number} LIMIT {STEP_ROWS}))
        WHERE before < {STEP_BYTES}"""


def _replace(table: str) -> str:
    number, _, column = _TABLES[table]
    # One that was written meanwhile stays as it is.
    as_read = f"typeof({column}) = 'text' AND CAST({column} AS BLOB) = ?"
    return f"UPDATE {table} SET {column} = ?, dictionary = ? WHERE {number} = ? AND {as_read}"


_TAKE = {table: _take(table) for table in _TABLES}
_REPLACE = {table: _replace(table) for table in _TABLES}


def open_dictionaries(db: sqlite3.Connection) -> RowCompressor:
    """The compressor of a writer, with the stored dictionaries; that of the present release's names is added."""
    content = dictionary_of()
    rows = db.execute("SELECT id, account, content FROM row_dictionaries ORDER BY id").fetchall()
    if content not in [stored for _, account, stored in rows if account == OWN][-1:]:
        own = (1 + max((id for id, *_ in rows), default=0), OWN, content)
        db.execute(INSERT, own)
        rows.append(own)
    return RowCompressor(RowDictionary(*row) for row in rows)


class OldRows:
    """Compresses the rows of earlier releases, a step at a time; how far it is stands in the database."""

    def __init__(self, compressor: RowCompressor) -> None:
        self._compressor = compressor

    async def step(self, readers: Connections, write: Write) -> int | None:
        """Compress the next rows; returns how many were looked at, None if none are left."""
        unfinished = await readers.fetch(_UNFINISHED, (), Use.SEARCHES)
        if not unfinished:
            return None
        table, position, until = unfinished[0]
        rows = await readers.fetch(_TAKE[table], (position, until), Use.SEARCHES)
        packing, replaced, time_slice = self._compressor.begin(), list[tuple[Any, ...]](), TimeSlice()
        for number, account, order, row in rows:
            if row is not None and _is_text(row):
                packed, dictionary = packing.pack(account, order, row)
                if dictionary is not None:
                    replaced.append((packed, dictionary, number, row))
            await time_slice.pause()
        reached = rows[-1][0] if rows else until

        def replace(db: sqlite3.Connection) -> None:
            db.executemany(INSERT, [(made.id, made.account, made.content) for made in packing.dictionaries])
            db.executemany(_REPLACE[table], replaced)
            db.execute("UPDATE row_compression SET position = ? WHERE what = ?", (reached, table))

        await write(replace)
        packing.confirm()
        return len(rows)


def _is_text(row: bytes) -> bool:
    """Whether it is read back as text: somebody may have changed it by hand."""
    try:
        row.decode()
    except UnicodeDecodeError:
        return False
    return True


def progress(rows: Sequence[tuple[Any, ...]]) -> dict[str, float]:
    """Table → which part of its rows of earlier releases is compressed, from the rows of `PROGRESS`; 1 of none."""
    return dict.fromkeys(_TABLES, 1.0) | {
        what: 1.0 if until <= first else max(0.0, (at - first) / (until - first)) for what, first, at, until in rows
    }


PROGRESS = """SELECT what, iif(what = 'events', 0, (SELECT min(pk) FROM orders) - 1), position, until
    FROM row_compression"""
