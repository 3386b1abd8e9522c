"""A rehearsal: what a policy would make of one order at one moment, without anything coming of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from msgspec import structs

from app.core.aggregate import OrderAggregate
from app.core.event import Event
from app.core.policy import evaluate
from app.core.policy.decide import View, consider, record
from app.core.policy.evaluate import Sight
from app.core.policy.model import Mode, Outcome, Policy, PolicyState
from app.core.unit_of_work import AccountView, UnitOfWork

ASLEEP = "asleep"
"""No event woke it that it listens to."""


class Rehearsed:
    """The surroundings of a rehearsal: nothing holds a policy back, and it acts on nothing."""

    def __init__(self, duplicates: Sequence[dict[str, str]] = ()) -> None:
        self._duplicates = list(duplicates)

    def hold(self, _policy: Policy, _now: datetime, /) -> str | None:
        """See `Surroundings.hold`."""
        return None

    def acts(self, _policy: Policy, /) -> str:
        """See `Surroundings.acts`."""
        raise AssertionError("a rehearsal is in shadow mode")

    def duplicates(self, _desk: UnitOfWork, _within: timedelta, /) -> list[dict[str, str]]:
        """See `Surroundings.duplicates`."""
        return self._duplicates

    def note(self, desk: UnitOfWork, policy: Policy, decided: PolicyState, sight: Sight, /) -> None:
        """See `Surroundings.note`."""
        record(desk, policy, decided, sight)


def rehearse(
    policy: Policy, account: AccountView, case: OrderAggregate, now: datetime, woken: Sequence[Event], around: Rehearsed
) -> dict[str, Any]:
    """What the policy decides on the case, as the data of its decision; former decisions do not count."""
    shadow = replace(policy, mode=Mode.SHADOW)
    alone = replace(account, policies=(shadow,))
    desk = UnitOfWork(structs.replace(case, policy_states=()), alone, now)
    consider(desk, around, woken)
    if desk.events:
        return desk.events[-1].data
    sight, verdict = View(desk, around), desk.verdict()
    over = "The order is over." if not sight.order.version or woken or not policy.on else ""
    return {
        "policy": policy.id,
        "outcome": ASLEEP if not over else Outcome.UNMATCHED.value,
        "detail": over or "No event of the order is one that wakes it.",
        "clauses": evaluate.clause_values(policy, evaluate.values_of(policy, sight, None)),
        "verdict": {"cancelable": verdict.cancelable.value, "reason": verdict.reason},
        "evidence": list(verdict.evidence),
    }
