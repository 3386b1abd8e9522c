"""Queries for sessions of the console."""

from __future__ import annotations

from datetime import datetime

from app.store import codec
from app.store.postgres.connection import Queries
from app.store.use import Use


class SessionQueries(Queries):
    """The part of `Reader` about sessions of the console."""

    async def session_exists(self, id: bytes) -> bool:
        return bool(await self._db.fetch("SELECT 1 FROM @console_sessions WHERE id = $1", id, use=Use.LOOKUPS))

    async def count_sessions(self, now: datetime) -> dict[str, int]:
        sql = "SELECT key_id, count(*) FROM @console_sessions WHERE expires_at > $1 GROUP BY key_id"
        return dict(await self._db.fetch(sql, codec.micros(now)))
