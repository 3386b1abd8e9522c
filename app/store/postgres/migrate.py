"""Migrations of a PostgreSQL schema, while nodes of this release and of the one before serve.

A step may begin with comments that say how it is done:

- `-- phase: contract` removes what the release before needs. All others expand: what runs already goes on. Contract
  steps are the last of a release, and wait until no node of another release is left; nodes run without them meanwhile.
- `-- works with: NUMBER` in a contract step: releases that know a schema of a smaller number must not be started after
  it.
- `-- transaction: no` for `CREATE INDEX CONCURRENTLY`, one statement to a file. If it was interrupted, the invalid
  index that it left is dropped, and made again.

A step changes one busy table (events, jobs, orders, receipts): a step that locks several of them deadlocks with queries
that join them, and is tried again until it gives up.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime

import asyncpg
import structlog

from app import __version__
from app.store.migrations import Migration, SchemaTooNewError, ignore_status, migrations
from app.store.postgres.access import fault_with_rights, open_first
from app.store.postgres.connection import FOREVER_S, Session, Target
from app.store.postgres.errors import ERRORS
from app.store.postgres.partitions import make_ahead
from app.store.protocol import StoreError

TRANSFER = "transfer"
"""The table that there is while a schema is filled from SQLite."""
INITIAL = 32
"""The schema of the first release that works with PostgreSQL."""
LOCK_TRIES = 20
_LOCK = "SELECT pg_advisory_lock(hashtextextended('rescind migrations ' || $1, 0))"
_UNLOCK = "SELECT pg_advisory_unlock(hashtextextended('rescind migrations ' || $1, 0))"
_SET_UP = """CREATE TABLE IF NOT EXISTS @schema_version (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    version    integer NOT NULL,
    works_with integer NOT NULL  -- a release that knows a schema of a smaller number only must not be started
)"""
_INDEX = re.compile(r"CREATE (?:UNIQUE )?INDEX CONCURRENTLY (?:IF NOT EXISTS )?(\w+)")
_WORKS_WITH = re.compile(r"-- works with: (\d+)")

log = structlog.get_logger()


class TransferUnfinishedError(StoreError):
    """The schema is filled from SQLite, and not done: `rescind migrate --from` goes on with it."""


class SchemaMissingError(StoreError):
    """The schema is not there, or a step of this release is not done: `rescind migrate` does it."""


async def schema_version(session: Session) -> tuple[int, int]:
    """(version, works with) of the schema; (0, 0) if there is none."""
    if not await session.value("SELECT to_regclass($1) IS NOT NULL", session.named("schema_version")):
        return 0, 0
    row = await session.row("SELECT version, works_with FROM @schema_version")
    return (0, 0) if row is None else (row[0], row[1])


async def check(session: Session) -> None:
    """Raise if this release does not work with the schema.

    Raises `SchemaTooNewError`, `SchemaMissingError`, `TransferUnfinishedError`.
    """
    steps, (version, works_with) = migrations("postgres"), await schema_version(session)
    newest, needed = steps[-1].version, max(step.version for step in steps if not is_contract(step))
    if works_with > newest:
        raise _too_new(version, works_with, newest)
    if version < needed:
        what = f"has number {version}, and this release needs {needed}" if version else "is not there"
        raise SchemaMissingError(
            f"the schema {session.schema!r} {what}: run `rescind migrate`, or set RESCIND_MIGRATE=1 to have the first "
            "server do it"
        )
    if await session.value("SELECT to_regclass($1) IS NOT NULL", session.named(TRANSFER)):
        raise TransferUnfinishedError(
            f"the schema {session.schema!r} is being filled from a SQLite database: wait, or run `rescind migrate "
            "--from` again, which goes on where it was"
        )


def is_contract(step: Migration) -> bool:
    """Whether the step removes what the release before needs."""
    return "-- phase: contract" in step.sql


def works_with(steps: Sequence[Migration]) -> int:
    """The oldest schema number that a release must know to work with a schema on which these steps were done."""
    return max([INITIAL, *(int(number) for step in steps for number in _WORKS_WITH.findall(step.sql))])


async def pending(target: Target) -> list[Migration]:
    """The steps that are to be done. Raises as `migrate`."""
    session = await open_first(*_way(target))
    try:
        current, needs = await schema_version(session)
        steps = migrations("postgres")
        if needs > steps[-1].version:
            raise _too_new(current, needs, steps[-1].version)
        return [step for step in steps if step.version > current]
    except ERRORS as error:
        raise await fault_with_rights(session, error) from error
    finally:
        session.raw.terminate()


async def migrate(target: Target, tell: Callable[[str], None] = ignore_status) -> list[Migration]:
    """Migrate to the newest schema, making it if there is none; returns the steps done. Others wait meanwhile.

    Contract steps are left out while nodes of another release run.

    Raises `SchemaTooNewError`, `DatabaseRefusedError`, `StoreUnavailable`, `StoreError`.
    """
    session = await open_first(*_way(target))
    connection = session.raw
    try:
        # Only one node migrates. A session's lock: behind a pooler in transaction mode `DATABASE_DIRECT_URL` is needed.
        await connection.execute(_LOCK, target.schema, timeout=600)
        return await _migrate(session, target.schema, tell)
    except ERRORS as error:
        raise await fault_with_rights(session, error) from error
    finally:
        with suppress(*ERRORS):
            await connection.execute(_UNLOCK, target.schema)
        with suppress(*ERRORS):
            await connection.close(timeout=3)


def _way(target: Target) -> tuple[str, str, str]:
    if target.direct_url:
        return target.direct_url, target.schema, "RESCIND_DATABASE_DIRECT_URL"
    return target.url, target.schema, "RESCIND_DATABASE_URL"


async def _migrate(session: Session, schema: str, tell: Callable[[str], None]) -> list[Migration]:
    if not await session.value("SELECT to_regnamespace($1) IS NOT NULL", session.named("").removesuffix(".")):
        await session.script('CREATE SCHEMA "' + schema.replace('"', '""') + '"')
    await session.script(_SET_UP)
    steps, (current, needs) = migrations("postgres"), await schema_version(session)
    newest = steps[-1].version
    if needs > newest:
        raise _too_new(current, needs, newest)
    todo = [step for step in steps if step.version > current]
    if current and (others := await _others(session)):
        contract = next((place for place, step in enumerate(todo) if is_contract(step)), len(todo))
        if todo[contract:]:
            left = ", ".join(f"{step.version:04d} {step.name}" for step in todo[contract:])
            log.warning("contract_steps_wait", steps=left, nodes=others, hint="run `rescind migrate` without them")
            tell(f"Left out until no node of another release runs ({others}): {left}")
        todo = todo[:contract]
    for step in todo:
        if current:  # making it takes a tenth of a second
            log.info("upgrading_schema", to=step.version, of=newest, step=step.name)
            tell(f"Migrating the database: step {step.version} of {newest} ({step.name})")
        await _do(session, step, works_with([done for done in steps if done.version <= step.version]))
    if todo:
        async with session.raw.transaction():
            await make_ahead(session, datetime.now(UTC))
    return todo


async def _others(session: Session) -> str:
    """Nodes of another release whose lease has not ended; "" if there are none."""
    if not await session.value("SELECT to_regclass($1) IS NOT NULL", session.named("nodes")):
        return ""
    rows = await session.fetch(
        """SELECT name, version FROM @nodes WHERE NOT ended AND version <> $1
        AND until > extract(epoch FROM clock_timestamp()) * 1000000 ORDER BY name LIMIT 20""",
        __version__,
    )
    return ", ".join(f"{row['name']} {row['version']}" for row in rows)


def _too_new(version: int, works_with: int, newest: int) -> SchemaTooNewError:
    return SchemaTooNewError(
        f"the database's schema ({version}) works with releases that know schema {works_with} or later, and this one "
        f"knows {newest}: install a later release"
    )


async def _do(session: Session, step: Migration, needs: int) -> None:
    done = f"""INSERT INTO @schema_version (version, works_with) VALUES ({step.version}, {needs})
        ON CONFLICT (one) DO UPDATE SET version = excluded.version, works_with = excluded.works_with"""
    if "-- transaction: no" in step.sql:
        await _drop_invalid(session, step)
        await session.script("SET statement_timeout = 0")
        await session.script(step.sql, limit_s=FOREVER_S)
        await session.script(done)
        return
    for attempt in range(LOCK_TRIES):
        try:
            async with session.raw.transaction():
                # A step that waits for a lock makes all who come after it wait: it gives up, and comes again.
                await session.script("SET LOCAL lock_timeout = '200ms'; SET LOCAL statement_timeout = 0")
                await session.script(step.sql, limit_s=FOREVER_S)
                await session.script(done)
        except asyncpg.LockNotAvailableError:
            if attempt == LOCK_TRIES - 1:
                raise
            await asyncio.sleep(0.5)
        else:
            return


async def _drop_invalid(session: Session, step: Migration) -> None:
    for name in _INDEX.findall(step.sql):
        sql = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)"
        if await session.value(sql, session.named(name)) is False:
            await session.script(f"DROP INDEX CONCURRENTLY @{name}")
