"""What every store must do with searches: they end when their time is over, and are in nobody's way."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from contract.store_cases import ALL, A, at, commit, event, job, new_cancellation, order, place, receipt

from app.contract import Facts, Phase
from app.store import Store, Window
from app.store.filters import EventFilter, OrderFilter, ReceiptFilter
from app.store.sqlite import SqliteStore
from app.store.sqlite.connection import READERS
from app.store.use import Use


async def test_a_search_ends_when_its_time_is_over_and_goes_on_from_there(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = [event("o-1", n, type=f"t.{n % 7}", facts=Facts(attributes={"n": f"no-{n % 50}-"})) for n in range(500)]
    await place(store, 1, "o-1", *told)
    await commit(store, receipts=[receipt(n, endpoint=f"in-{n % 7}") for n in range(1, 300)])
    for n in range(2, 200):
        await place(store, n, f"o-{n}", aggregate=order(f"o-{n}", phase=Phase.OPEN if n % 9 else Phase.CANCELED))
    asked: list[tuple[Callable[..., Any], Any]] = [
        (store.events, EventFilter(text="no-7-")),
        (store.events, EventFilter(text="NO-7-", types=["t.1"])),
        (store.events, EventFilter(types=["t.*"], until=at(60))),
        (store.events, EventFilter(source="probe")),
        (store.receipts, ReceiptFilter(endpoint="in-3")),
        (store.orders, OrderFilter(phase="canceled", account=A)),
    ]
    whole = []
    for ask, query in asked:
        found = await ask(ALL, query)
        assert (found.resume, found.searched_until) == (None, None)
        whole.append(list(found))
    assert [len(each) for each in whole] == [10, 2, 60, 0, 43, 22]
    # Over at once: each answer is of one piece.
    monkeypatch.setattr("app.store.pieces.SEARCH_S", 0.0)
    monkeypatch.setattr("app.store.pieces.PIECE_ROWS", 60)
    for (ask, query), expected in zip(asked, whole, strict=True):
        for newer in (False, True):
            pieces, position = [], 0 if newer else None
            while True:
                found = await ask(Window(1000, position, newer=newer), query)
                pieces.append(list(found))
                if found.resume is None:
                    break
                assert position is None or (found.resume > position) == newer
                position = found.resume
            assert [each for piece in (pieces[::-1] if newer else pieces) for each in piece] == expected
            assert 1 < len(pieces) < 12
        first = await ask(Window(1), query)
        assert list(first) == expected[: len(first)]


def noise(n: int) -> str:
    """A text that cannot be compressed much."""
    return random.Random(n).randbytes(1000).hex()  # noqa: S311


async def test_a_search_reads_few_bytes_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a database cannot look into what it stores, it is read: pieces end before they fill the memory."""
    told = [event("o-1", n, facts=Facts(attributes={"n": f"no-{n % 5}-", "x": noise(n)})) for n in range(40)]
    await place(store, 1, "o-1", *told)
    bodies = [f"no-{n % 5}- {noise(n)}".encode() for n in range(40)]
    await commit(store, receipts=[receipt(n, body=body) for n, body in enumerate(bodies, 1)])
    asked: list[tuple[Callable[..., Any], Any]] = [
        (store.events, EventFilter(text="NO-3-")),
        (store.receipts, ReceiptFilter(text="NO-3-")),
    ]
    whole = [list(await ask(ALL, query)) for ask, query in asked]
    assert [len(each) for each in whole] == [8, 8]
    monkeypatch.setattr("app.store.searching.PIECE_BYTES", 300)
    monkeypatch.setattr("app.store.pieces.SEARCH_S", 0.0)  # each answer is of one piece
    for (ask, query), expected in zip(asked, whole, strict=True):
        for newer in (False, True):
            pieces, position = [], 0 if newer else None
            while True:
                found = await ask(Window(1000, position, newer=newer), query)
                pieces.append(list(found))
                if found.resume is None:
                    break
                position = found.resume
            assert [each for piece in (pieces[::-1] if newer else pieces) for each in piece] == expected
            if not store.single_writer:
                assert len(pieces) > 2, query


async def test_what_an_index_finds_takes_no_search(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.store.pieces.SEARCH_S", 0.0)
    monkeypatch.setattr("app.store.pieces.PIECE_ROWS", 1)
    told = [event("o-1", n, type="rare" if n == 3 else "order.opened") for n in range(50)]
    await place(store, 1, "o-1", *told)
    queries: list[dict[str, Any]] = [{}, {"order_pk": 1, "text": "o"}, {"order_pk": 1, "types": ["order.*"]}]
    for query in queries:
        assert (await store.events(ALL, EventFilter(**query))).resume is None, query
    assert (await store.events(ALL, EventFilter(types=["rare"], account=A))).resume is not None


async def test_no_list_and_no_search_is_in_the_way_of_the_door_and_of_work(store: Store) -> None:
    """With every connection for lists and searches taken, what cancels and lanes ask is answered."""
    await place(store, 1, "o-1", event("o-1", 1), job=job("o-1"), cancellations=[(1, new_cancellation("can_1", "o-1"))])
    async with AsyncExitStack() as taken:
        for use in (Use.LISTS, Use.SEARCHES):
            for _ in range(READERS[use] if isinstance(store, SqliteStore) else 1):
                await taken.enter_async_context(store._db.borrow(use))  # type: ignore[attr-defined]
        searching = asyncio.create_task(store.events(ALL, EventFilter(text="order")))
        listing = asyncio.create_task(store.order_events(1))
        assert (await store.order(A, "o-1") or (0,))[0] == 1
        assert await store.event(event("o-1", 1).id) == event("o-1", 1)
        assert await store.cancellation("can_1") is not None
        assert await store.stored_response("none") is None
        assert await store.orders_sharing_alias(A, "o-1", 2) == []
        assert await store.provider_names(1) == {"o-1"}
        assert not await store.quarantined_because(A, ["o-1"])
        assert len(await store.jobs(A, at(1), 9)) == 1
        assert await store.overdue(at(1), 9) == []
        assert not await store.recheck_step(9)
        await asyncio.gather(store.next_deadline(), store.next_due(A, at(0)), store.calls_within(A, 60.0, at(0), None))
        await asyncio.gather(store.deadlines(A, at(9), 9), store.quiet_orders(A, at(9), 9), store.latencies_s(A, 3))
        await commit(store, events=[(1, event("o-1", 2))])
        assert not searching.done()
        assert not listing.done()
    assert (len(await searching), len(await listing)) == (0, 2)
