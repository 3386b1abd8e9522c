"""The schema: SQL files that are applied in order, forward only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources

import aiosqlite
import structlog

from app.store import upcast

log = structlog.get_logger()


class SchemaTooNewError(Exception):
    """The database was made by a later release; install that release, or restore a backup from before it."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema."""

    version: int
    name: str
    sql: str


def migrations(dialect: str) -> list[Migration]:
    """All steps for a dialect, in order."""
    files = [file for file in (resources.files(__package__) / dialect).iterdir() if file.name.endswith(".sql")]
    steps = []
    for file in sorted(files, key=lambda file: file.name):
        number, _, name = file.name.removesuffix(".sql").partition("_")
        steps.append(Migration(int(number), name, file.read_text(encoding="utf-8")))
    return steps


async def version(db: aiosqlite.Connection) -> int:
    """The schema version of a SQLite database; 0 if it is empty."""
    return int(next(iter(await db.execute_fetchall("PRAGMA user_version")))[0])


def ignore_status(_status: str) -> None:
    """Show what happens to nobody."""


async def migrate(db: aiosqlite.Connection, tell: Callable[[str], None] = ignore_status) -> list[Migration]:
    """Migrate a SQLite database to the newest schema, each step in its own transaction. Returns the steps done.

    `tell` hears before each step what it does.

    Raises `SchemaTooNewError` for the schema of a later release.
    """
    steps, current = migrations("sqlite"), await version(db)
    newest = steps[-1].version
    if current > newest:
        raise SchemaTooNewError(
            f"the database was made by a later release (its schema is {current}, this release knows {newest}): "
            "install that release, or restore a backup from before the upgrade"
        )
    await db.create_function("upcast_order", 1, upcast.order_state, deterministic=True)
    await db.create_function("upcast_cancellation", 1, upcast.cancellation_state, deterministic=True)
    todo = [step for step in steps if step.version > current]
    # While a step rewrites rows, SQLite keeps aside what they were: on disk, as it may be more than fits into memory.
    temp_store = next(iter(await db.execute_fetchall("PRAGMA temp_store")))[0]
    await db.execute("PRAGMA temp_store = FILE")
    for step in todo:
        if current:
            # An index on a long log takes time: the log line shows that the server does not hang.
            log.info("upgrading_schema", to=step.version, of=newest, step=step.name)
            tell(f"Migrating the database: step {step.version} of {newest} ({step.name})")
        await db.executescript(f"BEGIN IMMEDIATE;\n{step.sql}\nPRAGMA user_version = {step.version};\nCOMMIT;")
    await db.execute(f"PRAGMA temp_store = {temp_store}")
    return todo
