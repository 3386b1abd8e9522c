"""On PostgreSQL others write while orders are rebuilt: nothing newer is overwritten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from integration.test_rebuild import gather, world
from postgres import give_back, take_schema

from app.engine.rebuild import check, rebuild
from app.store import OrderWrite, codec
from app.store.opening import open_store
from app.store.postgres.store import PostgresStore

DAMAGE = "UPDATE @orders SET last_event_at = last_event_at - 1"


@pytest.fixture
async def store() -> AsyncIterator[PostgresStore]:
    schema = await take_schema()
    opened = await open_store(schema.target)
    assert isinstance(opened, PostgresStore)
    yield opened  # closed by the world
    await give_back(schema)


async def execute(store: PostgresStore, sql: str) -> None:
    async with store._db.writers.lend() as session:
        await session.run(sql)


async def test_a_rebuild_beside_webhooks_overwrites_none_of_them(store: PostgresStore, tmp_path: Path) -> None:
    async with world(tmp_path, seed=1, store=store) as it:

        async def take_webhooks(number: int) -> None:
            for _ in range(number):
                await it.webhook()

        await take_webhooks(20)
        taking = asyncio.create_task(take_webhooks(150))
        repaired = 0
        while not taking.done():
            await execute(store, DAMAGE)
            repaired += (await gather(rebuild(store, it.directory.view, page=4)))[2]
        await taking
        assert repaired
        assert (await gather(check(store)))[0] == []


async def test_orders_that_others_have_changed_are_looked_at_again(store: PostgresStore, tmp_path: Path) -> None:
    async with world(tmp_path, seed=2, store=store) as it:
        for _ in range(20):
            await it.webhook()
        read = await store.stored_orders(None, 99)
        await execute(store, DAMAGE)
        changed = await store.stored_again(read)
        assert changed != read
        pk, aggregate = read[0].pk, codec.read_aggregate(read[0].order[4])  # type: ignore[index]
        write = OrderWrite(pk, aggregate, "yes", None, None, had_job=False)
        assert not await store.replace_orders([write], [], read)
        assert await store.stored_again(read) == changed
        assert await store.replace_orders([write], [], changed[:1])
        assert (await gather(rebuild(store, it.directory.view)))[2] >= len(read) - 1
        assert (await gather(check(store)))[0] == []
