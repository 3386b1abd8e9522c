"""Versions of what every node keeps in memory, raised in the transaction of each change: so nodes see it."""

from __future__ import annotations

from app.store.postgres.connection import Session

CONFIGURATION, KEYS, PAUSES, SESSIONS = "configuration", "keys", "pauses", "sessions"


async def raise_version(db: Session, what: str) -> int:
    """Raise a version; returns the new one. Others that raise it wait until the transaction ends."""
    sql = "UPDATE @shared_versions SET version = version + 1 WHERE what = $1 RETURNING version"
    return int(await db.value(sql, what))
