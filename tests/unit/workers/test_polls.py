"""Which orders are asked about, and how often those that give no answer."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from app.config.models import Polling
from app.workers import polling as polling_module
from app.workers.polling import UNANSWERED_MAX_S, Polls

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Quiet:
    """A store of orders that nothing is heard of, with one node."""

    single_writer = True

    def __init__(self, number: int) -> None:
        self.orders = [(pk, f"o-{pk}") for pk in range(1, number + 1)]

    async def quiet_orders(self, account: str, before: datetime, limit: int) -> list[tuple[int, str]]:  # noqa: ARG002 - as the store's
        return self.orders[:limit]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(polling_module, "time", clock)
    return clock


def account(**more: Any) -> Any:
    return SimpleNamespace(spec=SimpleNamespace(id="acme", polling=Polling(**{"every_s": 10.0, **more})))


def polls(store: Quiet, clock: Clock, heard_at: float | None = None) -> Polls:
    kept: Any = store
    return Polls(kept, heard_at=heard_at or clock.now)


async def asked(it: Polls, most: int = 100, busy: tuple[int, ...] = (), **more: Any) -> list[int]:
    jobs = await it.due(account(**more), NOW, most, busy)
    assert all(job.poll and job.cancellation is None and job.order == f"o-{pk}" for pk, job in jobs)
    return [pk for pk, _ in jobs]


async def test_every_order_has_its_turn_however_few_are_asked_about_at_a_time(clock: Clock) -> None:
    it = polls(Quiet(7), clock)
    turns = [await asked(it, most=3) for _ in range(4)]
    assert turns == [[1, 2, 3], [4, 5, 6], [7], []]


async def test_an_order_that_a_call_is_about_already_is_left_out_and_costs_no_place(clock: Clock) -> None:
    it = polls(Quiet(5), clock)
    assert await asked(it, most=2, busy=(1, 2, 3)) == [4, 5]
    assert await asked(it, most=5) == [1, 2, 3]


async def test_an_order_that_gives_no_answer_is_asked_about_at_longer_and_longer_intervals(clock: Clock) -> None:
    it, times = polls(Quiet(1), clock), list[float]()
    for _ in range(200_000):
        if await asked(it):
            times.append(clock.now)
        if len(times) > 16:
            break
        clock.now += 10.0
    waits = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert waits[:5] == [10, 20, 40, 80, 160]
    assert max(waits) == UNANSWERED_MAX_S


async def test_an_order_that_was_heard_of_begins_anew(clock: Clock) -> None:
    store = Quiet(1)
    it = polls(store, clock)
    for _ in range(6):
        await asked(it)
        clock.now += 10_000
    (quiet,), store.orders = store.orders, []
    assert await asked(it) == []
    store.orders = [quiet]
    assert await asked(it) == [1]
    clock.now += 9.0
    assert await asked(it) == []
    clock.now += 1.0
    assert await asked(it) == [1], "after the shortest interval again"


async def test_when_quiet_waits_for_silence_since_the_last_webhook_or_the_beginning(clock: Clock) -> None:
    fresh, told = polls(Quiet(1), clock), polls(Quiet(1), clock, heard_at=clock.now + 50)
    quiet = {"when": "quiet", "quiet_after_s": 100.0}
    clock.now += 99.0
    assert await asked(fresh, **quiet) == []
    clock.now += 1.0
    assert await asked(fresh, **quiet) == [1]
    assert await asked(told, **quiet) == []
    clock.now += 50.0
    assert await asked(told, **quiet) == [1]


@pytest.mark.parametrize(("every_s", "look_s"), [(0.1, 0.05), (1.0, 0.25), (40.0, 10.0), (86_400.0, 60.0)])
def test_how_often_it_looks(clock: Clock, every_s: float, look_s: float) -> None:
    assert polls(Quiet(0), clock).look_again_s(Polling(every_s=every_s)) == look_s
