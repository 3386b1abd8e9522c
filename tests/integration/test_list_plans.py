"""No list that the API offers reads a table from end to end, or sorts: whatever filters are combined.

The plan of every statement that a list issues is asked for. It may scan and sort what is small: the rows of a JSON
array, and the groups of an index.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite
import pytest
from contract.store_cases import A, at, commit, order, write
from msgspec.structs import replace

from app.contract import Phase
from app.core.outbound.delivery import DeliveryState
from app.core.outbound.message import Message, Target
from app.store import Window
from app.store.filters import (
    ALL_CANCELLATIONS,
    ALL_ORDERS,
    ALL_RECEIPTS,
    CancellationFilter,
    DeliveryFilter,
    OrderFilter,
    ReceiptFilter,
)
from app.store.sqlite import SqliteStore, open_sqlite

T = TypeVar("T")
_SMALL = re.compile(r"json_each|grouped|bisection|CONSTANT ROW|COMPOUND|CO-ROUTINE|SUBQUERY|subquery|RIGHT PART")
"""A right part are the rows that are equal in the first column of the order, of one piece of a search."""
_BAD = re.compile(r"SCAN|TEMP B-TREE")
_FEW = re.compile(r"pk IN \(SELECT value FROM json_each|id IN \(SELECT receipt FROM events WHERE order_pk = ")
"""A few by number, and the receipts of one order: these are sorted."""
_UNFILTERED = (ALL_ORDERS, ALL_CANCELLATIONS, ALL_RECEIPTS)
_TIMES = ((None, None), (at(0), at(9)))
_List = tuple[Callable[..., Awaitable[Any]], str, type, Iterator[Any]]
"""What asks for it, what it may scan without a filter, the kind of its positions, and its filters."""


@contextmanager
def _statements(patch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, Any]]]:
    """The statements that are run meanwhile, with their values."""
    run: list[tuple[str, Any]] = []
    original = aiosqlite.Connection.execute_fetchall

    def recorded(self: aiosqlite.Connection, sql: str, values: Any = ()) -> Any:
        run.append((sql, values))
        return original(self, sql, values)

    with patch.context() as context:
        context.setattr(aiosqlite.Connection, "execute_fetchall", recorded)
        yield run


async def _faults(store: SqliteStore, statements: list[tuple[str, Any]], allowed: str) -> list[str]:
    """What their plans scan or sort, but for what matches `allowed`."""
    faults = []
    for sql, values in statements:
        async with store._db.borrow() as db:
            plan = [row[3] for row in await db.execute_fetchall(f"EXPLAIN QUERY PLAN {sql}", values)]
        faults += [
            f"{step}: {sql}"
            for step in plan
            if _BAD.search(step)
            and not _SMALL.search(step)
            and allowed not in step
            and not (_FEW.search(sql) and "TEMP B-TREE" in step)
        ]
    return faults


def _combinations(kind: Callable[..., T], **filters: tuple[Any, ...]) -> Iterator[T]:
    """A filter of every combination of the values; a pair of times has two names."""
    for values in product(*filters.values()):
        query = {}
        for name, value in zip(filters, values, strict=True):
            query.update(zip(name.split("_or_"), value, strict=True) if "_or_" in name else [(name, value)])
        yield kind(**query)


def _lists_of_orders(store: SqliteStore) -> Iterator[_List]:
    """The list of all orders, and those of times: in the order of the key, bounded by the page or its time."""
    of_orders = {"account": (None, A), "phase": (None, "open")}
    of_verdict = {**of_orders, "cancelable": (None, "yes")}
    opened = {"opened_since_or_opened_until": (_TIMES[1],)}
    closing = {"closes_after_or_closes_before": (_TIMES[1], (at(0), None), (None, at(1)))}
    opening = {"opened_since_or_opened_until": _TIMES}
    yield store.orders, "SCAN orders", int, _combinations(OrderFilter, **of_verdict, reason=(None, "status_open"))
    yield store.orders, "nothing", tuple, _combinations(OrderFilter, **of_verdict, **closing, **opening)
    yield store.orders, "nothing", tuple, _combinations(OrderFilter, account=(None, A), reason=(None, "rare"), **opened)
    counted = _combinations(OrderFilter, **of_orders, closes_after_or_closes_before=_TIMES)
    yield _without_window(store.order_facets), "SCAN orders", type(None), counted


def _lists_of_cancellations(store: SqliteStore) -> Iterator[_List]:
    of_cancellations = {
        "account": (None, A),
        "order_pk": (None, 1),
        "state": (None, "scheduled"),
        "policy": (None, "p"),
        "batch": (None, "b"),
        "since_or_until": _TIMES,
    }
    waiting = _combinations(CancellationFilter, account=(None, A), waiting=("approval",), since_or_until=_TIMES)
    counted = _combinations(CancellationFilter, account=(None, A), state=(None, "scheduled"), since_or_until=_TIMES)
    yield store.cancellations, "SCAN cancellations", int, _combinations(CancellationFilter, **of_cancellations)
    yield store.cancellations, "nothing", int, waiting
    yield _without_window(store.cancellation_facets), "SCAN cancellations", type(None), counted


def _lists_of_receipts(store: SqliteStore) -> Iterator[_List]:
    """Lists of receipts: pieces of the table between two ids, where no index serves."""
    of_receipts = {
        "account": (None, A),
        "endpoint": (None, "in"),
        "order_pk": (None, 1),
        "status": (None, "accepted", "quarantined"),
        "reason": (None, "bad"),
        "since_or_until": _TIMES,
        "text": (None, "denver"),
    }
    yield store.receipts, "nothing", int, _combinations(ReceiptFilter, **of_receipts)
    yield _without_window(store.receipt_facets), "nothing", type(None), _combinations(ReceiptFilter, **of_receipts)


def _lists_of_deliveries(store: SqliteStore) -> Iterator[_List]:
    of_deliveries = {
        "subscription": ("crm",),
        "state": (None, DeliveryState.FAILED),
        "types": ((), ("order.*",)),
        "account": (None, A),
        "order_pk": (None, 1),
        "since_or_until": _TIMES,
    }
    yield store.deliveries, "nothing", int, _combinations(DeliveryFilter, **of_deliveries)
    yield _without_window(store.delivery_facets), "nothing", type(None), _combinations(DeliveryFilter, **of_deliveries)


def _without_window(count: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    return lambda _, wanted: count(wanted)


@pytest.mark.parametrize("lists", [_lists_of_orders, _lists_of_cancellations, _lists_of_receipts, _lists_of_deliveries])
async def test_no_filter_makes_a_list_scan_or_sort(
    lists: Callable[[SqliteStore], Iterator[_List]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await open_sqlite(tmp_path / "plans.db")
    for n, (phase, cancelable) in enumerate([(Phase.OPEN, "yes"), (Phase.OPEN, "no"), (Phase.COMPLETED, "no")], 1):
        aggregate = order(f"o-{n}", phase=phase)
        told = Message(
            id=n,
            account=A,
            type="order.changed",
            order_pk=n,
            cause=None,
            at=at(n),
            data=b"{}",
            snapshot=None,
            targets=(Target("crm", False),),
        )
        row = replace(write(n, aggregate, cancelable=cancelable), reason="status_open")
        await commit(store, orders=[row], messages=[told])
    monkeypatch.setattr("app.store.order_lists.FEW", 3)
    monkeypatch.setattr("app.store.order_lists.NUMBERS_MAX", 1)
    windows = {
        int: (Window(51), Window(51, 7), Window(51, 7, newer=True)),
        tuple: (Window(51), Window(51, (7, "a", 7)), Window(51, (7, "a", 7), newer=True)),
    }
    try:
        for ask, allowed, kind, queries in lists(store):
            for query in queries:
                for window in windows.get(kind, (None,)):
                    with _statements(monkeypatch) as statements:
                        await ask(window, query)
                    assert statements
                    only = allowed if query in _UNFILTERED else "nothing"
                    assert not await _faults(store, statements, only), query
    finally:
        await store.close()
