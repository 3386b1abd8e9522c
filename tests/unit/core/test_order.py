from __future__ import annotations

from datetime import timedelta, timezone
from itertools import pairwise, permutations

import msgspec
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from unit.core.support import ACCOUNT, ORDER, at, fact, one_by_one, phase

from app.contract import Appointment, Facts, Order, ParsedEvent, Phase, Source
from app.core import aggregate as aggregates
from app.core import order as orders
from app.core.aggregate import OrderAggregate
from app.core.event import Event, event_id, to_event
from app.core.order import ANOMALIES_MAX, SHARED_ALIASES_MAX, SKEW_MAX_S

NAMES = (ORDER, "alias-1", "alias-2")
MOMENTS = st.integers(0, 4)
"""Few, so that most sets hold events of the same moment."""

appointments = st.lists(
    st.builds(Appointment, st.sampled_from("xyz"), st.sampled_from(["booked", "done"]), st.none() | MOMENTS.map(at)),
    max_size=3,
).map(tuple)

facts = st.builds(
    Facts,
    phase=st.none() | st.sampled_from(Phase),
    provider_status=st.none() | st.sampled_from(["new", "odd", ""]),
    opened_at=st.none() | MOMENTS.map(at),
    appointments=st.just(()) | appointments,
    appointments_complete=st.booleans(),
    attributes=st.just({}) | st.dictionaries(st.sampled_from("abc"), st.integers(0, 9), max_size=3),
    aliases=st.just(()) | st.lists(st.sampled_from(NAMES), max_size=2).map(tuple),
    snapshot=st.booleans(),
    shared_aliases=st.just(()) | st.lists(st.sampled_from("rst"), max_size=2).map(tuple),
    unreadable=st.sampled_from([(), ("opened_at",)]),
)


@st.composite
def event_sets(draw: st.DrawFn, max_size: int = 12) -> list[Event]:
    """Different events of one order, which they call by several names."""
    late_s = st.sampled_from([0.0, 0.0, 3.0, 150.0])
    drawn = draw(st.lists(st.tuples(MOMENTS, facts, st.sampled_from(NAMES), late_s), min_size=1, max_size=max_size))
    return [fact(str(n), when, what, order=name, heard=when + late) for n, (when, what, name, late) in enumerate(drawn)]


def arrived(events: list[Event]) -> OrderAggregate:
    """The aggregate after `events` came in one by one, as the ledger folds them."""
    aggregate, log = OrderAggregate(Order(ACCOUNT, ORDER)), list[Event]()
    for event in events:
        if any(event.id == each.id for each in log):
            continue
        aggregate = one_by_one(aggregate, event, log)
        log.append(event)
    return aggregate


@examples(600)
@given(st.data())
def test_any_arrival_order_with_any_duplicates_gives_the_same_order(data: st.DataObject) -> None:
    events = data.draw(event_sets())
    repeats = data.draw(st.lists(st.sampled_from(events), max_size=4))
    arrival = data.draw(st.permutations([*events, *repeats]))

    folded, head = orders.fold(ACCOUNT, ORDER, events)
    aggregate = arrived(arrival)

    assert msgspec.json.encode(aggregate.order) == msgspec.json.encode(folded)
    assert aggregate.head == head


@examples(100)
@given(event_sets(), st.randoms(use_true_random=False))
def test_the_fold_of_a_set_is_the_same_whatever_order_it_is_given_in(events: list[Event], random: object) -> None:
    shuffled = list(events)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    assert orders.fold(ACCOUNT, ORDER, shuffled) == orders.fold(ACCOUNT, ORDER, events)


@examples(100)
@given(event_sets())
def test_the_fold_counts_every_event_and_changes_none_of_its_arguments(events: list[Event]) -> None:
    state = Order(ACCOUNT, ORDER)
    for event in sorted(events, key=lambda each: each.occurred_at):
        before = msgspec.json.encode((state, event))
        after = orders.apply(state, event)
        assert msgspec.json.encode((state, event)) == before
        assert after.version == state.version + 1
        state = after

    assert set(state.sources.values()) | set(state.anomalies) <= {each.id for each in events}
    assert state.id not in state.aliases


def folded(*events: Event) -> Order:
    return orders.fold(ACCOUNT, ORDER, events)[0]


