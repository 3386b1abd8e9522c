"""No list that the API offers reads a table from end to end, or sorts: whatever filters are combined.

The plan of every statement that a list issues is asked for. It may scan and sort what is small: the rows of a JSON
array, and the groups of an index.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from contract.store_cases import A, at, commit, order, write

from app.contract import Phase
from app.store import Window
from app.store.sqlite import SqliteStore, open_sqlite

_SMALL = re.compile(r"json_each|grouped|bisection|CONSTANT ROW|COMPOUND|CO-ROUTINE|SUBQUERY|subquery")
_BAD = re.compile(r"SCAN|TEMP B-TREE")
_TIMES = ((None, None), (at(0), at(9)))


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
            and not ("pk IN (SELECT value FROM json_each" in sql and "TEMP B-TREE" in step)  # a few, by number
        ]
    return faults


def _combinations(**filters: tuple[Any, ...]) -> Iterator[dict[str, Any]]:
    """Every combination of the values; a pair of times has two names."""
    for values in product(*filters.values()):
        query = {}
        for name, value in zip(filters, values, strict=True):
            query.update(zip(name.split("_or_"), value, strict=True) if "_or_" in name else [(name, value)])
        yield query


async def test_no_filter_makes_a_list_scan_or_sort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await open_sqlite(tmp_path / "plans.db")
    for n, (phase, cancelable) in enumerate([(Phase.OPEN, "yes"), (Phase.OPEN, "no"), (Phase.COMPLETED, "no")], 1):
        case = order(f"o-{n}", phase=phase)
        await commit(store, orders=[dataclasses.replace(write(n, case, cancelable=cancelable), reason="status_open")])
    monkeypatch.setattr("app.store.sqlite.read.order_lists.FEW", 3)
    monkeypatch.setattr("app.store.sqlite.read.order_lists.NUMBERS_MAX", 1)
    windows = {
        int: (Window(51), Window(51, 7), Window(51, 7, newer=True)),
        tuple: (Window(51), Window(51, (7, "a", 7)), Window(51, (7, "a", 7), newer=True)),
    }
    lists: list[tuple[Callable[..., Awaitable[Any]], str, type, Iterator[dict[str, Any]]]] = [
        # The list of all orders, and those of times: in the order of the key, bounded by the page or its time.
        (
            store.orders,
            "SCAN orders",
            int,
            _combinations(
                account=(None, A), phase=(None, "open"), cancelable=(None, "yes"), reason=(None, "status_open")
            ),
        ),
        (
            store.orders,
            "-",
            tuple,
            _combinations(
                account=(None, A),
                phase=(None, "open"),
                cancelable=(None, "yes"),
                closes_after_or_closes_before=(_TIMES[1], (at(0), None), (None, at(1))),
                opened_since_or_opened_until=_TIMES,
            ),
        ),
        (
            store.orders,
            "-",
            tuple,
            _combinations(account=(None, A), reason=(None, "rare"), opened_since_or_opened_until=(_TIMES[1],)),
        ),
    ]
    of_orders = _combinations(account=(None, A), phase=(None, "open"), closes_after_or_closes_before=_TIMES)
    of_cancellations = {
        "account": (None, A),
        "order_pk": (None, 1),
        "state": (None, "scheduled"),
        "policy": (None, "p"),
        "batch": (None, "b"),
        "since_or_until": _TIMES,
    }
    waiting = _combinations(account=(None, A), waiting=("approval",), since_or_until=_TIMES)
    lists += [
        (store.cancellations, "SCAN cancellations", int, _combinations(**of_cancellations)),
        (store.cancellations, "-", int, waiting),
        (lambda _, **query: store.order_facets(**query), "SCAN orders", type(None), of_orders),
        (
            lambda _, **query: store.cancellation_facets(**query),
            "SCAN cancellations",
            type(None),
            _combinations(account=(None, A), state=(None, "scheduled"), since_or_until=_TIMES),
        ),
    ]
    try:
        for ask, allowed, kind, queries in lists:
            for query in queries:
                for window in windows.get(kind, (None,)):
                    with _statements(monkeypatch) as statements:
                        await ask(window, **query)
                    assert statements
                    only = allowed if not any(query.values()) else "-"
                    assert not await _faults(store, statements, only), query
    finally:
        await store.close()
