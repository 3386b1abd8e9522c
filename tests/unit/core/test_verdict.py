from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace as altered
from datetime import datetime
from typing import Any

import pytest
from unit.core.support import ACCOUNT, CUTOFF_S, ORDER, PROBED, SmallRules, appointment, at, fact, phase, verdict

from app.contract import Cancelable, Facts, Order, Phase, Verdict
from app.core import order as orders
from app.core.verdict import ALREADY_CANCELED, NEVER_SEEN, RULE_FAILED, STALE, judge

RULES = SmallRules()


def breaks(*_: Any) -> Verdict:
    raise ZeroDivisionError("no such rule")


def asks(order: Order, rules: Any, now: datetime) -> Verdict:
    return Verdict(Cancelable.YES, "asked", order.id, evidence=(str(rules.cutoff_s),), changes_at=now)


def folded(*facts: Facts) -> Order:
    return orders.fold(ACCOUNT, ORDER, [fact(str(n), n, each) for n, each in enumerate(facts)])[0]


def judged(order: Order, by: Callable[[Order, Any, datetime], Verdict] = verdict) -> Verdict:
    return judge(altered(PROBED, verdict=by), RULES, order, at(100))


@pytest.mark.parametrize("by", [verdict, breaks, asks])
def test_an_order_never_heard_of_is_unknown_to_every_handler(by: Callable[..., Verdict]) -> None:
    found = judged(Order(ACCOUNT, ORDER), by)

    assert (found.cancelable, found.reason, found.evidence) == (Cancelable.UNKNOWN, NEVER_SEEN, ())
    assert found.explanation


@pytest.mark.parametrize("by", [verdict, breaks, asks])
def test_a_canceled_order_is_not_cancelable_whatever_the_handler_says(by: Callable[..., Verdict]) -> None:
    order = folded(Facts(phase=Phase.OPEN), Facts(phase=Phase.CANCELED), Facts(provider_status="x"))
    found = judged(order, by)

    assert (found.cancelable, found.reason) == (Cancelable.NO, ALREADY_CANCELED)
    assert found.evidence == (order.sources["phase"],)


@pytest.mark.parametrize("order_phase", [each for each in Phase if each is not Phase.CANCELED])
def test_else_the_handler_judges_by_the_rules_of_the_account_and_the_time(order_phase: Phase) -> None:
    rules = SmallRules(cutoff_s=7.0)
    found = judge(altered(PROBED, verdict=asks), rules, folded(Facts(phase=order_phase)), at(100))

    assert found == Verdict(Cancelable.YES, "asked", ORDER, ("7.0",), at(100))


@pytest.mark.parametrize("order_phase", [each for each in Phase if each is not Phase.CANCELED])
def test_a_rule_that_breaks_makes_it_unknown_and_never_no(order_phase: Phase) -> None:
    order = folded(Facts(phase=order_phase, provider_status="x"), Facts(appointments_complete=True))
    found = judged(order, breaks)

    assert (found.cancelable, found.reason) == (Cancelable.UNKNOWN, RULE_FAILED)
    assert found.evidence == order.evidence("phase", "appointments")
    for part in ("small", "ZeroDivisionError", "no such rule"):
        assert part in found.explanation


class Silent(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even that")


def breaks_without_words(*_: Any) -> Verdict:
    raise Silent


def recurses(order: Order, rules: Any, now: datetime) -> Verdict:
    return recurses(order, rules, now)


@pytest.mark.parametrize("by", [breaks, breaks_without_words, recurses])
def test_judge_never_raises(by: Callable[..., Verdict]) -> None:
    assert judged(folded(Facts(phase=Phase.OPEN)), by).reason == RULE_FAILED


def test_the_provider_of_these_tests_judges_as_they_expect() -> None:
    assert judged(folded(Facts(phase=Phase.OPEN))).cancelable is Cancelable.YES
    later = judged(folded(Facts(phase=Phase.OPEN, appointments=(appointment(3701),))))
    assert (later.cancelable, later.changes_at) == (Cancelable.YES, at(101))
    soon = folded(Facts(phase=Phase.OPEN), Facts(appointments=(appointment(3700),)))
    assert judged(soon).cancelable is Cancelable.NO
    assert judged(soon).evidence == (soon.sources["appointments"],)
    assert judged(orders.fold(ACCOUNT, ORDER, [phase("1", 1, Phase.UNKNOWN)])[0]).cancelable is Cancelable.UNKNOWN


# -- Freshness -------------------------------------------------------------------------------


def stale(order: Order, now: float, after_s: float | None = 60.0, by: Callable[..., Verdict] = verdict) -> Verdict:
    return judge(altered(PROBED, verdict=by), RULES, order, at(now), after_s)


def test_a_yes_lasts_as_long_as_the_news_is_fresh() -> None:
    order = folded(Facts(phase=Phase.OPEN))
    fresh, old = stale(order, 59.9), stale(order, 60)

    assert (fresh.cancelable, fresh.changes_at) == (Cancelable.YES, at(60))
    assert (old.cancelable, old.reason, old.evidence) == (Cancelable.UNKNOWN, STALE, (order.sources["phase"],))
    assert old.changes_at is None
    assert stale(order, 10**6, None).cancelable is Cancelable.YES


def test_the_window_may_close_before_the_news_is_old() -> None:
    order = folded(Facts(phase=Phase.OPEN, appointments=(appointment(CUTOFF_S + 30),)))

    assert stale(order, 29).changes_at == at(30)
    assert stale(order, 29, 29.5).changes_at == at(29.5)
    assert stale(order, 31).cancelable is Cancelable.NO, "old news is no reason to believe in it again"


@pytest.mark.parametrize("order_phase", [each for each in Phase if each is not Phase.OPEN])
def test_what_is_no_or_unknown_does_not_age(order_phase: Phase) -> None:
    order = folded(Facts(phase=order_phase))

    assert stale(order, 10**6) == stale(order, 10**6, None)


def test_any_word_on_the_order_makes_it_fresh_again() -> None:
    order = folded(Facts(phase=Phase.OPEN), Facts(attributes={"colour": "red"}))

    assert stale(order, 60.5).cancelable is Cancelable.YES
    assert stale(order, 61.5).cancelable is Cancelable.UNKNOWN
