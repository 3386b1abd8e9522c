"""Worked examples: what policies decide on one order, and when."""

from __future__ import annotations

from dataclasses import replace as altered
from typing import Any

import pytest
from unit.core.support import (
    CANCELLATION,
    PROBED,
    T0,
    Book,
    appointment,
    at,
    fact,
    phase,
    policy_of,
)

from app.contract import Cancelable, Facts, Phase, Verdict
from app.core.aggregate import after_decisions
from app.core.cancellation import Cause, State, Waiting
from app.core.pauses import Pause
from app.core.policy.decide import next_check_at
from app.core.policy.model import Mode, Outcome, Policy, PolicyState
from app.core.policy.preview import state_of

HOUR = 3600.0
DAY = 24 * HOUR


def book(*policies: Policy, **more: Any) -> Book:
    """A book whose order was opened at T0, with these policies."""
    made = Book(PROBED, "probe", *policies)
    made.hear(phase("opened", 0, Phase.OPEN), **more)
    return made


def scheduled(starts: float, when: float) -> Any:
    return fact(f"a-{when}", when, Facts(appointments=(appointment(starts),)))


def until(book: Book) -> float | None:
    """When time alone has the order checked, in seconds after T0."""
    found = next_check_at(book.unit)
    return None if found is None else (found - at(0)).total_seconds()


# -- At once ---------------------------------------------------------------------------------


def test_a_policy_acts_when_its_condition_holds() -> None:
    made = book(policy_of())
    assert made.decisions("p") == ["acted"]
    assert (made.cancellation.state, made.cancellation.policy) == (State.SCHEDULED, "p")
    assert made.cancellation.deadline == at(72 * HOUR)
    assert made.policy_state("p").cancellation == CANCELLATION


def test_a_condition_that_does_not_hold_is_recorded_once_with_the_value_of_each_clause() -> None:
    made = book(policy_of(on=("*",), when="order.phase == 'open' && order.version > 1"))
    (decided,) = [each for each in made.log if each.type == "policy.unmatched"]
    assert decided.data["clauses"] == [
        {"text": "order.phase == 'open'", "value": True},
        {"text": "order.version > 1", "value": False},
    ]
    made.hear(fact("more", 1, Facts(phase=Phase.IN_PROGRESS)))
    assert made.decisions("p") == made.recorded("p") == ["unmatched"]


@pytest.mark.parametrize("wait", ["48h since order.opened_at", "48h", None])
def test_a_condition_that_never_held_is_not_recorded(wait: str | None) -> None:
    made = book(policy_of(when="order.version > 5", wait=wait))
    made.hear(fact("more", 1, Facts(phase=Phase.IN_PROGRESS)))
    assert (made.decisions("p"), made.recorded("p")) == (["unmatched"], [])


def test_a_changed_policy_that_still_does_not_match_says_nothing_new() -> None:
    made = book(policy_of(when="order.version > 5", condition_hash="one"))
    made.have(policy_of(when="order.version > 6", condition_hash="two"))
    made.elapse(10)
    assert made.decisions("p") == ["unmatched"]


def test_a_moment_that_is_past_is_no_next_check() -> None:
    """A rule that names one would have the order looked at again and again."""
    made = Book(altered(PROBED, verdict=lambda *_: Verdict(Cancelable.YES, "open", changes_at=at(-5))))
    made.hear(phase("opened", 0, Phase.OPEN))
    assert until(made) is None


def test_what_cannot_be_evaluated_says_why_and_cancels_nothing() -> None:
    made = book(policy_of(when="order.attributes.rush == 'yes'"))
    assert made.decisions("p") == ["failed"]
    assert 'there is no key "rush"' in made.policy_state("p").detail
    assert made.moved == {}
    made.hear(fact("told", 1, Facts(attributes={"rush": "yes"})))
    assert made.decisions("p") == ["failed", "acted"]


def test_a_policy_has_an_order_canceled_once() -> None:
    made = book(policy_of())
    made.send()
    made.answer_refused()
    made.hear(phase("again", 100, Phase.OPEN))
    made.elapse(200)
    assert made.decisions("p") == ["acted"]
    assert len(made.moved) == 1


def test_in_shadow_it_only_says_what_it_would_do_and_enforces_later() -> None:
    shadow, enforce = policy_of(mode=Mode.SHADOW), policy_of()
    made = book(shadow)
    made.hear(phase("again", 1, Phase.OPEN))
    assert (made.decisions("p"), made.moved) == (["shadowed"], {})
    made.have(enforce)
    made.elapse(10)
    assert made.decisions("p") == ["shadowed", "acted"]


