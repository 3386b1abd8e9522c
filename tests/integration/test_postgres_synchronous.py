"""Commits that wait for a synchronous standby: what only the primary has is not taken for committed."""

from __future__ import annotations

import asyncio
from asyncio import to_thread

import asyncpg
import pytest
from postgres import PostgresServer
from providers import until

from app.store.opening import open_store
from app.store.postgres.connection import Target, qualified
from app.store.postgres.fate import has_happened


async def test_a_commit_that_only_the_primary_has_waits_for_the_standby() -> None:
    primary = PostgresServer()
    await to_thread(primary.start)
    standby = await to_thread(primary.copy)
    try:
        target = Target(primary.url)
        await (await open_store(target, migrates=True)).close()
        await to_thread(standby.start)
        synchronous = f"ALTER SYSTEM SET synchronous_standby_names = '{standby.name}'"
        await to_thread(primary.execute, synchronous, "SELECT pg_reload_conf()")
        connection, client = await asyncpg.connect(primary.url), await asyncpg.connect(primary.url)

        async def streams() -> bool:
            return bool(await connection.fetchval("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"))

        await until(streams, "the standby to be synchronous")
        await to_thread(standby.stop)
        # As the ledger's client does when the answer to its COMMIT does not come: it cancels, and the primary keeps it.
        commit = "INSERT INTO @commits (epoch, number, at, committed) VALUES (1, 1, 0, true)"
        committing = asyncio.create_task(client.execute(qualified(commit, target.schema)))

        async def waiting() -> bool:
            sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
            return bool(await connection.fetchval(sql))

        await until(waiting, "the commit to wait for the standby")
        committing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await committing

        async def kept() -> bool:
            return bool(await connection.fetchval(qualified("SELECT count(*) FROM @commits", target.schema)))

        await until(kept, "the commit on the primary alone")
        asked = asyncio.create_task(has_happened(target, 1, 1))

        async def waits() -> bool:
            return asked.done() or await waiting()

        await until(waits, "whoever asks to wait for the standby")
        assert not asked.done(), "it was taken for committed, and a failover would lose it"
        await to_thread(standby.start)
        assert await asked
        await connection.close()
        await client.close()
    finally:
        await to_thread(standby.remove)
        await to_thread(primary.remove)
