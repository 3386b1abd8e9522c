"""The store on SQLite: one connection that writes, several that read, WAL, every commit on disk."""

from __future__ import annotations

from app.store.sqlite.reader import SqliteReader
from app.store.sqlite.store import SqliteStore, open_sqlite

__all__ = ["SqliteReader", "SqliteStore", "open_sqlite"]
