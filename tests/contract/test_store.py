"""What every store must do with transactions. An implementation joins the suites by a line in `OPENERS`."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from secrets import token_bytes

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
    order,
    place,
    receipt,
    threads_left,
    wish,
    write,
)
from providers import WAIT_S
from servers import full_disk

from app.contract import Facts, Order, Phase, Source
from app.core.aggregate import OrderAggregate
from app.store import Changes, Resource, Store, StoreError, codec
from app.store.migrations import SchemaTooNewError, migrations
from app.store.records import listed_key
from app.store.sqlite.files import DatabaseInUseError

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
    assert {order.keys for order in found.orders.values()} <= {"".join(map(listed_key, ids)) for ids in both}
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


@pytest.mark.parametrize(
    "name", ["\ud800", "\U0001f3e0", "a\0b", "x" * 10_000, "'; DROP TABLE orders; --", '"', "%", "_"]
)
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
    more = {"job": job("o-2"), "cancellations": [(2, wish("can_1", "o-2"))], "attempts": [attempt(5, 2)]}
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
    listed = await store.cancellations(ALL, account=A, order_pk=1)
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


async def test_transactions_come_one_after_the_other(store: Store) -> None:
    inside: list[int] = []

    async def add(n: int) -> None:
        async with store.transaction() as transaction:
            inside.append(n)
            found = await transaction.find([(A, "o-1")], [])
            assert len(inside) == 1
            stored = found.orders.get((A, "o-1"))
            known = order("o-1") if stored is None else codec.read_aggregate(stored.state)
            raised = OrderAggregate(Order(A, "o-1", version=known.order.version + 1))
            names = [] if found.orders else [(A, "o-1", 1)]
            await transaction.commit(Changes(orders=[write(1, raised)], names=names))
            inside.remove(n)

    await asyncio.gather(*(add(n) for n in range(20)))
    found = await store.order(A, "o-1")
    assert found is not None
    assert found[1].order.version == 21


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


async def test_a_failed_write_is_said_undone_and_forgotten(store: Store) -> None:
    await place(store, 1, "o-1", event("o-1", 1))
    large = receipt(9, body=token_bytes(500_000))
    async with full_disk(store):
        with pytest.raises(StoreError, match="full"):
            await commit(store, orders=[write(1, order("o-1", phase=Phase.COMPLETED))], receipts=[large])
        # What needs no room still works, and so does everything afterwards.
        assert await store.order(A, "o-1") == (1, order("o-1"))
    assert await store.receipt(9) is None
    await commit(store, receipts=[large])
    assert await store.receipt(9) == large


async def test_a_failed_write_of_resources_leaves_them_as_they_were(store: Store) -> None:
    made = Resource("accounts", "a", 1, at(0), "me", b"x")
    await store.save_resources([made], [], [])
    async with full_disk(store):
        with pytest.raises(StoreError):
            await store.save_resources(
                [Resource("accounts", "b", 1, at(0), "me", b"x" * 500_000)], [("accounts", "a")], []
            )
    assert await store.resources() == [made]


async def test_a_second_opener_is_refused_and_told_who_has_it(store: Store, opener: Opener, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(DatabaseInUseError, match=f"pid {os.getpid()}"):
            await opener(tmp_path)
    await place(store, 1, "o-1")
    await store.close()
    again = await opener(tmp_path)
    assert await again.order(A, "o-1") is not None
    await again.close()


async def test_the_database_is_made_where_it_is_not(opener: Opener, tmp_path: Path) -> None:
    directory = tmp_path / "not" / "yet there"
    opened = await opener(directory)
    await place(opened, 1, "o-1")
    await opened.close()
    assert directory.is_dir()


@pytest.mark.usefixtures("others_may_read")
async def test_the_files_are_private_from_the_first_moment(store: Store, tmp_path: Path) -> None:
    await place(store, 1, "o-1")
    assert _modes(tmp_path) == dict.fromkeys(["store.db", "store.db-wal", "store.db-shm", "store.db.lock"], 0o600)


@pytest.mark.usefixtures("others_may_read")
async def test_files_that_others_may_read_are_made_private(
    opener: Opener, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await (await opener(tmp_path)).close()
    (tmp_path / "store.db.key").write_text("of an earlier release")
    for name in _modes(tmp_path):
        (tmp_path / name).chmod(0o644)
    opened = await opener(tmp_path)
    assert set(_modes(tmp_path).values()) == {0o600}
    said = capsys.readouterr().out
    for name in ("store.db", "store.db.lock", "store.db.key"):
        assert f"{tmp_path}/{name} " in said
    assert "was=0644" in said
    await opened.close()


@pytest.fixture
def others_may_read(opener: Opener) -> Iterator[None]:  # noqa: ARG001 - before the store is opened
    """The system would let others read what a process makes."""
    before = os.umask(0o000)
    yield
    os.umask(before)


def _modes(directory: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mode & 0o777 for file in directory.iterdir()}


async def test_a_newer_schema_is_refused_and_left_alone(opener: Opener, tmp_path: Path) -> None:
    await (await opener(tmp_path)).close()
    file = tmp_path / "store.db"
    with sqlite3.connect(file) as db:
        db.execute("PRAGMA user_version = 999")
    db.close()
    before = set(threading.enumerate())
    with pytest.raises(SchemaTooNewError, match="999"):
        await opener(tmp_path)
    with sqlite3.connect(file) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (999,)
        db.execute(f"PRAGMA user_version = {migrations('sqlite')[-1].version}")
    db.close()
    # Nothing of the failed attempt is in the way, neither a lock nor a thread that would keep the process alive.
    assert not threads_left(before)
    await (await opener(tmp_path)).close()


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
