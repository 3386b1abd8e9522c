"""What two stores on one PostgreSQL do to each other's transactions, and what becomes of a commit without an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any, TypeVar

import asyncpg
import pytest
from contract.store_cases import A, at, attempt, commit, event, new_cancellation, order, place, receipt, write
from postgres import give_back, take_schema
from providers import until

from app.core.pauses import Pause
from app.store import (
    Changes,
    Locks,
    OrderWrite,
    RecheckOrders,
    StoreConflict,
    StoreContention,
    StoreError,
    StoreFenced,
    StoreOutdated,
)
from app.store.postgres import connection as connections
from app.store.postgres.connection import Kind
from app.store.postgres.fate import has_happened
from app.store.postgres.store import PostgresStore, open_postgres

T = TypeVar("T")


class Pair:
    """Two stores on one schema."""

    def __init__(self, one: PostgresStore, other: PostgresStore) -> None:
        self.one, self.other = one, other

    async def waiting(self, work: Awaitable[T]) -> asyncio.Task[T]:
        """Begin `work`, which has to wait for a lock; returns when it does."""
        task = asyncio.ensure_future(work)

        async def waits() -> bool:
            assert not task.done(), task
            sql = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            found = await self.one._db.fetch(sql)
            return bool(found[0][0])

        await until(waits, "the wait for a lock")
        return task


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    schema = await take_schema()
    stores = [await open_postgres(schema.target) for _ in range(2)]
    yield Pair(*stores)
    for opened in stores:
        await opened.close()
    await give_back(schema)


async def found(store: PostgresStore, *names: str, told: Any = ()) -> tuple[dict[str, int], set[str]]:
    async with store.transaction() as transaction:
        look_up = await transaction.find([(A, name) for name in names], told)
    return {name: each.number for (_, name), each in look_up.orders.items()}, set(look_up.logged)


async def test_a_cancellation_is_never_moved_to_another_order(pair: Pair) -> None:
    await place(pair.one, 1, "o-1", cancellations=[(1, new_cancellation("can_1", "o-1"))])
    with pytest.raises(StoreConflict):
        await place(pair.other, 2, "o-2", cancellations=[(2, new_cancellation("can_1", "o-2"))])
    stored = await pair.one.cancellation("can_1")
    assert stored is not None
    assert stored.order == "o-1"


async def test_the_same_new_order_at_once_is_made_once(pair: Pair) -> None:
    async with pair.one.transaction() as first, pair.other.transaction() as second:
        for transaction in (first, second):
            assert not (await transaction.find([(A, "o-1")], [])).orders
        new = [
            Changes(orders=[write(pk, order("o-1"))], names=[(A, "o-1", pk)], events=[(pk, event("o-1", pk))])
            for pk in (1, 2)
        ]
        await first.commit(new[0])
        with pytest.raises(StoreContention):
            await second.commit(new[1])
    assert (await found(pair.one, "o-1"))[0] == {"o-1": 1}
    assert await pair.one.order_events(2) == []


async def test_an_order_by_its_id_and_by_its_alias_is_changed_by_one_after_the_other(pair: Pair) -> None:
    await place(pair.one, 1, "o-1")
    await commit(pair.one, names=[(A, "alias", 1)])

    async def read() -> str:
        async with pair.other.transaction() as transaction:
            return (await transaction.find([(A, "alias")], [])).orders[A, "alias"].told.cancelable

    async with pair.one.transaction() as transaction:
        await transaction.find([(A, "o-1")], [])
        reading = await pair.waiting(read())
        await transaction.commit(Changes(orders=[write(1, order("o-1"), cancelable="no")]))
    assert await reading == "no"


async def test_merges_that_cross_come_one_after_the_other(pair: Pair) -> None:
    for pk in (1, 2):
        await place(pair.one, pk, f"o-{pk}", event(f"o-{pk}", pk))
    async with pair.one.transaction() as transaction:
        await transaction.find([(A, "o-1"), (A, "o-2")], [])
        crossing = await pair.waiting(found(pair.other, "o-2", "o-1"))
        await transaction.merge(1, 2, [(A, "o-2")])
        await transaction.commit(Changes(orders=[write(1, order("o-1"))]))
    # One of the orders that it waited for is gone, and its name leads to the other one.
    assert (await crossing)[0] == {"o-1": 1, "o-2": 1}
    assert len(await pair.other.order_events(1)) == 2


async def test_an_order_that_became_another_one_meanwhile_is_looked_up_again(pair: Pair) -> None:
    for pk in (1, 2):
        await place(pair.one, pk, f"o-{pk}")
    async with pair.one.transaction() as transaction:
        await transaction.find([(A, "o-1"), (A, "o-2")], [])
        looking = await pair.waiting(found(pair.other, "o-2"))
        await transaction.merge(1, 2, [(A, "o-2")])
        await transaction.commit(Changes(orders=[write(1, order("o-1"))]))
    with pytest.raises(StoreContention):
        await looking  # it has not locked the order that the name leads to now
    assert (await found(pair.other, "o-2"))[0] == {"o-2": 1}


async def test_a_duplicate_that_waits_for_its_first_is_one(pair: Pair) -> None:
    await place(pair.one, 1, "o-1")
    told = event("o-1", 1)
    async with pair.one.transaction() as transaction:
        assert not (await transaction.find([(A, "o-1")], [told])).logged
        second = await pair.waiting(found(pair.other, "o-1", told=[told]))
        await transaction.commit(Changes(events=[(1, told)]))
    assert (await second)[1] == {told.id}


async def test_names_in_opposite_order_are_made_without_a_deadlock(pair: Pair) -> None:
    names = [f"o-{number}" for number in range(200)]
    for turn in range(5):

        async def make(store: PostgresStore, pk: int, names: list[str], turn: int = turn) -> str:
            given = [(A, f"{turn} {name}", pk) for name in names]
            try:
                await commit(store, orders=[write(pk, order(f"o-{pk}"))], names=given)
            except StoreContention as error:
                return str(error)
            return "made"

        pk = 10 * turn + 1
        first, second = make(pair.one, pk, names), make(pair.other, pk + 1, names[::-1])
        refused, made = sorted(await asyncio.gather(first, second))
        assert made == "made"
        assert refused.startswith(("another node made an order", "an order was made or merged"))  # no deadlock


async def test_a_recheck_waits_for_no_commit_and_is_overwritten_by_none(pair: Pair) -> None:
    await place(pair.one, 1, "o-1")
    async with pair.one.transaction() as transaction:
        await transaction.find([(A, "o-1")], [])
        await commit(pair.other, rechecks=[RecheckOrders(A, at(5))])
        await transaction.commit(Changes(orders=[write(1, order("o-1"), next_check_at=90)]))
    noted = await pair.one._db.fetch("SELECT account, at FROM @pending_rechecks")
    assert [tuple(row) for row in noted] == [(A, 5 * 60_000_000 + 1772366400123456)]


async def test_of_a_policy_s_cancels_each_is_counted_before_the_next_one_acts(pair: Pair) -> None:
    made = [(1, new_cancellation(f"can_{number}", "o-1", policy="p")) for number in range(19)]
    await place(pair.one, 1, "o-1", cancellations=made)

    async def used() -> int:
        async with pair.other.transaction(Locks(limits=True)) as transaction:
            return (await transaction.policy_usage(["p"], at(1)))["p"].in_hour

    async with pair.one.transaction(Locks(limits=True)) as transaction:
        assert (await transaction.policy_usage(["p"], at(1)))["p"].in_hour == 19
        second = await pair.waiting(used())
        await transaction.commit(Changes(cancellations=[(1, new_cancellation("can_20", "o-1", policy="p"))]))
    assert await second == 20


async def test_two_duplicates_of_a_policy_at_once_see_each_other(pair: Pair) -> None:
    async def others() -> list[int]:
        async with pair.other.transaction() as transaction:
            return [pk for _, _, pk, _ in await transaction.orders_with_fingerprints({A: [7]}, 9)]

    async with pair.one.transaction() as transaction:
        assert await transaction.orders_with_fingerprints({A: [7]}, 9) == []
        second = await pair.waiting(others())
        new = OrderWrite(1, order("o-1"), "yes", None, None, had_job=False, fingerprint=7)
        await transaction.commit(Changes(orders=[new], names=[(A, "o-1", 1)]))
    assert await second == [1]


async def test_when_a_pause_has_returned_no_claim_is_under_way(pair: Pair) -> None:
    paused = Pause(f"account:{A}", "stop", at(0), "ann")

    async def pause() -> None:
        async with pair.other.transaction(Locks(pauses=True)) as transaction:
            await transaction.commit(Changes(pauses=[paused]))

    claim = Locks(claims=frozenset({A}))
    async with pair.one.transaction(claim) as transaction:
        assert transaction.pauses == {}
        pausing = await pair.waiting(pause())
        await transaction.commit(Changes())
    await pausing
    for store in (pair.one, pair.other, pair.one):
        async with store.transaction(claim) as transaction:
            assert transaction.pauses == {paused.scope: paused}
    async with pair.one.transaction(Locks(pauses=True)) as transaction:
        await transaction.commit(Changes(resumes=[paused.scope]))
    async with pair.other.transaction() as transaction:
        assert transaction.pauses == {}


async def test_a_commit_by_a_former_configuration_or_lease_is_refused(pair: Pair) -> None:
    version = await pair.one.configuration_version()
    async with pair.one.transaction(Locks(version)):
        pass
    with pytest.raises(StoreOutdated):
        async with pair.one.transaction(Locks(version + 1)):
            pass
    await pair.one.join("one", "1")
    await pair.other.join("other", "1")
    claim = Locks(claims=frozenset({A, "b"}))
    await pair.one.take([f"account:{A}"])
    await pair.one.renew(0)  # a claim needs a lease that has `CLAIM_LEASE_S` left
    async with pair.one.transaction(claim) as transaction:
        assert transaction.owned == {A}
    async with pair.other.transaction(claim) as transaction:
        assert transaction.owned == frozenset()
    await pair.one._db.fetch("UPDATE @nodes SET ended = true WHERE epoch = $1", pair.one.epoch)
    with pytest.raises(StoreFenced):
        async with pair.one.transaction():
            pass
    await pair.other.leave()
    with pytest.raises(StoreFenced):
        async with pair.other.transaction():
            pass


async def test_a_lease_that_ends_before_the_first_commit_leaves_nothing_to_commit_with(pair: Pair) -> None:
    await pair.one.join("one", "1")
    await pair.one.leave()
    with pytest.raises(StoreFenced):
        async with pair.one.transaction():
            pass


async def test_who_is_canceled_while_a_transaction_is_rolled_back_leaves_no_transaction(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cancel(_connection: object) -> bool:
        raise asyncio.CancelledError

    pool = pair.one._db.pool(1, Kind.WRITES)

    async def fail() -> None:
        async with pool.lend() as session:
            await session.script("BEGIN")
            raise ValueError

    with monkeypatch.context() as patch:
        patch.setattr(connections, "_clean", cancel)
        with pytest.raises(asyncio.CancelledError):
            await fail()
    async with pool.lend() as session:
        assert not session.raw.is_in_transaction()


# -- The commit of which nobody knows -------------------------------------------------------------------


class Cut:
    """Cuts the connection of the next COMMIT: before it reaches the server, or after the server has done it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.after: bool | None = None
        execute = asyncpg.Connection.execute

        async def cut(connection: Any, query: str, *values: Any, **how: Any) -> str:
            if query == "COMMIT" and self.after is not None:
                after, self.after = self.after, None
                if after:
                    await execute(connection, query, *values, **how)
                connection.terminate()
            return await execute(connection, query, *values, **how)

        monkeypatch.setattr(asyncpg.Connection, "execute", cut)


