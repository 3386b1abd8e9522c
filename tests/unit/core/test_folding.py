"""Facts that come late are folded together, with few steps, and give what folding them one by one gives."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from unit.core.support import ACCOUNT, ORDER, at, fact, one_by_one, phase
from unit.core.test_order import event_sets

from app.contract import Facts, Order, Phase, Source
from app.core import order as orders
from app.core.aggregate import OrderAggregate, comes_late, is_fact
from app.core.event import Event, internal_event
from app.core.event_types import PROBE_ABANDONED, PROBE_FAILED, PROBE_WANTED
from app.core.folding import Folding, replay
from app.core.history import STRIDE, History

BLANK = OrderAggregate(Order(ACCOUNT, ORDER))


@contextmanager
def counted() -> Iterator[Callable[[], int]]:
    """How many events are folded meanwhile."""
    steps, former = 0, orders.apply

    def counting(order: Order, event: Event) -> Order:
        nonlocal steps
        steps += 1
        return former(order, event)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(orders, "apply", counting)
        yield lambda: steps


def own(number: int, type: str, when: float) -> Event:
    data: dict[str, Any] = {"due_at": at(when + 60).isoformat(), "counts": True, "detail": "503", "reason": "refused"}
    return internal_event(ACCOUNT, ORDER, type, f"own {number}", at(when), Source.PROVIDER, data)


@st.composite
def logs(draw: st.DrawFn) -> list[Event]:
    """An order's log: facts in any order, and what became of probes between them."""
    facts: list[Event] = draw(st.permutations(draw(event_sets())))
    types = st.sampled_from([PROBE_FAILED, PROBE_WANTED, PROBE_ABANDONED])
    places = draw(st.lists(st.tuples(st.integers(0, len(facts)), types, st.integers(0, 4)), max_size=4))
    for number, (place, type, when) in enumerate(places):
        facts.insert(place, own(number, type, when))
    return facts


@examples(600)
@given(logs(), st.randoms(use_true_random=False))
def test_folding_together_gives_what_folding_one_by_one_gives(log: list[Event], chance: random.Random) -> None:
    aggregate, facts = BLANK, list[Event]()
    folding, seen = Folding(BLANK), chance.random()
    for event in log:
        if is_fact(event) and folding.history is None and comes_late(folding.aggregate, event):
            folding.history = History(ACCOUNT, ORDER, facts)
        aggregate = one_by_one(aggregate, event, facts)
        if is_fact(event):
            facts.append(event)
        folding.add(event)
        if chance.random() < seen:
            assert msgspec.json.encode(folding.aggregate) == msgspec.json.encode(aggregate)
    assert msgspec.json.encode(folding.aggregate) == msgspec.json.encode(aggregate)
    replayed = replay(log)
    assert replayed is not None
    assert msgspec.json.encode(replayed.aggregate) == msgspec.json.encode(aggregate)


@examples(300)
@given(event_sets(max_size=30), st.data())
def test_a_history_gives_the_fold_whatever_was_folded_before(events: list[Event], data: st.DataObject) -> None:
    rest = data.draw(st.permutations(events))
    history, known = History(ACCOUNT, ORDER), list[Event]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.core.history.STRIDE", 3)
        while rest:
            size = data.draw(st.integers(1, len(rest)))
            part, rest = rest[:size], rest[size:]
            before = history.copy()
            history.add(part)
            if data.draw(st.booleans()):
                assert (history.order, history.head) == orders.fold(ACCOUNT, ORDER, [*known, *part])
                assert (before.order, before.head) == orders.fold(ACCOUNT, ORDER, known)
            known += part
        assert (history.order, history.head) == orders.fold(ACCOUNT, ORDER, events)


def told(number: int, when: float, name: str = "n") -> Event:
    return fact(f"{name} {number}", when, Facts(phase=Phase.OPEN, attributes={"n": number}))


def test_a_late_batch_is_folded_once() -> None:
    stored = [told(n, 10_000 + n) for n in range(3000)]
    late = [told(n, 5_000 + 2.5 * n, "late") for n in range(1000)]
    with counted() as steps:
        folding = Folding(BLANK, history=History(ACCOUNT, ORDER, stored))
        for event in late:
            folding.add(event)
        assert folding.live == ()
        assert folding.aggregate.order.version == 4000
    assert steps() == 4000


def test_what_comes_just_before_the_end_is_folded_from_near_there() -> None:
    history = History(ACCOUNT, ORDER, [told(n, 10_000 + n) for n in range(3000)])
    assert history.order.version == 3000
    with counted() as steps:
        for n in range(100):
            history.add([told(n, 12_990.5 + n / 1000, "late")])
            assert history.order.version == 3001 + n
    assert steps() <= 100 * (2 * STRIDE + 120)
    with counted() as steps:
        for n in range(100):
            history.add([told(n, 20_000 + n, "next")])
            assert history.order.version == 3101 + n
    assert steps() == 100


def test_a_log_that_came_backwards_is_replayed_in_one_pass() -> None:
    log = [told(n, 10_000 - n) for n in range(3000)]
    with counted() as steps:
        replayed = replay(log)
        assert replayed is not None
        assert replayed.aggregate.order.version == 3000
    assert steps() <= 3001


def test_polls_do_not_fold_the_whole_order_each_time() -> None:
    history = History(ACCOUNT, ORDER, [told(n, 10_000 + n) for n in range(1000)])
    with counted() as steps:
        for n in range(200):
            history.add([phase(f"poll {n}", 11_000 + 60 * n, Phase.OPEN, snapshot=True)])
            assert history.order.version == 1001 + n
    assert steps() == 1200