def test_in_shadow_it_speaks_again_once_it_was_changed() -> None:
    made = book(policy_of(mode=Mode.SHADOW, condition_hash="one"))
    made.have(policy_of(mode=Mode.SHADOW, condition_hash="one"))
    made.elapse(10)
    assert made.decisions("p") == ["shadowed"]
    made.have(policy_of(when="order.version > 0", mode=Mode.SHADOW, condition_hash="two"))
    made.hear(phase("again", 20, Phase.OPEN))
    assert made.decisions("p") == ["shadowed", "shadowed"]


# -- Waiting ---------------------------------------------------------------------------------


def test_it_waits_since_a_time_and_looks_again_then() -> None:
    made = book(policy_of(wait="48h since order.opened_at", when="size(order.appointments) == 0"))
    assert (made.decisions("p"), until(made)) == (["waiting"], 2 * DAY)
    made.elapse(2 * DAY - 1)
    assert made.decisions("p") == ["waiting"]
    made.elapse(2 * DAY)
    assert made.decisions("p") == ["waiting", "acted"]


def test_a_condition_that_ceased_to_hold_ends_the_wait() -> None:
    made = book(policy_of(wait="48h since order.opened_at", when="size(order.appointments) == 0"))
    made.hear(scheduled(9 * DAY, HOUR))
    assert made.decisions("p") == ["waiting", "unmatched"]
    made.elapse(3 * DAY)
    assert (made.decisions("p"), made.moved) == (["waiting", "unmatched"], {})


def test_after_a_week_of_downtime_it_acts_late_rather_than_never() -> None:
    made = book(policy_of(wait="48h since order.opened_at"))
    made.elapse(9 * DAY)
    assert made.decisions("p") == ["waiting", "acted"]


def test_after_downtime_the_condition_counts_as_it_is_then() -> None:
    made = book(policy_of(wait="48h since order.opened_at", when="size(order.appointments) == 0"))
    made.batching = True
    made.hear(scheduled(20 * DAY, HOUR), now=9 * DAY)
    made.elapse(9 * DAY)
    assert (made.decisions("p"), made.moved) == (["waiting", "unmatched"], {})


def test_a_clock_that_is_set_back_does_not_make_it_act_early() -> None:
    made = book(policy_of(wait="1h since order.opened_at"))
    made.elapse(-5 * DAY)
    assert made.decisions("p") == ["waiting"]
    made.elapse(HOUR)
    assert made.decisions("p") == ["waiting", "acted"]


def test_the_last_safe_moment_follows_the_appointment() -> None:
    made = book(policy_of(before_close="30m"))
    assert (made.decisions("p"), until(made)) == (["waiting"], None)
    made.hear(scheduled(DAY, 10))  # its window closes an hour before
    assert until(made) == DAY - HOUR - 1800
    made.hear(scheduled(5 * DAY, 20))
    assert until(made) == 5 * DAY - HOUR - 1800
    made.elapse(DAY)
    assert made.moved == {}
    made.elapse(5 * DAY - HOUR - 1800)
    assert made.decisions("p") == ["waiting", "waiting", "waiting", "acted"]
    assert made.cancellation.closes_at == at(5 * DAY - HOUR)


def test_when_the_last_safe_moment_has_passed_it_acts_at_once_while_it_can() -> None:
    made = book(policy_of(before_close="30m"))
    made.hear(scheduled(2 * HOUR, HOUR - 60))
    assert made.decisions("p")[-1] == "acted"


def test_when_the_window_has_closed_it_refrains_with_the_reason() -> None:
    made = book(policy_of(before_close="30m"))
    made.hear(scheduled(HOUR, HOUR - 60))
    assert made.decisions("p")[-1] == "refrained"
    assert made.policy_state("p").detail == "The appointment is too close."
    assert made.moved == {}


def test_a_condition_must_hold_without_a_break() -> None:
    made = book(policy_of(wait="6h", when="order.provider_status == 'stuck'"))
    made.hear(fact("s1", 10, Facts(provider_status="stuck")))
    made.hear(fact("still", HOUR, Facts(provider_status="stuck", attributes={"x": 1})))
    assert until(made) == 10 + 6 * HOUR
    made.hear(fact("moves", 2 * HOUR, Facts(provider_status="moving")))
    made.hear(fact("s2", 3 * HOUR, Facts(provider_status="stuck")))
    assert until(made) == 9 * HOUR
    made.elapse(10 + 6 * HOUR)
    assert made.moved == {}
    made.elapse(9 * HOUR)
    assert made.decisions("p") == ["unmatched", "waiting", "unmatched", "waiting", "acted"]


def test_a_condition_that_reads_the_time_is_rechecked() -> None:
    made = book(policy_of(when="now - order.opened_at > duration('90m')"))
    assert until(made) == HOUR
    made.elapse(HOUR)
    assert (made.decisions("p"), until(made)) == (["unmatched"], 2 * HOUR)
    made.elapse(2 * HOUR)
    assert made.decisions("p") == ["unmatched", "acted"]