async def test_a_commit_whose_answer_is_lost_is_known_to_have_happened(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = Cut(monkeypatch)
    cut.after = True
    await place(pair.one, 1, "o-1", event("o-1", 1), receipts=[receipt(1)])
    assert await pair.one.order_events(1) == [event("o-1", 1)]
    await commit(pair.one, events=[(1, event("o-1", 2))])


async def test_a_commit_that_was_lost_on_the_way_never_happens(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = Cut(monkeypatch)
    cut.after = False
    with pytest.raises(StoreContention):
        await place(pair.one, 1, "o-1", event("o-1", 1), receipts=[receipt(1)])
    assert await pair.one.order_events(1) == []
    assert await pair.one.receipt(1) is None
    await place(pair.one, 1, "o-1", event("o-1", 1), receipts=[receipt(1)])


async def test_what_was_asked_for_before_it_was_committed_never_is(pair: Pair) -> None:
    """A transaction that is thought lost may still be on its way."""

    async def late() -> None:
        async with pair.one.transaction() as transaction:
            for _ in range(2):  # should the answer to the question be lost, it is asked again
                assert not await has_happened(pair.one._db.target, 0, transaction._number)
            await transaction.commit(Changes(receipts=[receipt(1)]))

    with pytest.raises(StoreError):
        await late()
    assert await pair.one.receipt(1) is None


async def test_a_broken_connection_before_the_commit_is_contention(pair: Pair) -> None:

    async def broken() -> None:
        async with pair.one.transaction() as transaction:
            own = await transaction._session.value("SELECT pg_backend_pid()")
            await pair.other._db.fetch("SELECT pg_terminate_backend($1, 5000)", own)
            await transaction.find([(A, "o-1")], [])

    for _ in range(5):
        with pytest.raises(StoreContention):
            await broken()
    await place(pair.one, 1, "o-1", event("o-1", 1))


async def test_what_came_of_an_attempt_stays(pair: Pair) -> None:
    """A node that was stopped begins a further call; one that recovers its calls has read what has ended meanwhile."""
    await place(pair.one, 1, "o-1")

    async def recorded(store: PostgresStore, outcome: str) -> str:
        made = attempt(7, 1)
        await commit(store, attempts=[made.ended(at(1), None, outcome) if outcome else made])
        [stored] = await pair.one.attempts(1, 9)
        return stored.outcome if stored.ended_at is not None else "unfinished"

    assert await recorded(pair.one, "") == "unfinished"
    assert await recorded(pair.other, "interrupted") == "interrupted"
    assert await recorded(pair.one, "") == "interrupted"
    assert await recorded(pair.one, "succeeded") == "succeeded"
    assert await recorded(pair.other, "interrupted") == "succeeded"
