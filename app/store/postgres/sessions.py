"""Writes of the sessions of the console."""

from __future__ import annotations

from app.store import codec
from app.store.postgres.connection import Session
from app.store.postgres.versions import SESSIONS, raise_version
from app.store.postgres.writes import Writes
from app.store.sessions import ConsoleSession


class SessionWrites(Writes):
    """The part of `Store` that writes the sessions of the console."""

    async def start_session(self, session: ConsoleSession, maximum: int) -> None:
        started_at, expires_at = codec.micros(session.started_at), codec.micros(session.expires_at)

        async def work(db: Session) -> None:
            await db.run("DELETE FROM @console_sessions WHERE expires_at <= $1", started_at)
            sql = "INSERT INTO @console_sessions VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING"
            await db.run(sql, session.id, session.key, started_at, expires_at)
            sql = """DELETE FROM @console_sessions WHERE id IN
                     (SELECT id FROM @console_sessions WHERE key_id = $1 ORDER BY started_at DESC OFFSET $2)"""
            if await db.run(sql, session.key, maximum):
                await raise_version(db, SESSIONS)

        await self._write(work)

    async def end_session(self, id: bytes) -> None:
        async def work(db: Session) -> None:
            if await db.run("DELETE FROM @console_sessions WHERE id = $1", id):
                await raise_version(db, SESSIONS)

        await self._write(work)

    async def end_sessions(self, key: str | None = None) -> int:
        return await self._write(lambda db: end_all(db, key))


async def end_all(db: Session, key: str | None) -> int:
    """See `SessionStore.end_sessions`; within a transaction."""
    ended = await db.run("DELETE FROM @console_sessions WHERE $1::text IS NULL OR key_id = $1", key)
    if ended:
        await raise_version(db, SESSIONS)
    return ended
