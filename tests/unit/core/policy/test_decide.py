"""Worked examples: what policies decide on one order, and when."""

from __future__ import annotations

from dataclasses import replace as altered
from typing import Any

import pytest
from unit.core.book import Book
from unit.core.policy.books import HOUR, book, until
from unit.core.support import CANCELLATION, PROBED, T0, at, fact, phase, policy_of

from app.contract import Cancelable, Facts, Phase, Verdict
from app.core.cancellation import Cause, State, Waiting
from app.core.pauses import Pause
from app.core.policy.model import Mode

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