def test_an_order_that_is_over_and_a_dormant_policy_are_not_rechecked() -> None:
    made = book(policy_of(when="now - order.opened_at > duration('90m')"))
    made.hear(phase("done", 60, Phase.COMPLETED))
    assert until(made) is None
    made = book(policy_of(on=("order.late",), when="now - order.opened_at > duration('90m')"))
    made.hear(fact("l", 10, Facts(attributes={"late": True}), type="order.late"))
    assert (made.decisions("p"), until(made)) == (["unmatched"], None)


def test_what_reads_the_time_is_looked_at_when_its_moment_comes() -> None:
    policy = policy_of(when="now - order.opened_at >= duration('2h')", wait="2h since order.opened_at")
    made = book(policy)
    assert (made.decisions("p"), until(made)) == (["waiting"], 2 * HOUR)
    made.elapse(2 * HOUR)
    assert made.decisions("p") == ["waiting", "acted"]


def test_what_an_earlier_release_stored_of_a_wait_is_not_shown_and_changes_nothing() -> None:
    policy = policy_of(wait="48h since order.opened_at", when="size(order.appointments) == 0")
    made = book(policy)
    stored = PolicyState("p", Outcome.WAITING, "old", number=4, due_at=at(5 * HOUR))
    made.unit.aggregate = after_decisions(made.aggregate, [stored])
    shown = state_of(policy, made.unit, made.context)
    assert shown is not None
    assert (shown.outcome, shown.due_at) == (Outcome.WAITING, at(2 * DAY))
    made.hear(scheduled(9 * DAY, HOUR))
    shown = state_of(policy, made.unit, made.context)
    assert shown is not None
    assert (shown.outcome, until(made), made.recorded("p")) == (Outcome.UNMATCHED, 9 * DAY - HOUR, [])
    made.hear(fact("off", 2 * HOUR, Facts(appointments_complete=True)))
    made.elapse(2 * DAY)
    assert (made.recorded("p"), made.policy_state("p").number) == (["acted"], 5)


def test_what_an_earlier_release_stored_of_a_wait_does_not_hold_it_up() -> None:
    made = book(policy_of(when="true", wait="48h since order.opened_at"))
    stored = PolicyState("p", Outcome.WAITING, "old", number=4, due_at=at(90 * DAY))
    made.unit.aggregate = after_decisions(made.aggregate, [stored])
    made.hear(phase("unclear", HOUR, Phase.UNKNOWN))
    made.elapse(2 * DAY)
    assert made.recorded("p") == ["acted"]


# -- The event that triggers it --------------------------------------------------------------


def test_only_events_of_its_types_wake_it() -> None:
    made = book(policy_of(on=("order.late*",)))
    made.elapse(5)
    assert made.decisions("p") == []
    made.hear(fact("l", 10, Facts(attributes={"late": True}), type="order.late.again"))
    assert made.decisions("p") == ["acted"]


def test_it_goes_dormant_when_its_condition_is_false() -> None:
    made = book(policy_of(on=("order.late",), when="has(order.attributes.x)"))
    made.hear(fact("l", 10, Facts(attributes={"late": True}), type="order.late"))
    made.hear(fact("other", 20, Facts(attributes={"x": 1})))
    made.elapse(30)
    assert made.decisions("p") == ["unmatched"]


def test_what_woke_it_is_still_known_when_its_time_comes() -> None:
    made = book(policy_of(on=("order.late",), when="event.type == 'order.late'", wait="1h since event.occurred_at"))
    made.hear(fact("l", 10, Facts(attributes={"late": True}), type="order.late"))
    made.hear(fact("other", 20, Facts(attributes={"x": 1})))
    assert until(made) == 10 + HOUR
    made.elapse(10 + HOUR)
    assert made.decisions("p") == ["waiting", "acted"]


def test_of_several_events_each_policy_is_triggered_by_its_own() -> None:
    made = Book(PROBED, "probe", policy_of(on=("order.late",), when="event.type == 'order.late'"))
    late = fact("l", 10, Facts(phase=Phase.OPEN), type="order.late")
    made.hear(late, fact("other", 20, Facts(attributes={"x": 1})), now=30)
    assert made.decisions("p") == ["acted"]


# -- What was so when it acted ----------------------------------------------------------------


def told(key: str, when: float, paid: str, phase: Phase | None = None) -> Any:
    return fact(key, when, Facts(phase=phase, attributes={"paid": paid}))


UNPAID = "order.attributes.paid == 'no'"


