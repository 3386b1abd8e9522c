"""Limits of policies, as they hold live and in a backtest."""

from __future__ import annotations

import pytest
from unit.core.book import Book
from unit.core.support import PROBED, at, phase, policy_of

from app.contract import Phase
from app.core.policy.limits import Limits, PolicyUsage, ReachedLimit


@pytest.mark.parametrize(
    ("limits", "usage", "reached"),
    [
        (Limits(), PolicyUsage(10**6, 10**6), None),
        (Limits(per_hour=2), PolicyUsage(1, 9), None),
        (Limits(per_hour=2), PolicyUsage(2, 2), ReachedLimit("per_hour", "its limit of 2 in an hour is reached")),
        (Limits(per_day=3), PolicyUsage(0, 2), None),
        (Limits(per_day=3), PolicyUsage(0, 3), ReachedLimit("per_day", "its limit of 3 in a day is reached")),
        (Limits(open_share=0.1), PolicyUsage(0, 2, open_orders=30), None),
        (
            Limits(open_share=0.1),
            PolicyUsage(0, 3, open_orders=39),
            ReachedLimit("open_share", "its limit of 10.00% of the open orders in a day is reached (3 of 3)"),
        ),
        (Limits(open_share=0.1), PolicyUsage(0, 0, open_orders=3), None),
    ],
)
def test_the_limit_that_forbids_one_more_cancel(
    limits: Limits, usage: PolicyUsage, reached: ReachedLimit | None
) -> None:
    assert limits.reached(usage) == reached


@pytest.mark.parametrize("share", [0.0001, 0.1, 0.33, 1.0])
def test_so_many_open_orders_are_as_good_as_any_number(share: float) -> None:
    limits = Limits(open_share=share)
    for cancels in range(50):
        needed = limits.open_orders_needed(cancels)
        for done in range(cancels + 1):
            assert limits.reached(PolicyUsage(0, done, needed)) is None


def test_a_policy_that_reaches_its_limit_halts_itself() -> None:
    book = Book(PROBED, "probe", policy_of(limits=Limits(per_day=1)))
    book.context.usage["p"] = PolicyUsage()
    book.hear(phase("opened", 0, Phase.OPEN))
    assert (book.decisions("p"), book.context.usage["p"].in_day) == (["acted"], 1)
    other = Book(PROBED, "probe", policy_of(limits=Limits(per_day=1)))
    other.context.usage = book.context.usage
    other.hear(phase("opened", 5, Phase.OPEN))
    assert other.policy_state("p").detail == "The policy halted itself: its limit of 1 in a day is reached"
    [halt] = other.context.halts
    assert (halt.scope, halt.reason, halt.since, halt.by) == (
        "policy:p",
        "its limit of 1 in a day is reached",
        at(5),
        "rescind",
    )
