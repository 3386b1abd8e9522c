"""What every store must do with lists of orders: the rows that the filters say, in the order of the list, in pages."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from itertools import product
from typing import Any

import pytest
from contract.store_cases import A, at, commit, new_cancellation, write
from msgspec.structs import replace

from app.contract import Cancelable, Order, Phase
from app.core.aggregate import OrderAggregate
from app.core.cancellation import Cancellation, State, Waiting
from app.store import OrderWrite, Store, Window, codec
from app.store.filters import CancellationFilter, OrderFilter

ACCOUNTS = (A, "other", "third")
NUMBER = 120
_FILTERS: dict[str, tuple[Any, ...]] = {
    "account": (None, A, "nobody"),
    "phase": (None, "open", "canceled"),
    "cancelable": (None, "yes", "no"),
    "reason": (None, "rare", "usual"),
    "closes": ((None, None), (at(0), None), (at(0), at(3))),
    "opened": ((None, None), (at(10), None), (None, at(20))),
    "text": (None, "o-1"),
}


def _order(n: int) -> OrderWrite:
    account, phase = ACCOUNTS[n * 7 % 3], (Phase.OPEN, Phase.OPEN, Phase.COMPLETED, Phase.CANCELED)[n * 5 % 4]
    opened_at = at(n % 31) if n % 4 else None
    order = Order(account=account, id=f"o-{n}", phase=phase, version=1, opened_at=opened_at, last_event_at=at(0))
    cancelable = (Cancelable.YES, Cancelable.UNKNOWN)[n % 2] if phase is Phase.OPEN else Cancelable.NO
    closes_at = at(n % 5) if cancelable is Cancelable.YES and n % 3 else None  # many at the same time
    reason = "rare" if n % 29 == 0 else "usual"
    return replace(write(n, OrderAggregate(order), cancelable=cancelable), reason=reason, closes_at=closes_at)


def _name(row: OrderWrite) -> tuple[str, str, int]:
    return row.aggregate.order.account, row.aggregate.order.id, row.pk


def _fits(row: OrderWrite, wanted: dict[str, Any]) -> bool:
    order = row.aggregate.order
    return (
        wanted["account"] in (None, order.account)
        and wanted["phase"] in (None, order.phase)
        and wanted["cancelable"] in (None, row.cancelable)
        and wanted["reason"] in (None, row.reason)
        and _lies(row.closes_at, *wanted["closes"])
        and _lies(order.opened_at, *wanted["opened"])
        and (wanted["text"] is None or order.id.startswith(wanted["text"]))
    )


def _lies(moment: datetime | None, since: datetime | None, until: datetime | None) -> bool:
    if (since, until) == (None, None):
        return True
    return moment is not None and (since is None or moment >= since) and (until is None or moment < until)


def _rank(wanted: dict[str, Any]) -> Callable[[OrderWrite], Any]:
    """The position of an order in the list."""
    if wanted["closes"] != (None, None):
        return lambda row: (codec.micros_or_none(row.closes_at), row.aggregate.order.account, row.pk)
    if wanted["opened"] != (None, None):
        return lambda row: (codec.micros_or_none(row.aggregate.order.opened_at), row.aggregate.order.account, row.pk)
    return lambda row: row.pk


async def _pages(store: Store, limit: int, start: Any, *, newer: bool, **query: Any) -> list[str]:
    """The ids on all pages from a position on, in the order of the list."""
    ids: list[str] = []
    position = start
    while True:
        page = await store.orders(Window(limit, position, newer=newer), OrderFilter(**query))
        ids = [*(order.order.id for _, order in page), *ids] if newer else [*ids, *(o.order.id for _, o in page)]
        if page.resume is not None:
            position = page.resume
        elif len(page) < limit:
            return ids
        else:
            position = page[0 if newer else -1][0]


async def test_every_filter_gives_its_orders_in_pages_both_ways(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [_order(n) for n in range(1, NUMBER)]
    await commit(store, orders=rows, names=[_name(row) for row in rows])
    combinations = [dict(zip(_FILTERS, values, strict=True)) for values in product(*_FILTERS.values())]
    # Every fifth still has each value of a filter with each of another. A query of another process takes long.
    combinations = combinations[:: 1 if store.single_writer else 5]
    settings = ((20_000, 1000, 1.0), (4, 7, 0.0), (NUMBER // 4, 50, 0.0))
    for turn, (few, piece, budget) in enumerate(settings):
        monkeypatch.setattr("app.store.order_lists.FEW", few)
        monkeypatch.setattr("app.store.order_lists.NUMBERS_MAX", few // 4)
        monkeypatch.setattr("app.store.pieces.PIECE_ROWS", piece)
        monkeypatch.setattr("app.store.pieces.SEARCH_S", budget)
        for number, wanted in enumerate(combinations):
            if number % len(settings) != turn:
                continue
            expected = [row for row in rows if _fits(row, wanted)]
            expected.sort(key=_rank(wanted), reverse=wanted["closes"] == (None, None))
            ids = [row.aggregate.order.id for row in expected]
            query = {name: wanted[name] for name in ("account", "phase", "cancelable", "reason", "text")}
            query["closes_after"], query["closes_before"] = wanted["closes"]
            query["opened_since"], query["opened_until"] = wanted["opened"]
            limit = (5, 17, 400)[number // 3 % 3]
            assert await _pages(store, limit, None, newer=False, **query) == ids, (few, wanted)
            if expected:
                end = _rank(wanted)(expected[-1])
                assert await _pages(store, limit, end, newer=True, **query) == ids[:-1], (few, wanted)


async def test_facets_count_what_lists_show_and_tell_what_they_leave_out(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [_order(n) for n in range(1, NUMBER)]
    await commit(store, orders=rows, names=[_name(row) for row in rows])
    values: dict[str, Callable[[OrderWrite], str | None]] = {
        "account": lambda row: row.aggregate.order.account,
        "phase": lambda row: row.aggregate.order.phase,
        "cancelable": lambda row: row.cancelable,
        "reason": lambda row: row.reason,
    }
    queries: list[dict[str, Any]] = [{}, {"phase": "open"}, {"reason": "rare"}, {"account": A}, {"closes_after": at(2)}]
    for counted_max, group_max in ((2000, 10_000), (3, 10_000), (3, 4)):
        monkeypatch.setattr("app.store.facets.COUNTED_MAX", counted_max)
        monkeypatch.setattr("app.store.facets.GROUP_MAX", group_max)
        for query in queries:
            wanted = {**dict.fromkeys(_FILTERS), "closes": (None, None), "opened": (None, None), **query}
            wanted["closes"] = (query.get("closes_after"), None)
            fitting = [row for row in rows if _fits(row, wanted)]
            counted = await store.order_facets(OrderFilter(**query))
            for field, of in values.items():
                exact = Counter(value for value in map(of, fitting) if value)
                for value, count in counted.counts[field].items():
                    assert count <= exact[value], (query, field)
                    assert count == exact[value] or value in counted.more[field], (query, field)
                if counted.complete:
                    assert counted.counts[field] == exact, (query, field)
            assert not counted.complete or counted.total == len(fitting), query
            assert counted.complete or counted_max == 3, query
            by_group = "account" not in query and "closes_after" not in query
            assert set(counted.counts["phase"]) == {row.aggregate.order.phase for row in fitting} or not by_group


async def test_cancellations_by_every_filter_in_pages_both_ways_and_counted(store: Store) -> None:
    states = (State.SCHEDULED, State.SUCCEEDED, State.REJECTED)
    rows: list[tuple[int, Cancellation]] = []
    for n in range(1, 80):
        of = new_cancellation(f"can_{n}", f"o-{n % 5}", ACCOUNTS[n * 7 % 3])
        waiting = Waiting.APPROVAL if n % 2 else Waiting.SEND_SLOT
        more = {"policy": "p" if n % 4 == 0 else None, "batch": "b" if n % 6 == 0 else None}
        rows.append((n % 5, replace(of, state=states[n % 3], waiting=waiting, requested_at=at(n), **more)))
    await commit(store, cancellations=rows)
    filters: dict[str, tuple[Any, ...]] = {
        "account": (None, A, "nobody"),
        "order_pk": (None, 2),
        "state": (None, "scheduled", "sending"),
        "policy": (None, "p"),
        "waiting": (None, "approval"),
        "batch": (None, "b"),
        "times": ((None, None), (at(9), None), (at(9), at(50))),
    }
    # Every fifth still has each value of a filter with each of another. A query of another process takes long.
    for number, values in enumerate(list(product(*filters.values()))[:: 1 if store.single_writer else 5]):
        wanted = dict(zip(filters, values, strict=True))
        since, until = wanted.pop("times")
        ids = [
            row.id
            for pk, row in rows[::-1]
            if wanted["account"] in (None, row.account)
            and wanted["order_pk"] in (None, pk)
            and wanted["state"] in (None, row.state)
            and wanted["policy"] in (None, row.policy)
            and wanted["batch"] in (None, row.batch)
            and (wanted["waiting"] is None or (row.state, row.waiting) == ("scheduled", "approval"))
            and (since is None or row.requested_at >= since)
            and (until is None or row.requested_at < until)
        ]
        query = {**wanted, "since": since, "until": until}
        limit = (3, 100)[number % 2]
        found: list[str] = []
        position = None
        while page := await store.cancellations(Window(limit, position), CancellationFilter(**query)):
            found += [row.id for _, row in page]
            position = page[-1][0]
        assert found == ids, query
        if ids:
            newer = await store.cancellations(Window(limit, position, newer=True), CancellationFilter(**query))
            assert [row.id for _, row in newer] == ids[:-1][-limit:], query
        counted = await store.cancellation_facets(CancellationFilter(**query))
        assert (counted.total, counted.complete) == (len(ids), True), query
        of_state = Counter(row.state for _, row in rows if row.id in ids)
        assert counted.counts["state"] == of_state, query


async def test_an_order_is_listed_by_what_it_is_now(store: Store) -> None:
    row = _order(4)
    await commit(store, orders=[row], names=[_name(row)])
    moved = replace(row, reason="rare", closes_at=at(9), cancelable=Cancelable.UNKNOWN)
    await commit(store, orders=[moved])
    assert [
        order.order.id for _, order in await store.orders(Window(9), OrderFilter(reason="rare", closes_before=at(10)))
    ] == ["o-4"]
    assert await store.orders(Window(9), OrderFilter(cancelable=row.cancelable)) == []
    # What lists go by may be left out of a write in which it is the same.
    order = replace(moved.aggregate.order, version=2)
    same = replace(moved, aggregate=replace(moved.aggregate, order=order), listed_as_before=True)
    await commit(store, orders=[same])
    [(_, stored)] = await store.orders(Window(9), OrderFilter(reason="rare", closes_before=at(10)))
    assert stored.order.version == 2


async def test_a_list_that_nobody_waits_for_any_more_leaves_its_connection_as_it_was(store: Store) -> None:
    await commit(store, orders=[_order(n) for n in range(NUMBER)])
    for ticks in range(6):
        listing = asyncio.create_task(store.orders(Window(10), OrderFilter(account=A, opened_since=at(0))))
        for _ in range(ticks):
            await asyncio.sleep(0)
        listing.cancel()
        await asyncio.wait([listing])
        new = _order(NUMBER + ticks * 12)
        await commit(store, orders=[new])
        assert await store.orders(Window(1), OrderFilter(account=A)) == [(new.pk, new.aggregate)]
        assert await store.orders(Window(10), OrderFilter(account=A, opened_since=at(0)))
