"""A database that was migrated once, and is copied to where a test opens a new one: all migrations take 20 ms."""

from __future__ import annotations

import atexit
import sqlite3
from collections.abc import Callable
from threading import Lock

from app.store.migrations import Migration, ignore_status, migrate, version
from app.store.sqlite import store
from app.store.sqlite.connection import Writer

_migrated = sqlite3.connect(":memory:", check_same_thread=False)
_in_use = Lock()
atexit.register(_migrated.close)


def use() -> None:
    """From now on new databases of this process are copies of the first one, each with a log of its own."""
    vars(store)["migrate"] = _migrate


async def _migrate(db: Writer, tell: Callable[[str], None] = ignore_status) -> list[Migration]:
    if await version(db) or await db.execute_fetchall("SELECT 1 FROM sqlite_schema"):
        return await migrate(db, tell)
    if await db.visit(_copy):
        return []
    done = await migrate(db)
    await db.visit(_keep)
    return done


def _copy(db: sqlite3.Connection) -> bool:
    with _in_use:
        if not _migrated.execute("PRAGMA user_version").fetchone()[0]:
            return False
        _migrated.backup(db)
    db.execute("UPDATE log_generations SET id = lower(hex(randomblob(8))), began_at = unixepoch() * 1000000")
    return True


def _keep(db: sqlite3.Connection) -> None:
    with _in_use:
        db.backup(_migrated)
