"""What every store must do with lists of orders: the rows that the filters say, in the order of the list, in pages."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import datetime
from itertools import product
from typing import Any

import pytest
from contract.store_cases import A, at, commit, write
from msgspec.structs import replace

from app.contract import Cancelable, Order, Phase
from app.core.aggregate import OrderAggregate
from app.store import OrderWrite, Store, Window, codec

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
    return dataclasses.replace(
        write(n, OrderAggregate(order), cancelable=cancelable), reason=reason, closes_at=closes_at
    )


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
        page = await store.orders(Window(limit, position, newer=newer), **query)
        ids = [*(order.order.id for _, order in page), *ids] if newer else [*ids, *(o.order.id for _, o in page)]
        if page.resume is not None:
            position = page.resume
        elif len(page) < limit:
            return ids
        else:
            position = page[0 if newer else -1][0]


async def test_every_filter_gives_its_orders_in_pages_both_ways(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [_order(n) for n in range(1, NUMBER)]
    await commit(store, orders=rows)
    combinations = [dict(zip(_FILTERS, values, strict=True)) for values in product(*_FILTERS.values())]
    settings = ((20_000, 1000, 1.0), (4, 7, 0.0), (NUMBER // 4, 50, 0.0))
    for turn, (few, piece, budget) in enumerate(settings):
        monkeypatch.setattr("app.store.sqlite.read.order_lists.FEW", few)
        monkeypatch.setattr("app.store.sqlite.read.order_lists.NUMBERS_MAX", few // 4)
        monkeypatch.setattr("app.store.sqlite.read.search.PIECE_ROWS", piece)
        monkeypatch.setattr("app.store.sqlite.read.search.SEARCH_S", budget)
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


async def test_an_order_is_listed_by_what_it_is_now(store: Store) -> None:
    row = _order(4)
    await commit(store, orders=[row])
    moved = dataclasses.replace(row, reason="rare", closes_at=at(9), cancelable=Cancelable.UNKNOWN)
    await commit(store, orders=[moved])
    assert [order.order.id for _, order in await store.orders(Window(9), reason="rare", closes_before=at(10))] == [
        "o-4"
    ]
    assert await store.orders(Window(9), cancelable=row.cancelable) == []
    # What lists go by may be left out of a write in which it is the same.
    order = replace(moved.aggregate.order, version=2)
    same = dataclasses.replace(moved, aggregate=replace(moved.aggregate, order=order), listed_as_before=True)
    await commit(store, orders=[same])
    [(_, stored)] = await store.orders(Window(9), reason="rare", closes_before=at(10))
    assert stored.order.version == 2
