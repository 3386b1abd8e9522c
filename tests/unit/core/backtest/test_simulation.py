"""A backtest of one order, and the sum of what it finds."""

from __future__ import annotations

import gc
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from unit.core.support import ACCOUNT, ORDER, PROBED, SmallRules, appointment, at, fact, phase, policy_of

from app.contract import Facts, Phase
from app.core.backtest.report import Report
from app.core.backtest.run import Decision, Simulation, in_shadow
from app.core.event import Event
from app.core.policy.limits import Limits
from app.core.policy.model import Outcome, Policy
from app.core.unit_of_work import AccountView

HOUR = 3600.0


def decided(policy: Policy, *log: Event, since: float = 0, until: float = 90 * 24 * HOUR) -> list[Decision]:
    made, views = in_shadow(policy, [AccountView(ACCOUNT, PROBED, SmallRules())])
    return Simulation(made, views, at(since), at(until)).run([(1, event) for event in log])


def received_as(receipt: str, *events: Event) -> list[Event]:
    return [replace(event, receipt=receipt) for event in events]


def test_only_what_was_known_then_decides() -> None:
    """The appointment was made in time, and heard of too late."""
    policy = policy_of(when="size(order.appointments) == 0", wait="48h since order.opened_at")
    made = fact("a", 3 * HOUR, Facts(appointments=(appointment(400 * HOUR),)), heard=50 * HOUR)
    (found,) = decided(policy, phase("opened", 0, Phase.OPEN), made)
    assert (found.at, found.outcome) == (at(48 * HOUR), Outcome.SHADOWED)
    heard = replace(made, received_at=at(4 * HOUR))
    assert decided(policy, phase("opened", 0, Phase.OPEN), heard) == []


def test_what_one_webhook_told_counts_together() -> None:
    opened = phase("opened", 0, Phase.OPEN)
    more = fact("more", 0, Facts(attributes={"keep": True}))
    policy = policy_of(when="order.phase == 'open' && !has(order.attributes.keep)")
    assert len(decided(policy, opened, more)) == 1
    assert decided(policy, *received_as("rcp_1", opened, more)) == []


def test_before_it_began_to_live_it_decides_nothing() -> None:
    opened, closed = phase("opened", 0, Phase.OPEN), phase("closed", HOUR, Phase.COMPLETED)
    assert len(decided(policy_of(), opened, closed)) == 1
    assert decided(policy_of(), opened, closed, since=2 * HOUR) == []
    (found,) = decided(policy_of(), opened, since=2 * HOUR)
    assert found.at == at(2 * HOUR)


def test_it_ends_when_it_is_told_to() -> None:
    policy = policy_of(wait="48h since order.opened_at")
    assert decided(policy, phase("opened", 0, Phase.OPEN), until=47 * HOUR) == []
    assert decided(policy_of(), phase("opened", 2 * HOUR, Phase.OPEN), until=HOUR) == []


def test_it_tells_what_happened_in_the_end() -> None:
    (found,) = decided(policy_of(), phase("opened", 0, Phase.OPEN), phase("done", HOUR, Phase.COMPLETED))
    assert (found.happened, found.canceled_by, found.cancelable) == ("completed", None, "yes")


def test_too_late_is_told_with_the_reason() -> None:
    (found,) = decided(policy_of(when="true"), phase("begun", 0, Phase.IN_PROGRESS))
    assert (found.outcome, found.detail, found.cancelable) == (Outcome.REFRAINED, "It is no longer open.", "no")


def test_a_simulation_leaves_no_cycles() -> None:
    """The processes of a backtest do not look for cycles: a million orders would stay in memory."""
    log = [phase("opened", 0, Phase.OPEN), phase("late", -HOUR, Phase.OPEN, heard=HOUR)]
    policy = policy_of(wait="48h since order.opened_at")
    while gc.collect():  # the finalizers of what other tests left may leave more
        pass
    gc.disable()
    try:
        assert decided(policy, *log)
        assert gc.collect() == 0
    finally:
        gc.enable()


# -- The report ------------------------------------------------------------------------------


def report(*moments: float, listed: int = 10, spans: Any = (), **limits: Any) -> dict[str, Any]:
    made = Report(Limits(**limits), listed)
    for moment in moments:
        made.add(Decision(ACCOUNT, ORDER, at(moment), Outcome.SHADOWED, "", "yes", "open", happened="open"))
    for opened, closed in spans:
        made.add_open_time(at(opened), None if closed is None else at(closed))
    return made.summary()


@pytest.mark.parametrize(
    ("moments", "limits", "before", "by"),
    [
        ((0, 10, 20), {"per_hour": 3}, 3, None),
        ((0, 10, 20), {"per_hour": 2}, 2, "per_hour"),
        ((0, 10, HOUR), {"per_hour": 2}, 3, None),
        ((0, 10, HOUR + 9), {"per_hour": 2}, 3, None),
        ((20, 0, HOUR - 1), {"per_hour": 2}, 2, "per_hour"),
        ((0, 2 * HOUR, 4 * HOUR), {"per_day": 2}, 2, "per_day"),
        ((0, 2 * HOUR, 24 * HOUR), {"per_day": 2}, 3, None),
    ],
)
def test_where_its_limits_would_have_halted_it(
    moments: tuple[float, ...], limits: dict[str, int], before: int, by: str | None
) -> None:
    found = report(*moments, **limits)
    assert (found["would_cancel"], found["before_halt"], found["halted_by"]) == (len(moments), before, by)
    assert (found["halted_at"] is None) is (by is None)


def test_a_share_of_the_orders_that_were_open_then() -> None:
    spans = [(-10, None)] * 6 + [(-10, 5)] * 4
    assert report(0, 1, 2, spans=spans, open_share=0.3)["halted_by"] is None
    assert report(0, 6, 7, spans=spans, open_share=0.3)["before_halt"] == 1
    assert report(0, spans=spans, open_share=0.0001)["before_halt"] == 1, "one is always allowed"


def test_the_earliest_are_listed_and_all_are_counted() -> None:
    found = report(5, 3, 1, 4, 2, listed=2)
    assert [each["at"] for each in found["decisions"]] == [
        at(1).isoformat().replace("+00:00", "Z"),
        "2026-03-01T12:00:02Z",
    ]
    assert (found["would_cancel"], found["decisions_total"]) == (5, 5)
    assert (found["first_at"], found["last_at"]) == (at(1), at(5))
    assert found["in_time"] == 5
    assert found["last_at"] - found["first_at"] == timedelta(seconds=4)