@pytest.mark.parametrize("late", [Phase.OPEN, Phase.IN_PROGRESS, Phase.UNKNOWN, Phase.COMPLETED])
def test_nothing_but_a_snapshot_leads_out_of_canceled(late: Phase) -> None:
    canceled, stray = phase("c", 1, Phase.CANCELED), phase("s", 2, late)
    order = folded(canceled, stray)

    assert order.phase is Phase.CANCELED
    assert order.sources["phase"] == canceled.id
    assert order.anomalies == (() if late is Phase.UNKNOWN else (stray.id,)), "only what contradicts it"
    assert order.version == 2
    assert folded(canceled, phase("s", 2, late, snapshot=True)).phase is late


@pytest.mark.parametrize("late", [Phase.OPEN, Phase.IN_PROGRESS, Phase.UNKNOWN])
def test_only_canceled_or_a_snapshot_leads_out_of_completed(late: Phase) -> None:
    completed, stray = phase("c", 1, Phase.COMPLETED), phase("s", 2, late)
    order = folded(completed, stray)

    assert (order.phase, order.anomalies) == (Phase.COMPLETED, () if late is Phase.UNKNOWN else (stray.id,))
    assert folded(completed, phase("s", 2, late, snapshot=True)).phase is late
    assert folded(completed, phase("s", 2, Phase.CANCELED)).phase is Phase.CANCELED


def test_a_snapshot_that_reopens_an_order_is_the_evidence_and_no_anomaly() -> None:
    snapshot = phase("s", 2, Phase.OPEN, snapshot=True)
    order = folded(phase("c", 1, Phase.CANCELED), snapshot)

    assert (order.phase, order.sources["phase"], order.anomalies) == (Phase.OPEN, snapshot.id, ())


def test_a_snapshot_does_not_outrank_what_happened_after_it_was_taken() -> None:
    assert folded(phase("s", 1, Phase.OPEN, snapshot=True), phase("c", 2, Phase.CANCELED)).phase is Phase.CANCELED


def test_a_repeated_final_phase_is_no_anomaly_and_keeps_its_first_evidence() -> None:
    first = phase("1", 1, Phase.CANCELED)
    order = folded(first, phase("2", 2, Phase.CANCELED))

    assert (order.sources["phase"], order.anomalies) == (first.id, ())


def test_what_is_not_about_the_phase_is_still_taken_in_after_a_final_one() -> None:
    order = folded(phase("c", 1, Phase.CANCELED), fact("s", 2, Facts(provider_status="refunded", attributes={"a": 1})))

    assert (order.provider_status, order.attributes, order.anomalies) == ("refunded", {"a": 1}, ())


def test_only_the_latest_anomalies_are_kept() -> None:
    strays = [phase(str(n), 2 + n, Phase.OPEN) for n in range(ANOMALIES_MAX + 3)]
    order = folded(phase("c", 1, Phase.CANCELED), *strays)

    assert order.anomalies == tuple(each.id for each in strays[-ANOMALIES_MAX:])


def test_phases_may_go_back_before_the_final_ones() -> None:
    assert folded(phase("1", 1, Phase.IN_PROGRESS), phase("2", 2, Phase.OPEN)).phase is Phase.OPEN


STAGES = [None, Phase.OPEN, Phase.UNKNOWN, Phase.IN_PROGRESS, Phase.COMPLETED, Phase.CANCELED]


@pytest.mark.parametrize(("nearer", "further"), list(pairwise(STAGES)))
def test_of_two_events_in_the_same_instant_the_one_further_along_counts(nearer: Phase | None, further: Phase) -> None:
    for one, other in ("ab", "ba"):  # whichever of the ids is the greater
        events = [fact(one, 1, Facts(phase=nearer)), phase(other, 1, further)]
        assert folded(*events).phase is further
        assert folded(*events).anomalies == ()


