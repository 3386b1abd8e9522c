"""What holds only for PostgreSQL: who follows the log skips no event, in whatever order transactions commit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
from contract.store_cases import OPENERS, event, forget_schemas, place

from app.core.event import Event
from app.core.log_chain import seal
from app.store import Store
from app.store.postgres.connection import Session
from app.store.postgres.read.safe_position import SafePosition
from app.store.postgres.store import PostgresStore


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[PostgresStore]:
    opened = await OPENERS["postgres"](tmp_path)
    assert isinstance(opened, PostgresStore)
    yield opened
    await opened.close()
    await forget_schemas()


@asynccontextmanager
async def slow_commit(store: PostgresStore, told: Event, *, fails: bool = False) -> AsyncIterator[None]:
    """A transaction that has drawn the position of an event, and commits or fails at the end of the block."""
    async with store._db.writers.lend() as session:
        await session.script("BEGIN; SELECT pg_current_xact_id()")
        values = (told.account, 99, int(told.id[-16:], 16) >> 1, told.order, told.type, told.source.value)
        sql = """INSERT INTO @events (account, order_pk, key, name, type, source, occurred_at, received_at, body)
                 VALUES ($1, $2, $3, $4, $5, $6, 0, 0, '{}')"""
        await session.run(sql, *values)
        yield
        await session.script("ROLLBACK" if fails else "COMMIT")


async def orders_after(store: Store, cursor: str) -> list[str]:
    names, at_end = list[str](), False
    while not at_end:
        page = await store.follow(cursor, 2)
        names += [entry.event.order for entry in page.entries]
        cursor, at_end = page.cursor, page.at_end
    return names


@pytest.mark.parametrize("fails", [False, True])
async def test_nothing_is_skipped_of_a_transaction_that_drew_positions_first_and_commits_last(
    store: PostgresStore, *, fails: bool
) -> None:
    await place(store, 1, "o-1", event("o-1", 1))
    cursor = await store.log_end()
    async with slow_commit(store, event("slow", 2), fails=fails):
        await place(store, 2, "o-2", event("o-2", 3))
        for _ in range(3):
            page = await store.follow(cursor, 9)
            assert (page.entries, page.cursor, page.at_end) == ([], cursor, True)
        # Neither is it sealed, exported, or taken for the end; and lists, which need not wait, show it.
        last, _ = await store.log_bounds()
        assert cursor == await store.log_end() == f"{cursor.partition('.')[0]}.{last}"
        assert (await store.unsealed(last, 9)).leaves == []
        assert sum([len(page) async for page in store.log()]) == 1
        assert [each.order for each in await store.order_events(2)] == ["o-2"]
    assert await orders_after(store, cursor) == ([] if fails else ["slow"]) + ["o-2"]
    # The position of a transaction that failed stays free; a block ends before it.
    assert len((await store.unsealed(0, 9)).leaves) == (1 if fails else 3)
    assert (await store.unsealed(last, 9)).first == last + (2 if fails else 1)


async def test_a_cursor_that_another_node_gave_is_valid_before_this_one_knows_it_safe(
    store: PostgresStore, tmp_path: Path
) -> None:
    await place(store, 1, "o-1", event("o-1", 1))
    async with slow_commit(store, event("slow", 2)):
        start = await store.log_start()
        assert await orders_after(store, start) == ["o-1"]
        end = await store.log_end()
        other = await OPENERS["postgres"](tmp_path)
        # It has read no position before the slow transaction began, so it knows nothing safe, but what is sealed.
        page = await other.follow(end, 9)
        assert (page.entries, page.cursor) == ([], end)
        assert (await other.follow(start, 9)).entries == []
        found = await store.unsealed(0, 1)
        await store.save_blocks([seal(None, found.first, found.leaves, found.received, at=0)])
        # To this one the log is not shorter than what another has sealed of it.
        assert (await other.log_bounds())[0] == found.first
        third = await OPENERS["postgres"](tmp_path)
        assert await orders_after(third, start) == ["o-1"]
        await third.close()
    assert await orders_after(other, end) == ["slow"]
    await other.close()


async def test_a_transaction_elsewhere_delays_the_log_and_loses_nothing(store: PostgresStore) -> None:
    start = await store.log_start()
    async with store._db.writers.lend() as session:
        await session.script("BEGIN; SELECT pg_current_xact_id()")
        for number in range(100):  # more positions than are remembered
            await place(store, number + 1, f"o-{number}", event(f"o-{number}", number))
            assert (await store.follow(start, 9)).entries == []
        assert store.safe_position.delay_s > 0
        await session.script("COMMIT")
    assert await orders_after(store, start) == [f"o-{number}" for number in range(100)]
    assert store.safe_position.delay_s == 0


class ScriptedSession:
    """Answers as a server that assigns numbers of transactions and draws positions in a given order."""

    def __init__(self, *states: tuple[int, int, int]) -> None:
        self.states = list(states)

    async def value(self, _sql: str) -> int:
        return 0

    async def fetch(self, _sql: str) -> list[tuple[int, int, int]]:
        return [self.states.pop(0)]


async def test_a_position_that_was_drawn_after_the_snapshot_is_not_safe_by_it() -> None:
    position = SafePosition()
    # Transaction 10 begins after the first snapshot, and draws 5 before the position is read in the same statement.
    session = ScriptedSession((10, 10, 5), (10, 11, 5), (10, 12, 6), (11, 12, 6), (12, 12, 6))
    seen = [await position.advance(cast("Session", session)) for _ in range(2)]
    assert seen == [0, 5], "until 10 has ended"
    assert await position.advance(cast("Session", session)) == 6
    # A standby that had not heard of everything takes over.
    session.states = [(12, 12, 3), (12, 12, 3)]
    assert await position.advance(cast("Session", session)) == 3
