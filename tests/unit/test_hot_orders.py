"""Hot orders cost what they have: work by the number of names, memory by their length."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from app.contract import Cancelable
from app.core.outbound.told import Told
from app.engine import hot_orders
from app.engine.hot_orders import HotOrders
from app.store import Changes, FoundOrder, Lookup, OrderWrite

ACCOUNT, NAMES = "acme-photos", 1000


class CountedName(str):
    """A name that counts how often one is compared with another."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        CountedName.compared += 1
        return str.__eq__(self, other) is True

    def __hash__(self) -> int:
        return str.__hash__(self)


class Stored:
    """A store, and a transaction on it, with one order that has all names that it is asked for."""

    single_writer, orders_replaced = True, 0

    def __init__(self, number: int = 1) -> None:
        self.order = FoundOrder(number, "{}", Told(Cancelable.YES, "open", None, None), "")

    async def find(self, names: Any, _events: Any) -> Lookup:
        return Lookup(dict.fromkeys(names, self.order), frozenset())


def hot_orders_of(**more: int) -> Any:
    store: Any = Stored()
    return HotOrders(store, **more)


async def test_an_order_of_many_names_costs_no_more_than_many_orders() -> None:
    hot = hot_orders_of()
    names = [(ACCOUNT, CountedName(f"alias-{number}")) for number in range(NAMES)]
    CountedName.compared = 0
    await hot.look_up(Stored(), names[: NAMES // 2], ())
    await hot.look_up(Stored(), names, ())
    assert CountedName.compared < 10 * NAMES
    assert hot.orders[1][1] == tuple(names)


async def test_long_names_count_by_their_length() -> None:
    hot, maximum = hot_orders_of(bytes_max=1 << 20), 1 << 20
    for number in range(100):
        names = [(ACCOUNT, f"{number}-{place}-" + "ü" * 50_000) for place in range(2)]
        await hot.look_up(Stored(number), names, ())
        held = sum(len(name) for _, names in hot.orders.values() for _, name in names)
        assert 0 < held < maximum


async def test_what_was_taken_over_in_part_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    hot = hot_orders_of()
    await hot.look_up(Stored(), [(ACCOUNT, "a")], ())
    hot.begin_writing()

    def fail(*_given: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(hot_orders, "_after", fail)
    write: Any = SimpleNamespace(pk=1)
    orders: list[OrderWrite] = [write]
    with pytest.raises(RuntimeError):
        hot.update({1: Stored().order}, Changes(orders=orders), ())
    assert hot.is_outdated
