"""Connections after a change of roles: a server that is read-only now is left by all, though it answers."""

from __future__ import annotations

import asyncio
from asyncio import to_thread
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import asyncpg
import pytest
from postgres import PostgresServer, shared_url
from providers import WAIT_S, until

from app.store.postgres.connection import Connections, Kind, Target
from app.store.postgres.errors import ERRORS
from app.store.protocol import StoreUnavailable
from app.store.use import Use

READ_ONLY = ("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")


@pytest.fixture
async def pair() -> AsyncIterator[tuple[PostgresServer, PostgresServer]]:
    """A primary, and its standby."""
    primary = PostgresServer()
    await to_thread(primary.start)
    standby = await to_thread(primary.copy)
    await to_thread(standby.start)
    yield primary, standby
    await to_thread(standby.remove)
    await to_thread(primary.remove)


async def test_readers_leave_a_primary_that_writers_found_read_only(
    pair: tuple[PostgresServer, PostgresServer],
) -> None:
    former, standby = pair
    # Without target_session_attrs, which nobody must know of: the first host that answers would do.
    db = Connections(Target(f"postgresql://postgres@127.0.0.1:{standby.port},127.0.0.1:{former.port}/postgres"))
    line = db.pool(1, Kind.WRITES)
    listener = await asyncpg.connect(former.url)
    db.watch(listener)
    try:
        for use in Use:
            assert await port(db, use) == former.port
        async with line.lend() as session:
            await session.script("CREATE TABLE written (n bigint)")
        async with db.borrow(Use.LOOKUPS) as borrowed:
            await to_thread(former.execute, *READ_ONLY)
            await to_thread(standby.execute, "SELECT pg_promote()")

            async def written() -> bool:
                with suppress(*ERRORS):
                    async with line.lend() as session:
                        sql = "INSERT INTO written VALUES (1) RETURNING current_setting('port')::int"
                        return await session.value(sql) == standby.port
                return False

            await until(written, "a write on the new primary")
            assert await borrowed.value("SELECT 1") == 1, "what runs is not cut off"
        for use in Use:
            assert await port(db, use) == standby.port
        assert listener.is_closed()
    finally:
        await db.close()


async def test_a_commit_that_waits_for_the_standby_that_was_promoted_is_cut(
    pair: tuple[PostgresServer, PostgresServer],
) -> None:
    former, standby = pair
    db = Connections(Target(f"postgresql://postgres@127.0.0.1:{former.port},127.0.0.1:{standby.port}/postgres"))
    line = db.pool(1, Kind.WRITES)
    watcher = await asyncpg.connect(former.url)
    try:
        async with line.lend() as session:
            await session.script("CREATE TABLE written (n bigint)")
            # Nobody of that name is there, so that the commit waits for ever.
            await to_thread(former.execute, "ALTER SYSTEM SET synchronous_standby_names = 'gone'", READ_ONLY[1])
            commits: list[asyncio.Task[None]] = []

            async def waits() -> bool:
                # The server reads its settings a moment later: the first commits may not wait yet.
                if not commits or commits[-1].done():
                    sql = "BEGIN; INSERT INTO written VALUES (1); COMMIT"
                    commits.append(asyncio.create_task(session.script(sql)))
                return await _waits(watcher)

            await until(waits, "the commit to wait")
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                async with db.writers.lend() as other:
                    await other.script("BEGIN READ ONLY; INSERT INTO written VALUES (2)")
            with pytest.raises(ERRORS):
                async with asyncio.timeout(WAIT_S):
                    await commits[-1]
            assert session.raw.is_closed()
    finally:
        await watcher.close()
        await db.close()


async def test_a_reader_that_came_before_the_promotion_goes_to_the_new_primary_after_it(
    pair: tuple[PostgresServer, PostgresServer],
) -> None:
    former, standby = pair
    db = Connections(Target(f"postgresql://postgres@127.0.0.1:{former.port},127.0.0.1:{standby.port}/postgres"))
    try:
        await to_thread(former.execute, *READ_ONLY)
        assert await port(db, Use.LOOKUPS) == former.port
        await to_thread(standby.execute, "SELECT pg_promote()")
        assert await port(db, Use.LOOKUPS) == standby.port
    finally:
        await db.close()


async def _waits(watcher: Any) -> bool:
    return bool(await watcher.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"))


async def test_a_standby_is_not_asked_in_place_of_the_primary(
    pair: tuple[PostgresServer, PostgresServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    primary, standby = pair
    monkeypatch.setattr("app.store.postgres.connection.PATIENCE_S", 0.0)
    db = Connections(Target(standby.url, replica_url=standby.url))
    try:
        for use in Use:
            if use in (Use.LISTS, Use.SEARCHES):
                assert await port(db, use) == standby.port
                continue
            with pytest.raises(StoreUnavailable, match="a standby, or read-only"):
                await port(db, use)
    finally:
        await db.close()
    # A primary that takes no writes for now is read all the same.
    await to_thread(primary.execute, *READ_ONLY)
    db = Connections(Target(primary.url))
    try:
        assert await port(db, Use.LOOKUPS) == primary.port
        with pytest.raises(StoreUnavailable, match="a standby, or read-only"):
            async with db.writers.lend():
                pass
    finally:
        await db.close()


@pytest.mark.parametrize("is_canceled", [True, False], ids=["canceled", "broken"])
async def test_a_connection_whose_server_was_not_looked_at_to_the_end_is_closed(
    monkeypatch: pytest.MonkeyPatch, is_canceled: bool
) -> None:
    opened, asked = list[Any](), asyncio.Event()

    async def fetchval(connection: Any, _sql: str) -> None:
        opened.append(connection)
        asked.set()
        if not is_canceled:
            raise ConnectionResetError("it broke")
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncpg.Connection, "fetchval", fetchval)
    monkeypatch.setattr("app.store.postgres.connection.PATIENCE_S", 0.0)
    db = Connections(Target(shared_url()))
    task = asyncio.create_task(db.fetch("SELECT 1", use=Use.LOOKUPS))
    await asked.wait()
    if is_canceled:
        task.cancel()
    with pytest.raises(asyncio.CancelledError if is_canceled else StoreUnavailable):
        await task
    assert [connection.is_closed() for connection in opened] == [True]
    await db.close()


async def port(db: Connections, use: Use) -> int:
    ((number,),) = await db.fetch("SELECT current_setting('port')::int", use=use)
    return int(number)
