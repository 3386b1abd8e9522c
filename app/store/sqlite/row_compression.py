"""Compressed rows: the dictionaries that are stored."""

from __future__ import annotations

import sqlite3

from app.store.row_compression import OWN, RowCompressor, RowDictionary, dictionary_of

INSERT = "INSERT INTO row_dictionaries (id, account, content) VALUES (?, ?, ?)"


def open_dictionaries(db: sqlite3.Connection) -> RowCompressor:
    """The compressor of a writer, with the stored dictionaries; that of the present release's names is added."""
    content = dictionary_of()
    rows = db.execute("SELECT id, account, content FROM row_dictionaries ORDER BY id").fetchall()
    if content not in [stored for _, account, stored in rows if account == OWN][-1:]:
        own = (1 + max((id for id, *_ in rows), default=0), OWN, content)
        db.execute(INSERT, own)
        rows.append(own)
    return RowCompressor(RowDictionary(*row) for row in rows)
