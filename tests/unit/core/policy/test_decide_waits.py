"""Worked examples: how long policies wait, and when they are checked again."""

from __future__ import annotations

from unit.core.policy.books import DAY, HOUR, book, scheduled, until
from unit.core.support import at, fact, phase, policy_of

from app.contract import Facts, Phase
from app.core.aggregate import after_decisions
from app.core.policy.model import Outcome, PolicyState
from app.core.policy.preview import state_of


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
