"""The garbage collector's work is bounded, and so is the garbage that it leaves."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY

from app.runtime import garbage
from app.runtime.garbage import Collector

ROUNDS, SIZE = 15, 4000
UNFROZEN = 20_000


class Link:
    """Half of a cycle."""

    other: Link


def pair() -> Link:
    first, second = Link(), Link()
    first.other, second.other = second, first
    return first


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    thresholds = gc.get_threshold()
    monkeypatch.setattr(garbage, "YOUNG", 500)
    monkeypatch.setattr(garbage, "UNFROZEN_MIN", UNFROZEN)
    monkeypatch.setattr(garbage, "RESTING_MIN", 2000)
    collector = Collector()
    collector.start()
    collector.settle()
    collector._lived = 0  # the objects of the test run are many
    try:
        yield collector
    finally:
        collector.stop()
        gc.unfreeze()
        gc.set_threshold(*thresholds)


def grow(collector: Collector, *, is_at_rest: bool = False) -> list[weakref.ref[Link]]:
    """Hold cycles until they have been frozen, and drop them; returns them as far as they can be found."""
    held = [pair() for _ in range(SIZE)]
    collector.work(is_at_rest=is_at_rest)
    return [weakref.ref(link) for link in held]


def test_cycles_that_outlive_young_collections_do_not_pile_up(collector: Collector) -> None:
    dropped: list[weakref.ref[Link]] = []
    for _ in range(ROUNDS):
        dropped += grow(collector)
        collector._lived = 0
        dropped = [link for link in dropped if link() is not None]
    assert len(dropped) < ROUNDS * SIZE / 3


def test_a_process_at_rest_is_collected(collector: Collector) -> None:
    dropped = grow(collector)
    assert sum(link() is not None for link in dropped) > SIZE / 2, "frozen, and so not freed"
    collector.work(is_at_rest=False)
    assert sum(link() is not None for link in dropped) > SIZE / 2
    collector.work(is_at_rest=True)
    assert not any(link() for link in dropped)


def test_collections_do_not_look_at_what_is_frozen(collector: Collector) -> None:
    held = [pair() for _ in range(SIZE)]
    assert gc.get_count()[2] > 0
    collector.work(is_at_rest=False)
    assert gc.get_freeze_count() > SIZE
    assert not {id(link) for link in held} & {id(thing) for thing in gc.get_objects()}, "frozen ones are not listed"


def test_pauses_are_measured_by_generation(collector: Collector) -> None:
    def count(generation: int) -> float:
        labels = {"generation": str(generation)}
        return REGISTRY.get_sample_value("rescind_gc_pause_seconds_count", labels) or 0.0

    before = count(0), count(2)
    gc.collect(0)
    gc.collect()
    gc.collect()
    collector.work(is_at_rest=False)
    assert (count(0) - before[0], count(2) - before[1]) >= (1, 2)
