"""A network that swallows what is sent to PostgreSQL holds up a node only so long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from postgres import give_back, take_schema
from postgres_proxy import Fault, PostgresProxy
from providers import WAIT_S, until

from app.store import StoreContention, StoreUnavailable
from app.store.node_protocol import LEASE_S
from app.store.postgres import connection
from app.store.postgres.store import PostgresStore, open_postgres
from app.store.use import Use

SHORT_S = 1.5


@asynccontextmanager
async def opened() -> AsyncIterator[tuple[PostgresStore, PostgresProxy]]:
    """A store that has a lease, and the proxy through which it reaches its database."""
    schema = await take_schema()
    async with PostgresProxy.before(schema.target.url) as proxy:
        store = await open_postgres(replace(schema.target, url=proxy.url, direct_url=proxy.url))
        try:
            await store.join("a", "1")
            yield store, proxy
        finally:
            async with asyncio.timeout(WAIT_S):
                await store.close()
    await give_back(schema)


def test_the_limits_leave_a_lease_time_for_another_try() -> None:
    assert connection.HEARTBEAT_LINE_S <= 3
    assert connection.HEARTBEAT_LINE_S + connection.CONNECT_S < LEASE_S / 2
    assert connection.LEDGER_S <= 5


async def test_each_statement_that_is_not_answered_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened() as (store, proxy):

        async def begin() -> None:
            # What it waited for is not known to be written, so the ledger may try it again at once.
            with pytest.raises(StoreContention):
                async with store.transaction():
                    pass

        async def read() -> None:
            with pytest.raises(StoreUnavailable, match="TimeoutError"):
                async with store._db.borrow(Use.LISTS, limit_s=60) as session:
                    await session.value("SELECT 1")

        async def renew() -> None:
            assert (await store.renew(0)).nodes

        # Each limit alone is short, so each of these can only end by its own one.
        cases: list[tuple[str, Callable[[], Awaitable[None]], int]] = [
            ("nodes.HEARTBEAT_LINE_S", renew, 1),
            ("nodes.HEARTBEAT_LINE_S", renew, 2),
            ("transaction.LEDGER_S", begin, 1),
            ("transaction.LEDGER_S", begin, 2),
            ("connection.STATEMENT_S", read, 3),
        ]
        for limit, work, number in cases:
            async with store.transaction():  # the connections are there, and work
                assert await store._db.fetch("SELECT 1")
            with monkeypatch.context() as patch:
                patch.setattr("app.store.postgres.connection.STATEMENT_S", 2 * WAIT_S)
                patch.setattr(f"app.store.postgres.{limit}", SHORT_S)
                proxy.fail(Fault.STALL, number)
                async with asyncio.timeout(WAIT_S):
                    await work()
                assert proxy.harmed, (limit, number)


async def test_a_line_that_swallows_what_it_is_told_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.store.postgres.waking.CONNECT_S", SHORT_S)
    monkeypatch.setattr("app.store.postgres.waking.RECONNECT_S", 0.0)
    async with opened() as (store, proxy):
        heard = store.listen()
        try:
            async with asyncio.timeout(WAIT_S):
                await anext(heard)
                proxy.fail(Fault.STALL, 1)
                await store.wake(["account:a"])
                await anext(heard)  # it listens anew
                asking = asyncio.create_task(anext(heard))

                async def told() -> bool:
                    await store.wake(["account:b"])
                    return asking.done()

                await until(told, "another node heard it")
                assert await asking == {"account:b"}
            assert proxy.harmed
        finally:
            await heard.aclose()