def test_appointments_are_added_by_id_until_a_list_is_complete() -> None:
    a, b, c = (Appointment(id, "booked", at(9)) for id in "abc")
    moved = Appointment("a", "moved", at(10))
    adding = [fact("1", 1, Facts(appointments=(b,))), fact("2", 2, Facts(appointments=(a, c)))]
    moving = fact("3", 3, Facts(appointments=(moved,)))

    assert folded(*adding).appointments == (a, b, c)
    assert folded(*adding, moving).appointments == (moved, b, c)
    whole = fact("4", 4, Facts(appointments=(c,), appointments_complete=True))
    assert folded(*adding, moving, whole).appointments == (c,)
    none = fact("5", 5, Facts(appointments_complete=True))
    assert folded(*adding, none).appointments == ()
    assert folded(*adding, none).sources["appointments"] == none.id


def test_attributes_are_merged_and_the_latest_word_counts() -> None:
    order = folded(fact("1", 1, Facts(attributes={"a": 1, "b": 1})), fact("2", 2, Facts(attributes={"b": 2, "c": 2})))

    assert order.attributes == {"a": 1, "b": 2, "c": 2}


def test_shared_aliases_are_kept_apart_and_no_more_than_can_be_shown() -> None:
    order = folded(fact("1", 1, Facts(shared_aliases=("r-2",))), fact("2", 2, Facts(shared_aliases=("r-1", "r-2"))))
    assert (order.aliases, order.shared_aliases) == ((), ("r-1", "r-2"))
    many = [fact(str(n), n, Facts(shared_aliases=(f"r-{n:04}",))) for n in range(SHARED_ALIASES_MAX + 9)]
    expected = tuple(f"r-{n:04}" for n in range(SHARED_ALIASES_MAX))
    assert folded(*many).shared_aliases == folded(*reversed(many)).shared_aliases == expected


def test_the_first_event_names_the_order_and_every_other_name_is_an_alias() -> None:
    first = fact("1", 1, Facts(aliases=("n-2",)), order="n-1")
    order = folded(first, fact("2", 2, Facts(aliases=("n-1", "n-0")), order="n-3"))

    assert (order.id, order.aliases) == ("n-1", ("n-0", "n-2", "n-3"))


def test_a_name_is_added_to_thousands_without_sorting_them_again() -> None:
    compared = 0

    class Name(str):
        __slots__ = ()

        def __lt__(self, other: str) -> bool:
            nonlocal compared
            compared += 1
            return super().__lt__(other)

    names = [Name(f"n-{n * 7919 % 600:03}") for n in range(600)]
    events = [fact("0", 0, Facts()), *(fact(str(n), n + 1, Facts(aliases=(name,))) for n, name in enumerate(names))]
    assert folded(*events).aliases == tuple(sorted(map(str, names)))
    assert compared <= 30 * len(names)


def test_an_order_is_open_since_its_first_event_unless_the_provider_says_otherwise() -> None:
    first, second = fact("1", 1, Facts()), fact("2", 2, Facts())

    assert folded(first, second).opened_at == at(1)
    assert folded(first, fact("3", 3, Facts(opened_at=at(-5))), second).opened_at == at(-5)
    assert folded(first, second).last_event_at == at(2)


def test_no_events_make_an_order_never_heard_of() -> None:
    assert orders.fold(ACCOUNT, ORDER, []) == (Order(ACCOUNT, ORDER), None)


def test_evidence_names_the_events_behind_fields_once_each() -> None:
    both = fact("1", 1, Facts(phase=Phase.OPEN, provider_status="new"))
    order = folded(both, fact("2", 2, Facts(appointments_complete=True)))

    assert order.evidence("provider_status", "phase", "nothing") == (both.id,)
    assert order.evidence("appointments", "phase") == (order.sources["appointments"], both.id)


def test_an_event_of_the_same_moment_as_the_latest_comes_late() -> None:
    aggregate = arrived([fact("1", 1, Facts())])

    assert aggregates.comes_late(aggregate, fact("2", 1, Facts()))
    assert aggregates.comes_late(aggregate, fact("2", 0, Facts()))
    assert not aggregates.comes_late(aggregate, fact("2", 1.000001, Facts()))
    assert aggregates.comes_late(aggregate, fact("2", 2, Facts(snapshot=True))), "an earlier one may outrun it"
    assert aggregates.comes_late(aggregate, fact("2", 1 + SKEW_MAX_S, Facts(snapshot=True))), (
        "as far behind as a clock may be"
    )
    assert not aggregates.comes_late(aggregate, fact("2", 1.000001 + SKEW_MAX_S, Facts(snapshot=True))), (
        "too far to outrun it"
    )
    assert not aggregates.comes_late(OrderAggregate(Order(ACCOUNT, ORDER)), fact("2", 0, Facts(snapshot=True)))


