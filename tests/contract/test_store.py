"""What every store must do with transactions. An implementation joins the suites by a line in `OPENERS`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from contract.store_cases import (
    ALL,
    A,
    Opener,
    at,
    attempt,
    commit,
    event,
    job,
    new_cancellation,
    order,
    place,
    receipt,
    write,
)
from providers import WAIT_S

from app.contract import Facts, Order, Source
from app.core.aggregate import OrderAggregate
from app.store import Changes, Store, StoreError, codec
from app.store.filters import CancellationFilter
from app.store.migrations import migrations
from app.store.records import listed_key

# -- Transactions ---------------------------------------------------------------------------------------


async def test_find_gives_cases_by_any_name_and_the_events_that_are_in_the_log(store: Store) -> None:
    first, second = event("o-1", 1), event("alias", 2)
    await place(store, 7, "o-1", first, second)
    await commit(store, names=[(A, "alias", 7)])
    async with store.transaction() as transaction:
        names = [(A, "o-1"), (A, "alias"), (A, "o-2"), ("other", "o-1"), (A, "O-1"), (A, "")]
        found = await transaction.find(names, [first, second, event("o-1", 3), event("o-2", 1)])
    both = (first.id, second.id), (second.id, first.id)
    shown = {name: (each.number, codec.read_aggregate(each.state)) for name, each in found.orders.items()}
    assert shown == {(A, "o-1"): (7, order("o-1")), (A, "alias"): (7, order("o-1"))}
    keys = {"".join(map(listed_key, ids)) for ids in both} if store.single_writer else {None}
    assert {order.keys for order in found.orders.values()} <= keys
    assert found.logged == {first.id, second.id}


async def test_find_finds_nothing_in_an_empty_store_and_nothing_for_nothing(store: Store) -> None:
    async with store.transaction() as transaction:
        for names, events in (([], []), ([(A, "o-1")], [event("o-1", 1)])):
            found = await transaction.find(names, events)
            assert (dict(found.orders), found.logged) == ({}, frozenset())


async def test_find_takes_any_number_of_names_and_events(store: Store) -> None:
    number = 300
    events = [event(f"o-{n}", n) for n in range(number)]
    await commit(
        store,
        orders=[write(n + 1, order(f"o-{n}")) for n in range(number)],
        names=[(A, f"o-{n}", n + 1) for n in range(number)],
        events=[(n + 1, each) for n, each in enumerate(events)],
    )
    async with store.transaction() as transaction:
        found = await transaction.find([(A, f"o-{n}") for n in range(number)], events)
        history = await transaction.history(range(1, number + 1))
    assert {each.number for each in found.orders.values()} == set(range(1, number + 1))
    assert found.logged == {each.id for each in events}
    assert [history[n + 1] for n in range(number)] == [[each] for each in events]


@pytest.mark.parametrize("name", ["\ud800", "\U0001f3e0", "x" * 10_000, "'; DROP TABLE orders; --", '"', "%", "_"])
async def test_names_may_be_anything_that_can_be_written(store: Store, name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        assert await store.order(A, "o-1") is None
        return
    await place(store, 1, name, event(name, 1))
    async with store.transaction() as transaction:
        found = await transaction.find([(A, name)], [event(name, 1)])
    assert (set(found.orders), found.logged) == ({(A, name)}, {event(name, 1).id})
    assert await store.order(A, name) == (1, order(name))


async def test_history_is_in_the_order_of_the_log(store: Store) -> None:
    late, early = event("o-1", 5), event("o-1", 1)
    await place(store, 1, "o-1", late)
    await commit(store, events=[(1, early), (1, event("o-1", 3))])
    async with store.transaction() as transaction:
        found = await transaction.history([1, 2])
    assert found == {1: [late, early, event("o-1", 3)], 2: []}


async def test_an_order_s_part_of_the_log_comes_in_pages(store: Store) -> None:
    told = [event("o-1", n) for n in range(1201)]
    await place(store, 1, "o-1", *told)
    await place(store, 2, "o-2", event("o-2", 1))
    pages = [page async for page in store.order_pages(1)]
    assert [each for page in pages for _, each in page] == told == await store.order_events(1)
    places = [place for page in pages for place, _ in page]
    assert places == sorted(set(places))
    assert max(map(len, pages)) <= 500
    assert [page async for page in store.order_pages(3)] == []


async def test_the_same_event_is_not_stored_twice(store: Store) -> None:
    await place(store, 1, "o-1", event("o-1", 1))
    with pytest.raises(StoreError):
        await commit(store, events=[(1, event("o-1", 1))], receipts=[receipt(1)])
    assert await store.receipt(1) is None
    assert len(await store.order_events(1)) == 1


async def test_merge_gives_one_order_everything(store: Store) -> None:
    one, other = event("o-1", 1), event("o-2", 2)
    await place(store, 1, "o-1", one, job=job("o-1"))
    more = {"job": job("o-2"), "cancellations": [(2, new_cancellation("can_1", "o-2"))], "attempts": [attempt(5, 2)]}
    await place(store, 2, "o-2", other, **more)
    async with store.transaction() as transaction:
        await transaction.find([(A, "o-1"), (A, "o-2")], [])
        await transaction.merge(1, 2, [(A, "o-2")])
        assert (await transaction.history([1]))[1] == [one, other]
        await transaction.commit(Changes(orders=[write(1, order("o-1"), job("o-1"), had_job=True)]))
    assert await store.order(A, "o-2") == await store.order(A, "o-1") == (1, order("o-1"))
    assert [pk for pk, _ in await store.orders(ALL)] == [1]
    assert [each.id for each in await store.attempts(1, 9)] == [5]
    assert [id for id, _ in await store.jobs(A, at(9), 9)] == [1]
    listed = await store.cancellations(ALL, CancellationFilter(account=A, order_pk=1))
    assert [each.id for _, each in listed] == ["can_1"]
    assert await store.event(other.id) == other


async def test_orders_are_found_by_what_they_carry_and_by_what_the_provider_called_them(store: Store) -> None:
    carry = {"shared_aliases": [(A, "ref", 1), (A, "ref", 1)]}
    await place(store, 1, "o-1", event("o-1", 1), **carry)
    await place(store, 2, "o-2", event("o-2", 2), shared_aliases=[(A, "ref", 2), (A, "own", 2), ("other", "ref", 2)])
    shown = Facts(aliases=("o-2", "o-9"), snapshot=True)
    asked = msgspec.structs.replace(event("alias", 3, facts=shown), source=Source.PROVIDER)
    ours = msgspec.structs.replace(event("caller", 4), source=Source.PROVIDER)
    await commit(store, names=[(A, "alias", 2), (A, "caller", 2)], events=[(2, asked), (2, ours)])
    assert await store.orders_sharing_alias(A, "ref", 9) == ["o-1", "o-2"]
    assert await store.orders_sharing_alias(A, "ref", 1) == ["o-1"]
    assert await store.orders_sharing_alias(A, "o-1", 9) == await store.orders_sharing_alias("third", "ref", 9) == []
    assert await store.provider_names(2) == {"o-2", "alias", "o-9"}
    async with store.transaction() as transaction:
        assert await transaction.provider_names([1, 2, 3]) == {1: {"o-1"}, 2: {"o-2", "alias", "o-9"}, 3: set()}
        names = [(A, name) for name in ("o-2", "alias", "caller", "ref", "own")]
        await transaction.merge(1, 2, names)
        await transaction.commit(Changes(orders=[write(1, order("o-1"))]))
    assert await store.orders_sharing_alias(A, "ref", 9) == await store.orders_sharing_alias(A, "own", 9) == ["o-1"]
    assert {(await store.order(A, name) or (0,))[0] for _, name in names[:3]} == {1}


async def test_a_name_that_led_to_no_order_may_be_given_again(store: Store) -> None:
    await commit(store, names=[(A, "o-1", 7)])
    assert await store.order(A, "o-1") is None
    await place(store, 1, "o-1", event("o-1", 1))
    assert await store.order(A, "o-1") == (1, order("o-1"))


@pytest.mark.parametrize("asked_first", [True, False])
async def test_without_a_commit_nothing_is_kept(store: Store, asked_first: bool) -> None:
    await place(store, 1, "o-1", event("o-1", 1))
    await place(store, 2, "o-2", event("o-2", 2))

    async def leave(raises: bool) -> None:
        async with store.transaction() as transaction:
            if asked_first:
                await transaction.find([(A, "o-1")], [])
            await transaction.merge(1, 2, [(A, "o-2")])
            if raises:
                raise KeyError("on purpose")

    await leave(raises=False)
    with pytest.raises(KeyError):
        await leave(raises=True)
    assert await store.order(A, "o-2") == (2, order("o-2"))
    assert len(await store.order_events(2)) == 1
    await commit(store, names=[(A, "alias", 2)])


async def test_readers_see_only_what_is_committed(store: Store) -> None:
    await place(store, 1, "o-1", event("o-1", 1))
    async with store.transaction() as transaction:
        await transaction.find([(A, "o-1")], [])
        await transaction.merge(3, 1, [(A, "o-1")])
        # A reader does not wait for the writer either.
        async with asyncio.timeout(WAIT_S):
            assert await store.order(A, "o-1") == (1, order("o-1"))
        await transaction.commit(Changes(orders=[write(3, order("o-9"))]))
    assert await store.order(A, "o-1") == (3, order("o-9"))


async def test_of_two_who_change_an_order_at_once_neither_change_is_lost(store: Store) -> None:
    inside: set[int] = set()
    at_once = 0

    async def add(n: int) -> None:
        nonlocal at_once
        async with store.transaction() as transaction:
            found = await transaction.find([(A, "o-1")], [])
            inside.add(n)
            at_once = max(at_once, len(inside))
            stored = found.orders.get((A, "o-1"))
            known = order("o-1") if stored is None else codec.read_aggregate(stored.state)
            raised = OrderAggregate(Order(A, "o-1", version=known.order.version + 1))
            await asyncio.sleep(0)
            inside.discard(n)
            await transaction.commit(Changes(orders=[write(1, raised)]))

    await place(store, 1, "o-1")
    await asyncio.gather(*(add(n) for n in range(20)))
    found = await store.order(A, "o-1")
    assert found is not None
    assert found[1].order.version == 21
    assert at_once == 1


async def test_a_canceled_transaction_is_undone_and_frees_the_writer(store: Store) -> None:
    await place(store, 1, "o-1", event("o-1", 1))
    reached = asyncio.Event()

    async def hang() -> None:
        async with store.transaction() as transaction:
            await transaction.find([(A, "o-1")], [])
            await transaction.merge(2, 1, [(A, "o-1")])
            reached.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(WAIT_S):
        await commit(store, names=[(A, "alias", 1)])
    assert await store.order(A, "alias") == (1, order("o-1"))


# -- What fails ------------------------------------------------------------------------------------------


async def test_schemas_only_go_forward(opener: Opener, tmp_path: Path) -> None:
    steps = [each.version for each in migrations("sqlite")]
    assert steps == list(range(1, len(steps) + 1)), (
        "a gap would be filled later, and skipped where the schema is past it"
    )
    opened = await opener(tmp_path)
    await place(opened, 1, "o-1", event("o-1", 1))
    await opened.close()
    again = await opener(tmp_path)
    assert await again.order_events(1) == [event("o-1", 1)]
    await again.close()
