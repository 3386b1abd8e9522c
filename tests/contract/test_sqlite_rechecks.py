"""What holds only for SQLite: a change marks some orders to be checked again in its own transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from contract.store_cases import A, at, commit, order

from app.store import OrderWrite, RecheckOrders, Store
from app.store.sqlite import open_sqlite


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_sqlite(tmp_path / "store.db")
    yield opened
    await opened.close()


async def test_some_orders_are_marked_with_the_change_and_the_rest_in_steps(store: Store) -> None:
    names = [f"o-{number}" for number in range(10)]
    writes = [
        OrderWrite(number + 1, order(name), "yes", None, None, had_job=False, closes_at=at(20))
        for number, name in enumerate(names)
    ]
    others = [OrderWrite(number + 20, order(f"b-{number}", "b"), "yes", None, None, had_job=False) for number in (1, 2)]
    await commit(store, orders=[*writes, *others])

    async def overdue(minutes: float) -> int:
        return len(await store.overdue(at(minutes), 99))

    await commit(store, rechecks=[RecheckOrders(A, at(1)), *(RecheckOrders(f"none-{n}", at(1)) for n in range(999))])
    marked = [await overdue(5)]
    while await store.recheck_step(3):
        marked.append(await overdue(5))
    assert marked == [2, 5, 8, 10]
    assert not await store.recheck_step(3)
    await commit(store, rechecks=[RecheckOrders("b", at(3))])
    assert (await overdue(5), await store.recheck_step(1)) == (12, False), "few are marked at once"
    lead = timedelta(minutes=5)
    closing = [RecheckOrders(f"none-{n}", at(1), closing_lead=lead) for n in range(1999)]
    await commit(store, orders=writes)
    await commit(store, rechecks=[*closing, RecheckOrders(A, at(4), closing_lead=lead)])
    while await store.recheck_step(4):
        pass
    assert (await overdue(14), await overdue(16)) == (2, 12)


async def test_steps_go_on_although_each_change_marks_some_orders_itself(store: Store) -> None:
    writes = [OrderWrite(pk, order(f"o-{pk}"), "yes", None, None, had_job=False) for pk in range(1, 11)]
    few = [RecheckOrders(f"none-{n}", at(1)) for n in range(1000)]
    marked: set[str] = set()
    for minute in range(1, 5):
        await commit(store, orders=writes, rechecks=[RecheckOrders(A, at(minute)), *few])
        for _ in range(2):
            assert await store.recheck_step(3)
        marked |= {name for _, name in await store.overdue(at(9), 99)}
    assert len(marked) == 10
    await commit(store, orders=writes)
    while await store.recheck_step(3):
        pass
    overdue = {name for _, name in await store.overdue(at(9), 99)}
    assert overdue == {f"o-{pk}" for pk in range(2, 11)}, "all but the one marked with the last change"


async def test_an_order_is_left_out_of_its_own_duplicates(store: Store) -> None:
    writes = [OrderWrite(pk, order(f"o-{pk}"), "yes", None, None, had_job=False, fingerprint=7) for pk in (1, 2)]
    await commit(store, orders=writes)
    await commit(store, rechecks=[RecheckOrders(A, at(4), 7, 1)])
    assert await store.overdue(at(5), 9) == [(A, "o-2")]
