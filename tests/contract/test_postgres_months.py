"""What holds only for PostgreSQL: months that are over are dropped, and nobody waits for that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest
from contract.store_cases import A, attempt, commit, event, order, place, receipt
from msgspec.structs import replace
from postgres import new_target
from providers import WAIT_S

from app.contract import Phase
from app.core.checkpoint import CheckpointKey
from app.engine.log_verify import verify, verify_end, verify_erasures
from app.store import Changes, CursorFault, LogCursorError
from app.store.opening import open_store
from app.store.postgres.partitions import first_id, month_after, partition_of
from app.store.postgres.store import PostgresStore
from app.workers.log_sealer import LogSealer

KEY = CheckpointKey(bytes(32))


class Months(NamedTuple):
    """Times as of the test: others may run when the month ends."""

    now: datetime
    next: datetime
    later: datetime
    """The present month is over by then."""


@pytest.fixture
def months() -> Months:
    now = datetime.now(UTC)
    following = month_after(datetime(now.year, now.month, 1, tzinfo=UTC))
    return Months(now, following, following + timedelta(days=1))


@pytest.fixture
async def store() -> AsyncIterator[PostgresStore]:
    opened = await open_store(new_target(), migrates=True)  # not shared: the present month is gone afterwards
    assert isinstance(opened, PostgresStore)
    yield opened
    await opened.close()


def over(id: str) -> dict[str, object]:
    return {"aggregate": order(id, phase=Phase.COMPLETED)}


async def faults(store: PostgresStore) -> list[object]:
    _, last = await store.block_numbers()
    found: list[object] = [fault async for step in verify(store, KEY.public, 1, last) for fault in step.faults]
    return [*found, *[fault async for fault in verify_erasures(store)], *await verify_end(store)]


async def waits_to_detach(store: PostgresStore) -> bool:
    sql = """SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'ALTER TABLE%DETACH%' AND state = 'active'
             AND wait_event_type = 'Lock' AND query LIKE '%' || $1 || '%'"""
    return bool((await store._db.fetch(sql, store._db.target.schema))[0][0])


async def waits_for_an_order(store: PostgresStore) -> bool:
    sql = """SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%FOR UPDATE' AND state = 'active'
             AND wait_event_type = 'Lock' AND query LIKE '%' || $1 || '%'"""
    return bool((await store._db.fetch(sql, store._db.target.schema))[0][0])


async def locks_waited_for(store: PostgresStore) -> list[str]:
    """The modes in which somebody waits for the table of events."""
    async with store._db.borrow() as session:
        sql = "SELECT mode FROM pg_locks WHERE relation = to_regclass($1) AND NOT granted"
        return [mode for (mode,) in await session.fetch(sql, session.named("events"))]


async def test_a_month_of_which_nothing_goes_on_is_dropped_while_others_read_and_write(
    store: PostgresStore, months: Months
) -> None:
    start = await store.log_start()
    for number in range(1, 6):
        await place(store, number, f"o-{number}", event(f"o-{number}", number), **over(f"o-{number}"))
    await commit(store, receipts=[receipt(7)])
    pk = first_id(months.next) + 7
    await place(store, pk, "new", event("new", 9))
    await LogSealer(store, KEY).seal()
    names = {partition_of(table, months.now) for table in ("events", "receipts", "attempts")}
    async with store._db.writers.lend() as session, session.raw.transaction():
        await session.fetch("SELECT 1 FROM @events")
        dropping = asyncio.create_task(store.drop_months(months.later))
        async with asyncio.timeout(WAIT_S):
            while not await waits_to_detach(store):
                assert not dropping.done(), "whoever reads is waited for"
        for number in range(5):
            await place(store, pk + 1 + number, f"next-{number}", event(f"next-{number}", number))
            assert await waits_to_detach(store)
            assert await locks_waited_for(store) == [], "nobody stands behind a lock on the whole table"
    assert set(await asyncio.wait_for(dropping, WAIT_S)) == names
    for number in range(1, 6):
        assert await store.order(A, f"o-{number}") is None
        assert await store.event(event(f"o-{number}", number).id) is None
    assert await store.receipt(7) is None
    assert [told.order for told in await store.order_events(pk)] == ["new"]
    with pytest.raises(LogCursorError) as raised:
        await store.follow(start, 9)
    assert raised.value.fault is CursorFault.PRUNED
    assert next(entry.event.order for entry in (await store.follow(raised.value.resume, 9)).entries) == "new"
    assert await faults(store) == []
    assert await store.drop_months(months.later) == []
    # The name is free: the order begins anew.
    await place(store, pk + 9, "o-1", event("o-1", 1))
    assert await store.order(A, "o-1") == (pk + 9, order("o-1"))


async def test_what_goes_on_keeps_its_month(store: PostgresStore, months: Months) -> None:
    await place(store, 1, "o-1", event("o-1", 1), event("o-1", 2), **over("o-1"))
    await place(store, 2, "o-2", event("o-2", 3))
    await place(store, 3, "o-3", event("o-3", 4), **over("o-3"))
    await commit(store, receipts=[receipt(7, "quarantined")], attempts=[attempt(5, 2)])
    await LogSealer(store, KEY).seal()
    assert await store.drop_months(months.later) == []
    assert [await store.order(A, name) is None for name in ("o-1", "o-2", "o-3")] == [True, False, True]
    assert await store.event(event("o-1", 1).id) is None
    assert [told.order for told in await store.order_events(2)] == ["o-2"]
    assert await store.receipt(7) is not None
    assert await store.attempt(5) is not None
    assert await faults(store) == []
    # What is left is still verified.
    async with store._db.writers.lend() as session:
        await session.run("UPDATE @events SET type = 'other' WHERE order_pk = 2")
    assert [fault.problem for fault in await faults(store)] == ["changed"]  # type: ignore[attr-defined]


async def test_an_order_that_is_heard_of_while_its_month_goes_stays(store: PostgresStore, months: Months) -> None:
    await place(store, 1, "o-1", event("o-1", 1), **over("o-1"))
    late = replace(event("o-1", 2), received_at=months.later)
    async with store.transaction() as transaction:
        await transaction.find([(A, "o-1")], [])
        dropping = asyncio.create_task(store.drop_months(months.later))
        async with asyncio.timeout(WAIT_S):
            while not await waits_for_an_order(store):
                assert not dropping.done(), "the order is locked"
        await transaction.commit(Changes(events=[(1, late)]))
    assert partition_of("events", months.now) not in await asyncio.wait_for(dropping, WAIT_S)
    assert await store.order(A, "o-1") is not None
    assert [told.id for told in await store.order_events(1)] == [event("o-1", 1).id, late.id]
