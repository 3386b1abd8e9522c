"""Leases and ownership, on one store for each node."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest
from postgres import new_target
from pydantic import SecretStr

from app.config.settings import Settings
from app.store import Resource, StoreFenced
from app.store.node_protocol import EVERYTHING, LEASE_S, Errand, LiveNode
from app.store.postgres.connection import Target
from app.store.postgres.nodes import clock_offset_s
from app.store.postgres.store import PostgresStore, open_postgres
from app.store.sqlite import open_sqlite
from app.store.use import Use

NOBODY = 0


@asynccontextmanager
async def nodes(number: int, target: Target | None = None) -> AsyncIterator[Sequence[PostgresStore]]:
    target = target or new_target()
    stores = [await open_postgres(target, migrates=True) for _ in range(number)]
    try:
        for place, store in enumerate(stores):
            await store.join(f"node-{place}", "1")
        yield stores
    finally:
        for store in stores:
            await store.close()


async def die(store: PostgresStore) -> None:
    """Let the lease of a node run out."""
    assert store.lease is not None
    async with store._db.writers.lend() as session:
        await session.run("UPDATE @nodes SET until = 0 WHERE epoch = $1", store.lease.epoch)


async def test_nodes_have_numbers_and_epochs_of_their_own() -> None:
    async with nodes(3) as stores:
        leases = [store.lease for store in stores if store.lease is not None]
        assert len({lease.number for lease in leases}) == 3
        assert [lease.epoch for lease in leases] == sorted({lease.epoch for lease in leases})
        renewal = await stores[0].renew(7, draining=True)
        assert {node.name: node.draining for node in renewal.nodes} == {
            "node-0": True,
            "node-1": False,
            "node-2": False,
        }
        assert abs(renewal.offset_s) < 1
        await stores[1].leave()
        assert {node.name for node in (await stores[0].renew(7)).nodes} == {"node-0", "node-2"}


def test_a_slow_response_is_no_difference_of_clocks() -> None:
    # when the clock showed 100 s: asked at, answered at
    cases = {(99.9, 100.1): 0.0, (90.0, 100.1): 0.0, (99.9, 110.0): 0.0, (97.0, 98.5): 1.5, (101.5, 103.0): -1.5}
    assert {case: clock_offset_s(100.0, *case) for case in cases} == cases


async def test_a_subject_has_one_owner_and_is_taken_from_the_dead() -> None:
    async with nodes(2) as (one, other):
        assert await one.take({"account:a", "account:b"}) == {"account:a": NOBODY, "account:b": NOBODY}
        assert await other.take({"account:a", "account:c"}) == {"account:c": NOBODY}
        owners = await other.owners({"account:a", "account:c", "account:d"})
        assert {subject: node.name for subject, node in owners.items()} == {
            "account:a": "node-0",
            "account:c": "node-1",
        }
        assert await one.owned() == {"account:a", "account:b"}
        await one.release({"account:a"})
        assert await one.owned() == {"account:b"}
        assert await other.take({"account:a", "account:b"}) == {"account:a": NOBODY}
        assert one.lease is not None
        epoch = one.lease.epoch
        await die(one)
        assert await other.take({"account:b"}) == {"account:b": epoch}
        with pytest.raises(StoreFenced):
            await one.renew(0)
        with pytest.raises(StoreFenced):
            await one.take({"account:e"})
        await one.join("node-0", "1")
        assert one.lease.epoch > epoch
        await one.release({"account:b"})  # not its own any more
        assert (await one.owners({"account:b"}))["account:b"].name == "node-1"


async def test_taking_waits_for_claims_under_way() -> None:
    async with nodes(2) as (one, other):
        await one.take({"account:a"})
        assert one.lease is not None
        async with one._db.writers.lend() as session, session.raw.transaction():
            await session.run("SELECT 1 FROM @nodes WHERE epoch = $1 FOR KEY SHARE", one.lease.epoch)
            await one.renew(0)  # a heartbeat does not wait for the claim
            await die(one)
            taking = asyncio.create_task(other.take({"account:a"}))
            while not await session.value("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                assert not taking.done()
        assert await taking == {"account:a": one.lease.epoch}


async def test_a_lease_that_ran_out_and_was_ended_by_nobody_is_prolonged() -> None:
    async with nodes(1) as (store,):
        await store.take({"account:a"})
        await die(store)
        with pytest.raises(StoreFenced):
            await store.take({"account:b"})
        await store.renew(0)
        assert await store.take({"account:b"}) == {"account:b": NOBODY}


async def test_only_the_owner_of_an_account_writes_what_its_flows_keep() -> None:
    async with nodes(2) as (former, latter):
        await former.save_resources([Resource("accounts", "a", 1, datetime.now(UTC), "test", b"sealed")], [], [])
        await former.take(["account:a"])
        await former.save_account_secrets("a", b"first")
        with pytest.raises(StoreFenced):
            await latter.save_account_secrets("a", b"not its own")
        await die(former)
        await latter.take(["account:a"])
        assert await latter.account_secrets("a") == b"first"
        await latter.save_account_secrets("a", b"second")
        with pytest.raises(StoreFenced):
            await former.save_account_secrets("a", b"late")
        assert await former.account_secrets("a") == b"second"


async def test_a_renewal_tells_when_the_first_lease_of_another_node_ends() -> None:
    async with nodes(3) as (one, other, third):
        for store, more_s in ((other, 300), (third, 600)):  # ends that a stall of the machine does not reach
            assert store.lease is not None
            async with one._db.writers.lend() as session:
                sql = "UPDATE @nodes SET until = until + $2::bigint WHERE epoch = $1"
                await session.run(sql, store.lease.epoch, more_s * 1_000_000)
        assert 200 < (await one.renew(0)).next_end_s <= LEASE_S + 300
        await other.leave()
        assert 500 < (await one.renew(0)).next_end_s <= LEASE_S + 600
        await third.leave()
        assert (await one.renew(0)).next_end_s == math.inf


async def test_errands_reach_the_owner_and_come_back() -> None:
    async with nodes(2) as (one, other):
        await one.take({"account:a"})
        errand = Errand(17, "account:a", "lane", "\0 is not text")
        with pytest.raises(Exception, match="0x00"):
            await other.ask(errand)
        errand = errand._replace(request="how are you?")
        await other.ask(errand)
        assert (await other.changes()).errands == ()
        assert (await one.changes()).errands == (errand,)
        assert await other.answers([17]) == {}
        await one.answer(17, "well")
        await one.answer(17, "a second answer")
        assert await other.answers([17]) == {17: "well"}
        assert (await one.changes()).errands == ()
        assert (await one.changes()).versions.keys() == {"configuration", "keys", "pauses", "sessions"}


async def test_nodes_wake_each_other_also_after_their_connections_broke() -> None:
    async with nodes(2) as (one, other):
        heard = other.listen()
        assert await anext(heard) == {EVERYTHING}
        speaking = one.listen()
        await anext(speaking)
        await one.wake({"account:a", "account:b"})
        assert await anext(heard) == {"account:a", "account:b"}
        await one.wake({f"account:{number:08}" for number in range(1000)})
        assert await anext(heard) == {EVERYTHING}
        assert other._wake_line is not None
        other._wake_line.terminate()
        assert await anext(heard) == {EVERYTHING}
        await one.wake({"account:c"})
        assert await anext(heard) == {"account:c"}
        await heard.aclose()
        await speaking.aclose()


async def test_a_node_has_as_many_connections_as_its_setting_says() -> None:
    made = new_target()
    settings = Settings(database_url=made.url, database_schema=made.schema, secret_key=SecretStr("k" * 43))
    assert isinstance(settings.database, Target)
    target = replace(made, writers=settings.database.writers)
    observer = await asyncpg.connect(made.url)

    async def clients() -> set[int]:
        rows = await observer.fetch("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'")
        return {row["pid"] for row in rows}

    before = await clients()
    async with nodes(1, target) as (store,), AsyncExitStack() as lent:
        hearing = store.listen()
        assert await anext(hearing) == {EVERYTHING}
        for _ in range(store.writers):
            await lent.enter_async_context(store._db.writers.lend())
        for use in Use:
            await lent.enter_async_context(store._db.borrow(use))
        assert len(await clients() - before) == settings.database_connections
        await hearing.aclose()
    await observer.close()


async def test_a_sqlite_file_has_one_node_that_owns_everything(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "rescind.db")
    renewal = await store.join("node", "1")
    assert renewal.nodes == (LiveNode(renewal.lease.number, 0, "node", "1", draining=False),)
    assert renewal.lease.left_s == float("inf")
    assert await store.take({"account:a"}) == {"account:a": NOBODY}
    assert (await store.changes()).accounts == frozenset()
    await store.close()