# -- Snapshots and clocks --------------------------------------------------------------------


def snapshot(when: float, order_phase: Phase) -> Event:
    return phase("snapshot", when, order_phase, snapshot=True)


@pytest.mark.parametrize("behind_s", [0.0, 1.0, SKEW_MAX_S])
@pytest.mark.parametrize("closing", [Phase.IN_PROGRESS, Phase.COMPLETED, Phase.CANCELED])
def test_what_came_in_after_a_snapshot_was_asked_for_is_not_undone_by_it(behind_s: float, closing: Phase) -> None:
    opened, closed = phase("opened", 0, Phase.OPEN), phase("closed", 200 - behind_s, closing, heard=200.5)
    for arrival in permutations([opened, closed, snapshot(200, Phase.OPEN)]):
        order = arrived(list(arrival)).order
        assert (order.phase, order.sources["phase"]) == (closing, closed.id)


@pytest.mark.parametrize(
    "known",
    [
        phase("known", 199, Phase.IN_PROGRESS, heard=199.9),
        phase("known", 200 - SKEW_MAX_S - 1, Phase.IN_PROGRESS, heard=200.5),
    ],
    ids=["heard before it was asked for", "happened too long ago"],
)
def test_a_snapshot_outranks_what_it_must_have_known(known: Event) -> None:
    for arrival in permutations([known, snapshot(200, Phase.OPEN)]):
        assert arrived(list(arrival)).order.phase is Phase.OPEN


def test_late_news_that_would_reopen_the_order_is_not_believed_after_a_snapshot() -> None:
    late = phase("late", 199, Phase.OPEN, heard=201)
    for arrival in permutations([late, snapshot(200, Phase.IN_PROGRESS)]):
        assert arrived(list(arrival)).order.phase is Phase.IN_PROGRESS


def test_a_later_snapshot_ends_the_race() -> None:
    closed, first = phase("closed", 199, Phase.IN_PROGRESS, heard=201), snapshot(200, Phase.OPEN)
    later = phase("later", 202, Phase.OPEN, snapshot=True)
    for arrival in permutations([closed, first, later]):
        assert arrived(list(arrival)).order.phase is Phase.OPEN


def test_a_moment_is_written_the_same_in_whatever_zone_the_provider_tells_it() -> None:
    here = at(5).astimezone(timezone(timedelta(hours=2)))
    events = [
        to_event(ParsedEvent(ORDER, "order.updated", b"key", Facts(), told), ACCOUNT, at(10), Source.WEBHOOK, None)
        for told in (at(5), here)
    ]

    assert msgspec.json.encode(events[0]) == msgspec.json.encode(events[1])


@pytest.mark.parametrize(("said", "taken"), [(None, 10), (11, 10), (10, 10), (9, 9)])
def test_nothing_happened_after_it_was_heard_of(said: float | None, taken: float) -> None:
    seen = ParsedEvent(ORDER, "order.updated", b"key", Facts(phase=Phase.OPEN), None if said is None else at(said))
    event = to_event(seen, ACCOUNT, at(10), Source.WEBHOOK, "rcp_1")

    assert (event.occurred_at, event.received_at) == (at(taken), at(10))
    assert event.id == event_id(ACCOUNT, ORDER, "order.updated", b"key")
    assert (event.facts, event.source, event.receipt) == (seen.facts, Source.WEBHOOK, "rcp_1")


def test_when_an_order_was_opened_is_not_guessed_where_it_is_stated_otherwise() -> None:
    unreadable, stated, silent = Facts(unreadable=("opened_at",)), Facts(opened_at=at(-60)), Facts()
    told = [
        ([silent], at(0)),
        ([unreadable], None),
        ([unreadable, silent], None),
        ([unreadable, stated], at(-60)),
        ([stated, unreadable], at(-60)),
        ([silent, unreadable], at(0)),
    ]
    for said, opened_at in told:
        order = Order(ACCOUNT, ORDER)
        for number, each in enumerate(said):
            order = orders.apply(order, fact(str(number), number, each))
        assert order.opened_at == opened_at, said