@pytest.mark.parametrize("mode", [Mode.ENFORCE, Mode.APPROVE])
def test_what_was_not_sent_is_taken_back_when_the_condition_ceases_to_hold(mode: Mode) -> None:
    made = Book(PROBED, "probe", policy_of(when=UNPAID, mode=mode))
    made.hear(told("opened", 0, "no", Phase.OPEN))
    made.hear(told("paid", 5, "yes"))
    assert (made.cancellation.state, made.cancellation.cause) == (State.REVOKED, Cause.CONDITION_ENDED)
    assert made.decisions("p")[1:] == ["unmatched"]
    assert made.approve(10) is None
    made.hear(told("bounced", 20, "no"))
    assert made.decisions("p")[2:] == made.decisions("p")[:1]


def test_a_probe_that_shows_that_it_is_so_no_more_ends_it() -> None:
    made = Book(PROBED, "probe", policy_of(when=UNPAID))
    made.hear(told("opened", 0, "no", Phase.UNKNOWN))
    assert made.cancellation.waiting is Waiting.PROBE
    made.ask()
    made.tell(Facts(phase=Phase.OPEN, attributes={"paid": "yes"}), 10)
    assert made.cancellation.cause is Cause.CONDITION_ENDED


def test_what_was_sent_is_not_taken_back() -> None:
    made = Book(PROBED, "probe", policy_of(when=UNPAID))
    made.hear(told("opened", 0, "no", Phase.OPEN))
    made.send()
    made.hear(told("paid", 5, "yes"))
    assert (made.cancellation.state, made.decisions("p")) == (State.SENDING, ["acted"])


def test_not_knowing_is_no_reason_to_take_it_back_or_to_begin_a_wait_anew() -> None:
    made = book(policy_of(), policy_of("q", wait="6h"))
    made.hear(phase("unclear", HOUR, Phase.UNKNOWN))
    assert made.cancellation.state is State.SCHEDULED
    made.tell(Phase.OPEN, 2 * HOUR)
    assert made.decisions("q") == ["waiting"]
    assert made.policy_state("q").due_at == at(6 * HOUR)


# -- Others ----------------------------------------------------------------------------------


def test_two_policies_one_cancellation() -> None:
    made = book(policy_of("a"), policy_of("b"))
    assert (made.decisions("a"), made.decisions("b")) == (["acted"], ["joined"])
    assert made.policy_state("b").cancellation == made.policy_state("a").cancellation == CANCELLATION
    assert list(made.moved) == [CANCELLATION]


def test_a_cancel_by_hand_is_joined() -> None:
    made = book(policy_of(when="order.version > 1"))
    made.request_cancel(10)
    made.hear(phase("again", 20, Phase.OPEN))
    assert made.decisions("p") == ["unmatched", "joined"]


def test_a_person_who_revokes_has_the_last_word() -> None:
    made = book(policy_of("a"), policy_of("b"))
    made.revoke()
    made.hear(phase("again", 20, Phase.OPEN))
    made.elapse(30)
    assert made.decisions("b") == ["joined", "refrained"]
    assert "A person revoked" in made.policy_state("b").detail
    assert len(made.moved) == 1


def test_what_holds_a_policy_back_is_said_and_looked_at_again() -> None:
    made = Book(PROBED, "probe", policy_of())
    made.context.pauses["policy:p"] = Pause("policy:p", "a stock-take", T0, "ann")
    made.hear(phase("opened", 0, Phase.OPEN))
    assert (made.decisions("p"), made.policy_state("p").detail) == (
        ["held"],
        "The policy is paused since 2026-03-01T12:00:00Z: a stock-take",
    )
    made.elapse(5)
    assert made.decisions("p") == ["held"]
    made.context.pauses.clear()
    made.elapse(10)
    assert made.decisions("p") == ["held", "acted"]


def test_tags_are_seen_at_once() -> None:
    made = book(policy_of(when="'rush' in order.tags && !('vip' in order.tags)"))
    made.tag("vip", "rush")
    assert made.decisions("p") == ["unmatched"]
    made.tag(remove=("vip",))
    assert made.decisions("p") == ["unmatched", "acted"]
    assert made.aggregate.tags == ("rush",)


def test_an_order_that_is_over_concerns_no_policy() -> None:
    made = Book(PROBED, "probe", policy_of(when="true"))
    made.hear(phase("done", 0, Phase.COMPLETED))
    assert made.recorded("p") == []


def test_a_wait_ends_with_the_order() -> None:
    made = book(policy_of(when="true", wait="48h since order.opened_at"))
    made.hear(phase("done", 10, Phase.COMPLETED))
    assert (made.decisions("p"), until(made)) == (["waiting", "unmatched"], None)


def test_the_others_that_are_the_same() -> None:
    made = Book(PROBED, "probe", policy_of(when="order.duplicates.exists(d, d.came == 'before')"))
    made.hear(phase("opened", 0, Phase.OPEN))
    made.duplicates = [{"id": "o-0", "came": "before"}]
    made.elapse(5)
    assert made.decisions("p") == ["unmatched", "acted"]
