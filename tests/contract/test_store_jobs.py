"""What every store must do for lanes and timers: due jobs, overdue orders, silent orders and counted calls."""

from __future__ import annotations

from contract.store_cases import ALL, A, at, attempt, commit, job, order, place, write

from app.contract import Order, Phase
from app.core.aggregate import JobKind, OrderAggregate
from app.core.attempt import Uptime
from app.store import Store
from app.store.filters import OrderFilter


async def test_jobs_that_failed_come_after_those_that_did_not_and_are_asked_for_beside_them(store: Store) -> None:
    plans = {
        1: job("o-1", due=1, urgent_by=at(80), failures=1),
        2: job("o-2", due=0, urgent_by=at(70), failures=3),
        3: job("o-3", due=0, urgent_by=at(90)),
        4: job("o-4", due=0),
        5: job("o-5", due=20, urgent_by=at(60), failures=1),
    }
    for pk, planned in plans.items():
        await place(store, pk, planned.order, job=planned)
    assert await store.jobs(A, at(9), 9) == [(pk, plans[pk]) for pk in (3, 4, 2, 1)]
    assert [pk for pk, _ in await store.jobs(A, at(9), 1)] == [3, 2]
    assert await store.deadlines(A, at(99), 9) == [at(90)], "those that failed take no turn from others"


async def test_jobs_come_the_most_urgent_first_then_the_longest_due(store: Store) -> None:
    plans = {
        1: job("o-1", due=1),
        2: job("o-2", due=0),
        3: job("o-3", due=3, deadline=at(90), urgent_by=at(90)),
        4: job("o-4", due=2, deadline=at(80), urgent_by=at(80)),
        5: job("o-5", due=1, urgent_by=at(90)),
        6: job("o-6", due=0, deadline=at(1), sending=True),
        7: job("o-7", due=50, deadline=at(60), urgent_by=at(60)),
        8: job("o-8", due=0, account="other"),
    }
    for pk, planned in plans.items():
        await place(store, pk, planned.order, account=planned.account, job=planned)
    assert [pk for pk, _ in await store.jobs(A, at(9), 9)] == [4, 5, 3, 2, 1]
    assert [pk for pk, _ in await store.jobs(A, at(9), 2)] == [4, 5]
    assert [pk for pk, _ in await store.jobs(A, at(0), 9)] == [2]
    assert [pk for pk, _ in await store.jobs(A, at(50), 1)] == [7]
    assert await store.next_due(A, at(9)) == at(50)
    assert await store.next_due(A, at(50)) is None
    assert await store.next_due("other", at(-1)) == at(0)
    assert await store.interrupted_calls() == [(A, "o-6")]
    assert await store.orders_under_way() == {A: 1}
    assert await store.next_deadline() == at(1)
    assert await store.overdue(at(80), 9) == [(A, "o-6"), (A, "o-7"), (A, "o-4")]
    assert await store.overdue(at(80), 1) == [(A, "o-6")]
    assert await store.overdue(at(80), 2, latest=True) == [(A, "o-4"), (A, "o-7")]
    assert await store.overdue(at(0), 9) == []


async def test_orders_whose_verdict_time_has_changed_are_overdue_too(store: Store) -> None:
    aggregate = order("o-1")
    await commit(store, orders=[write(1, aggregate, next_check_at=5)], names=[(A, "o-1", 1)])
    await place(store, 2, "o-2", job=job("o-2", deadline=at(3)))
    assert await store.next_deadline() == at(3)
    assert await store.overdue(at(4), 9) == [(A, "o-2")]
    assert await store.overdue(at(5), 9) == [(A, "o-2"), (A, "o-1")]
    await commit(store, orders=[write(1, aggregate, cancelable="no")])
    assert await store.overdue(at(99), 9) == [(A, "o-2")]
    assert [pk for pk, _ in await store.orders(ALL, OrderFilter(account=A, cancelable="no"))] == [1]


async def test_quiet_orders_are_those_not_over_the_longest_unheard_of_first(store: Store) -> None:
    heard = {1: ("o-1", 7, Phase.OPEN), 2: ("o-2", 3, Phase.UNKNOWN), 3: ("o-3", 1, Phase.COMPLETED)}
    heard |= {4: ("o-4", 2, Phase.CANCELED), 5: ("o-5", 5, Phase.IN_PROGRESS), 6: ("o-6", 9, Phase.OPEN)}
    for pk, (id, last, phase) in heard.items():
        known = Order(account=A, id=id, phase=phase, version=1, last_event_at=at(last))
        await commit(store, orders=[write(pk, OrderAggregate(known))], names=[(A, id, pk)])
    await commit(store, orders=[write(7, order("o-7", "other"))], names=[("other", "o-7", 7)])
    assert await store.quiet_orders(A, at(9), 9) == [(2, "o-2"), (5, "o-5"), (1, "o-1")]
    assert await store.quiet_orders(A, at(9), 2) == [(2, "o-2"), (5, "o-5")]
    assert await store.quiet_orders(A, at(3), 9) == []


async def test_calls_are_counted_by_the_clock_that_says_that_they_are_the_latest(store: Store) -> None:
    here, elsewhere = 1, 2
    attempts = [
        attempt(1, 1, ended_at=at(-60), ended_up=Uptime(here, 5700_000_000)),
        attempt(2, 1, ended_at=at(60), ended_up=Uptime(here, 5640_000_000), calls=2),
        attempt(3, 1, ended_at=at(7), ended_up=Uptime(here, 3600_000_000), calls=3),
        attempt(4, 1, ended_at=at(6), ended_up=Uptime(elsewhere, 5940_000_000), calls=4),
        attempt(5, 1, ended_at=at(-20), ended_up=Uptime(elsewhere, 5940_000_000), calls=5),
        attempt(6, 1, ended_at=at(-20), ended_up=Uptime(here, 4800_000_000), calls=6),
        attempt(7, 1, ended_at=at(8), ended_up=Uptime(here, 5880_000_000), calls=7),
        attempt(8, 1, ended_at=at(8), ended_up=Uptime(here, 5880_000_000), calls=7),
    ]
    await commit(store, attempts=attempts)
    found = await store.calls_within(A, 600, at(10), Uptime(here, 6000_000_000))
    assert sorted(found) == [(0, 2), (120, 7), (120, 7), (180, 3), (240, 4), (300, 1)]
    by_the_clock_alone = await store.calls_within(A, 600, at(10), None)
    assert sorted(by_the_clock_alone) == [(0, 2), (120, 7), (120, 7), (180, 3), (240, 4)]


async def test_calls_are_counted_by_when_they_ended(store: Store) -> None:
    ends = [at(0), at(5), at(10)]
    attempts = [attempt(n, 1, ended_at=end, calls=n + 1) for n, end in enumerate(ends)]
    other = attempt(9, 1, ended_at=at(7))
    await place(store, 1, "o-1", attempts=[*attempts, attempt(8, 1)])
    assert sorted(await store.calls_within(A, 660, at(11), None)) == [(60, 3), (360, 2)]
    assert await store.calls_within("other", 660, at(11), None) == []
    assert [each.id for each in await store.unfinished_attempts()] == [8]
    (out,) = await store.unfinished_attempts()
    await commit(store, attempts=[out.interrupted(at(11), None, "gone"), other])
    assert await store.unfinished_attempts() == []
    assert await store.calls_within(A, 60, at(11), None) == [(0, 1)]
    assert [each.id for each in await store.attempts(1, 2)] == [9, 8]
    assert {each.kind for each in await store.attempts(1, 9)} == {JobKind.CANCEL}
