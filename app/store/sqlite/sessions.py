"""Writing sessions of the console."""

from __future__ import annotations

import sqlite3

from app.store import codec
from app.store.sessions import ConsoleSession


def start(db: sqlite3.Connection, session: ConsoleSession, maximum: int) -> None:
    """See `SessionStore.start_session`."""
    started_at, expires_at = codec.micros(session.started_at), codec.micros(session.expires_at)
    db.execute("DELETE FROM console_sessions WHERE expires_at <= ?", (started_at,))
    db.execute("INSERT INTO console_sessions VALUES (?, ?, ?, ?)", (session.id, session.key, started_at, expires_at))
    sql = """DELETE FROM console_sessions WHERE id IN
             (SELECT id FROM console_sessions WHERE key_id = ? ORDER BY started_at DESC LIMIT -1 OFFSET ?)"""
    db.execute(sql, (session.key, maximum))


def end(db: sqlite3.Connection, id: bytes) -> None:
    """See `SessionStore.end_session`."""
    db.execute("DELETE FROM console_sessions WHERE id = ?", (id,))


def end_all(db: sqlite3.Connection, key: str | None) -> int:
    """See `SessionStore.end_sessions`."""
    if key is None:
        return db.execute("DELETE FROM console_sessions").rowcount
    return db.execute("DELETE FROM console_sessions WHERE key_id = ?", (key,)).rowcount
