"""What every store must do for policies: limits counted, orders that are the same, re-checks, and the log by order."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from contract.store_cases import ALL, A, at, commit, event, job, new_cancellation, order, place, receipt, write
from msgspec.structs import replace

from app.contract import Phase, Source
from app.core.aggregate import JobKind, OrderAggregate
from app.core.attempt import Attempt
from app.core.cancellation import State, Waiting
from app.core.event import Event, internal_event
from app.core.policy.limits import PolicyUsage
from app.store import Backtest, Changes, OrderWrite, RecheckOrders, ResourceChange, Store, StoredResponse, Window
from app.store.filters import CancellationFilter, EventFilter


def opened(id: str, minutes: float, **more: Any) -> OrderAggregate:
    aggregate = order(id, **more)
    return replace(aggregate, order=replace(aggregate.order, opened_at=at(minutes)))


async def test_jobs_that_a_held_policy_wants_sent_stay_where_they_are(store: Store) -> None:
    plans = {
        1: job("o-1", due=0, policy="p"),
        2: job("o-2", due=1, policy="q"),
        3: job("o-3", due=2),
        4: job("o-4", due=30, policy="p"),
        5: job("o-5", due=40),
    }
    for pk, planned in plans.items():
        await place(store, pk, planned.order, job=planned)

    async def found(held: Sequence[str] | None) -> list[int]:
        return [pk for pk, _ in await store.jobs(A, at(9), 9, held)]

    assert await found(()) == [1, 2, 3]
    assert await found(("p",)) == [2, 3]
    assert await found(("p", "q", "r")) == [3]
    assert await found(None) == [3]
    assert await store.next_due(A, at(9), ()) == at(30)
    assert await store.next_due(A, at(9), ("p",)) == await store.next_due(A, at(9), None) == at(40)
    assert (await store.jobs(A, at(9), 1))[0][1].policy == "p"


async def test_deadlines_of_what_waits_the_earliest_first(store: Store) -> None:
    plans = {
        1: job("o-1", urgent_by=at(9)),
        2: job("o-2", urgent_by=at(3)),
        3: job("o-3"),
        4: job("o-4", urgent_by=at(1), sending=True),
        5: job("o-5", urgent_by=at(2), account="other"),
        6: job("o-6", urgent_by=at(20)),
    }
    for pk, planned in plans.items():
        await place(store, pk, planned.order, account=planned.account, job=planned)
    assert await store.deadlines(A, at(9), 9) == [at(3), at(9)]
    assert await store.deadlines(A, at(99), 1) == [at(3)]


async def test_what_policies_did_is_counted_in_the_hour_and_in_the_day(store: Store) -> None:
    when = {"a": -24 * 60, "b": -24 * 60 + 1, "c": -60, "d": -59, "e": 0}
    made = [
        (1, replace(new_cancellation(f"can_{id}", "o-1", policy="p"), requested_at=at(then)))
        for id, then in when.items()
    ]
    made += [(1, new_cancellation("can_q", "o-1", policy="q")), (1, new_cancellation("can_x", "o-1"))]
    await commit(store, orders=[write(1, order("o-1"))], cancellations=made)
    async with store.transaction() as transaction:
        usage = await transaction.policy_usage(["p", "q", "r"], at(0))
        assert usage == {"p": PolicyUsage(2, 4), "q": PolicyUsage(1, 1)}
        await transaction.commit(Changes())
    assert [each.id for _, each in await store.cancellations(ALL, CancellationFilter(policy="q"))] == ["can_q"]


async def test_cancellations_by_batch_and_by_what_they_wait_for(store: Store) -> None:
    made = [
        (1, new_cancellation("can_1", "o-1", batch="bat_1", waiting=Waiting.APPROVAL)),
        (1, new_cancellation("can_2", "o-1", batch="bat_1")),
        (1, new_cancellation("can_3", "o-1", batch="bat_1", state=State.SUCCEEDED, waiting=Waiting.NOTHING)),
        (1, new_cancellation("can_4", "o-1")),
    ]
    await commit(store, orders=[write(1, order("o-1"))], cancellations=made)
    assert await store.batch_states("bat_1") == {"scheduled": 2, "succeeded": 1}
    assert await store.batch_states("bat_2") == {}
    assert {each.id for _, each in await store.cancellations(ALL, CancellationFilter(batch="bat_1"))} == {
        "can_1",
        "can_2",
        "can_3",
    }
    assert [each.id for _, each in await store.cancellations(ALL, CancellationFilter(waiting="approval"))] == ["can_1"]
    assert {each.id for _, each in await store.cancellations(ALL, CancellationFilter(waiting="send_slot"))} == {
        "can_2",
        "can_4",
    }


async def test_open_orders_are_counted_no_further_than_asked(store: Store) -> None:
    phases = [Phase.OPEN, Phase.UNKNOWN, Phase.IN_PROGRESS, Phase.COMPLETED, Phase.CANCELED]
    await commit(store, orders=[write(pk, order(f"o-{pk}", phase=phase)) for pk, phase in enumerate(phases, 1)])
    await commit(store, orders=[write(9, order("o-9", account="other"))])
    async with store.transaction() as transaction:
        assert await transaction.count_open_orders([A], 99) == 3
        assert await transaction.count_open_orders([A, "other"], 99) == 4
        assert await transaction.count_open_orders([A], 2) == 2
        assert await transaction.count_open_orders([], 2) == 0
        await transaction.commit(Changes())


async def test_orders_that_are_the_same(store: Store) -> None:
    marks = {1: 7, 2: 7, 3: -8, 4: None, 5: 7}
    accounts = {5: "other"}
    for pk, mark in marks.items():
        aggregate = order(f"o-{pk}", accounts.get(pk, A))
        await commit(store, orders=[OrderWrite(pk, aggregate, "yes", None, None, had_job=False, fingerprint=mark)])
    async with store.transaction() as transaction:
        assert await transaction.fingerprints([1, 3, 4, 77]) == {1: 7, 3: -8}
        found = await transaction.orders_with_fingerprints({A: [7, -8, 9]}, 9)
        told = sorted((mark, pk, aggregate.order.id) for _, mark, pk, aggregate in found)
        assert told == [(-8, 3, "o-3"), (7, 1, "o-1"), (7, 2, "o-2")]
        assert [pk for _, _, pk, _ in await transaction.orders_with_fingerprints({A: [7]}, 1)] == [2]
        await transaction.commit(Changes())


async def settle(store: Store) -> None:
    while await store.recheck_step(99):
        pass


async def test_many_orders_are_rechecked_in_steps(store: Store) -> None:
    names = [f"o-{number}" for number in range(10)]
    writes = [
        OrderWrite(number + 1, order(name), "yes", None, None, had_job=False, closes_at=at(20))
        for number, name in enumerate(names)
    ]
    others = [OrderWrite(number + 20, order(f"b-{number}", "b"), "yes", None, None, had_job=False) for number in (1, 2)]
    await commit(store, orders=[*writes, *others])

    async def overdue(minutes: float) -> int:
        return len(await store.overdue(at(minutes), 99))

    await commit(store, rechecks=[RecheckOrders(A, at(1)), *(RecheckOrders(f"none-{n}", at(1)) for n in range(999))])
    marked = [await overdue(5)]
    while await store.recheck_step(3):
        marked.append(await overdue(5))
    assert marked[-1] == 10
    assert all(later - earlier <= 3 for earlier, later in pairwise(marked))
    assert not await store.recheck_step(3)
    await commit(store, rechecks=[RecheckOrders("b", at(3))])
    await settle(store)
    assert await overdue(5) == 12
    lead = timedelta(minutes=5)
    await commit(store, orders=writes)
    await commit(store, rechecks=[RecheckOrders(A, at(4), closing_lead=lead)])
    while await store.recheck_step(4):
        pass
    assert (await overdue(14), await overdue(16)) == (2, 12)


async def test_steps_reach_the_last_order_although_changes_keep_coming(store: Store) -> None:
    writes = [OrderWrite(pk, order(f"o-{pk}"), "yes", None, None, had_job=False) for pk in range(1, 11)]
    marked: set[str] = set()
    for minute in range(1, 5):
        await commit(store, orders=writes, rechecks=[RecheckOrders(A, at(minute))])
        for _ in range(2):
            await store.recheck_step(3)
        marked |= {name for _, name in await store.overdue(at(9), 99)}
    assert len(marked) == 10
    await settle(store)
    assert len(await store.overdue(at(9), 99)) == 10


async def test_only_open_orders_are_rechecked(store: Store) -> None:
    async def overdue() -> list[str]:
        return [name for _, name in await store.overdue(at(5), 99)]

    writes = [
        OrderWrite(1, order("o-1"), "yes", None, None, had_job=False, fingerprint=7),
        OrderWrite(2, order("o-2"), "yes", at(99), None, had_job=False, fingerprint=7),
        OrderWrite(3, order("o-3"), "yes", at(1), None, had_job=False),
        OrderWrite(4, order("o-4", phase=Phase.COMPLETED), "no", None, None, had_job=False, fingerprint=7),
        OrderWrite(5, order("o-5", "other"), "yes", None, None, had_job=False, fingerprint=7),
    ]
    await commit(store, orders=writes)
    assert await overdue() == ["o-3"]
    await commit(store, rechecks=[RecheckOrders(A, at(4), 7, 1)])
    await settle(store)
    assert [name for name in await overdue() if name != "o-1"] == ["o-3", "o-2"], "and perhaps the one that is left out"
    await commit(store, rechecks=[RecheckOrders(A, at(2))])
    await settle(store)
    assert await overdue() == ["o-3", "o-1", "o-2"], "what is due earlier stays so"
    trail = [ResourceChange("accounts", "x", 1, at(0), "me", "create", {})]
    await store.save_resources([], [], trail, [RecheckOrders("other", at(5))])
    await settle(store)
    assert "o-5" in await overdue()
    assert "o-4" not in await overdue()


async def test_a_time_to_look_stays_until_somebody_has_looked(store: Store) -> None:
    async def rechecked(stored: float | None, written: float | None, *, evaluated: bool) -> bool:
        """Is the order overdue at 5?"""
        times = [None if each is None else at(each) for each in (stored, written)]
        await commit(store, orders=[OrderWrite(1, order("o-1"), "yes", times[0], None, had_job=False)])
        again = OrderWrite(1, order("o-1"), "yes", times[1], None, had_job=False, evaluated=evaluated)
        await commit(store, orders=[again])
        return bool(await store.overdue(at(5), 9))

    assert await rechecked(1, None, evaluated=False)
    assert await rechecked(1, 9, evaluated=False)
    assert await rechecked(9, 1, evaluated=False)
    assert await rechecked(None, 1, evaluated=False)
    assert not await rechecked(1, None, evaluated=True)
    assert not await rechecked(1, 9, evaluated=True)


async def test_orders_by_when_they_were_opened(store: Store) -> None:
    await commit(store, orders=[write(pk, opened(f"o-{pk}", pk * 10)) for pk in range(1, 5)])
    assert [aggregate.order.id for aggregate in await store.orders_opened(A, at(20), at(30), 9)] == ["o-3", "o-2"]
    assert [aggregate.order.id for aggregate in await store.orders_opened(A, at(0), at(99), 1)] == ["o-4"]
    assert await store.orders_opened("other", at(0), at(99), 9) == []


async def test_decisions_of_a_policy_the_newest_first(store: Store) -> None:
    told = [("p", "acted"), ("q", "acted"), ("p", "waiting"), ("p", "unmatched")]
    events = [
        internal_event(
            A, "o-1", f"policy.{outcome}", str(n), at(n), Source.CLOCK, {"policy": policy, "outcome": outcome}
        )
        for n, (policy, outcome) in enumerate(told)
    ]
    await place(store, 1, "o-1", event("o-1", 9, data={"policy": "p"}), *events)
    rows = await store.decisions("p", Window(2))
    assert [each.data["outcome"] for _, each in rows] == ["unmatched", "waiting"]
    assert [each.data["outcome"] for _, each in await store.decisions("p", Window(9, rows[-1][0]))] == ["acted"]
    assert await store.decisions("none", ALL) == []


async def test_types_of_decisions_find_events_with_several(store: Store) -> None:
    def decided(key: str, minutes: float, **outcomes: str) -> Event:
        decisions = [
            {"policy": policy, "outcome": outcome, "clauses": [], "values": []} for policy, outcome in outcomes.items()
        ]
        data = {"decisions": decisions, "clauses": [], "verdict": {}, "evidence": []}
        return internal_event(A, "o-1", "policy.decided", key, at(minutes), Source.CLOCK, data)

    alone = internal_event(
        A, "o-1", "policy.shadowed", "z", at(3), Source.CLOCK, {"policy": "p", "outcome": "shadowed"}
    )
    await place(store, 1, "o-1", decided("a", 1, p="acted", q="shadowed"), decided("b", 2, p="failed", q="held"), alone)
    both = {"policy.shadowed": [3, 1], "policy.acted": [1], "policy.[fh]*": [2], "policy.joined": [], "*ed": [3, 2, 1]}
    of_p = {"policy.shadowed": [3], "policy.acted": [1], "policy.h*": []}
    for indexed in (False, True):
        for policy, wanted in ((None, both), ("p", of_p)):
            for pk in (None, 1):
                for type, minutes in wanted.items():
                    rows = await store.events(ALL, EventFilter(types=[type], policy=policy, order_pk=pk))
                    assert [event.received_at for _, event in rows] == [at(minute) for minute in minutes], type
                    facets = await store.event_facets(EventFilter(types=[type], policy=policy, order_pk=pk))
                    assert facets.total == len(minutes), type
        assert len(await store.events(ALL, EventFilter(types=["policy.shadowed"], account=A))) == 2
        if not indexed:
            await store.open_search_index()
            while (await store.fill_search_index(100)).behind:
                pass


async def test_a_policy_fails_when_its_last_few_decisions_all_did(store: Store) -> None:
    told = {
        "always": ["failed"] * 3,
        "lately": ["acted", "failed", "failed", "failed", "failed", "failed"],
        "mended": ["failed"] * 6 + ["unmatched"],
        "once": ["acted", "failed"],
        "twice": ["failed", "failed"],
    }
    events = [
        internal_event(
            A, "o-1", f"policy.{outcome}", f"{policy}-{n}", at(n), Source.CLOCK, {"policy": policy, "detail": str(n)}
        )
        for policy, outcomes in told.items()
        for n, outcome in enumerate(outcomes)
    ]
    await place(store, 1, "o-1", *events)
    found = await store.failing_policies([*told, "none"])
    assert {policy: event.data["detail"] for policy, event in found.items()} == {"always": "2", "lately": "5"}
    assert await store.failing_policies([]) == {}


async def test_the_log_order_by_order(store: Store) -> None:
    for pk in range(1, 6):
        await place(store, pk, f"o-{pk}", event(f"o-{pk}", pk))
    await commit(store, events=[(1, event("o-1", 50)), (3, event("o-3", 40))])
    await place(store, 9, "x-1", event("x-1", 1, account="other"), account="other")
    pages = await store.histories([A], 0, 1 << 62, 2)
    assert [(pk, [each.occurred_at for each in events]) for pk, events in pages] == [(1, [at(1), at(50)]), (2, [at(2)])]
    assert [pk for pk, _ in await store.histories([A], 2, 4, 9)] == [3, 4]
    assert [pk for pk, _ in await store.histories([A, "other"], 4, 1 << 62, 9)] == [5, 9]
    assert await store.count_orders([A]) == 5
    assert await store.every_nth_order([A], 2) == [2, 4]
    together = [(pk, each.occurred_at) for pk, each in await store.history_together([3, 1])]
    assert together == [(1, at(1)), (3, at(3)), (1, at(50)), (3, at(40))], "in the order of the log"


async def test_how_long_the_latest_cancels_took(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def took(id: int, ended: float, **more: Any) -> Attempt:
        given = {"kind": JobKind.CANCEL, "outcome": "succeeded", **more}
        return Attempt(id, 1, A, "o-1", given.pop("kind"), "can_1", at(0), at(ended), **given)

    await place(store, 1, "o-1", receipts=[receipt(1)])
    rows = [took(1, 3), took(2, 1), took(3, 2), took(4, 9, kind=JobKind.PROBE), took(5, 8, outcome="interrupted")]
    await commit(store, attempts=rows)
    assert await store.latencies_s(A, 2) == [120.0, 180.0]
    assert await store.latencies_s("other", 2) == []
    for kind in ("sqlite", "postgres"):
        monkeypatch.setattr(f"app.store.{kind}.read.attempts._LOOKED_AT", 3)
    assert await store.latencies_s(A, 2) == [180.0], "no further back than so many attempts, of whatever kind"


async def test_backtests_and_former_versions_are_remembered(store: Store) -> None:
    for number, (policy, condition_hash) in enumerate([("p", "one"), ("p", "two"), ("q", "three"), ("p", "two")], 1):
        await store.save_backtest(Backtest(number, policy, condition_hash, at(number), "ann", {"events": number}))
    assert await store.backtested_conditions("p") == {"one", "two"}
    await store.save_backtest(Backtest(9, "r", "of nothing", at(9), "ann", {"events": 0}))
    assert await store.backtested_conditions("r") == set(), "it showed nobody anything"
    latest = await store.backtests("p", Window(2))
    assert [(each.id, each.at, each.by, each.report) for each in latest] == [
        (4, at(4), "ann", {"events": 4}),
        (2, at(2), "ann", {"events": 2}),
    ]
    assert [each.id for each in await store.backtests("p", Window(2, 4))] == [2, 1]
    trail = [
        ResourceChange("policies", "p", 1, at(0), "me", "create", {"mode": "shadow"}),
        ResourceChange("policies", "p", 2, at(1), "me", "update", {"mode": "enforce"}),
        ResourceChange("policies", "p", 2, at(2), "me", "delete", {"mode": "enforce", "gone": True}),
        ResourceChange("accounts", "p", 1, at(3), "me", "create", {}),
    ]
    await store.save_resources([], [], trail)
    assert await store.former_bodies("policies", "p") == [{"mode": "enforce"}, {"mode": "shadow"}]
    assert await store.removed_at("policies", "p") == at(2)
    assert await store.removed_at("accounts", "p") is None


async def test_an_answer_is_kept_by_its_key(store: Store) -> None:
    await store.save_response(StoredResponse("k", b"digest", b"sealed", at(0)))
    assert await store.stored_response("k") == StoredResponse("k", b"digest", b"sealed", at(0))
