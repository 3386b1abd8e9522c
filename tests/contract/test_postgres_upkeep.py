"""What holds only for PostgreSQL: partitions are made ahead, and what nobody needs any more is deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from contract.store_cases import OPENERS, event, forget_schemas, order, place

from app.runtime import ids
from app.store import Store
from app.store.postgres.store import PostgresStore


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[PostgresStore]:
    opened = await OPENERS["postgres"](tmp_path)
    assert isinstance(opened, PostgresStore)
    yield opened
    await opened.close()
    await forget_schemas()


async def test_partitions_are_made_ahead_while_others_write(store: PostgresStore) -> None:
    later = datetime(2040, 11, 5, tzinfo=UTC)
    async with store._db.writers.lend() as session:
        # Holds the locks of a commit that is under way.
        await session.script("BEGIN; LOCK TABLE @events, @receipts, @attempts IN ROW EXCLUSIVE MODE")
        await store.keep_up(later)
        await session.script("ROLLBACK")
    await store.keep_up(later)
    pk = ids.at(int(datetime(2041, 2, 28, tzinfo=UTC).timestamp() * 1000))
    await place(store, pk, "o-1", event("o-1", 1))
    assert [told.order for told in await store.order_events(pk)] == ["o-1"]
    assert await store.order("acme", "o-1") == (pk, order("o-1"))
    for name in ("events_2040_11", "events_2041_02", "receipts_2041_02", "attempts_2041_02"):
        assert await _exists(store, name), name
    for name in ("events_2041_03", "events_2040_10"):
        assert not await _exists(store, name), name


async def test_commits_and_nodes_of_long_ago_are_forgotten(store: PostgresStore) -> None:
    now = int(datetime.now(UTC).timestamp() * 1e6)
    hour, day = 3_600_000_000, 86_400_000_000
    async with store._db.writers.lend() as session:
        ages = [(1, now - hour), (2, now - hour // 4), (3, now - 2 * hour)]
        await session.run_many("INSERT INTO @commits (epoch, number, at, committed) VALUES (-7, $1, $2, true)", ages)
        sql = """INSERT INTO @nodes (number, epoch, until, ended, draining, name, version, last_id, started_at)
                 VALUES ($1, $2, $3, true, false, '', '', 0, 0)"""
        await session.run_many(sql, [(501, -1, now - 2 * day), (502, -2, now - 2 * day), (503, -3, now - hour)])
        await session.run("INSERT INTO @ownership (subject, epoch) VALUES ('account:of the dead', -2)")
    await store.keep_up(datetime.now(UTC))
    async with store._db.borrow() as session:
        assert [row[0] for row in await session.fetch("SELECT number FROM @commits WHERE epoch = -7")] == [2]
        rows = await session.fetch("SELECT number FROM @nodes WHERE epoch < 0 ORDER BY number")
        assert [row[0] for row in rows] == [502, 503]


async def _exists(store: Store, table: str) -> bool:
    assert isinstance(store, PostgresStore)
    async with store._db.borrow() as session:
        return bool(await session.value("SELECT to_regclass($1) IS NOT NULL", session.named(table)))
