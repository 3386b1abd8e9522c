"""Policy test: what a policy would decide on one order at one moment, with nothing recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from msgspec import structs, to_builtins

from app.core.aggregate import OrderAggregate
from app.core.event import Event
from app.core.policy.context import PolicyContext
from app.core.policy.decide import consider
from app.core.policy.evaluate import clause_values, values_of
from app.core.policy.model import Mode, Outcome, Policy
from app.core.unit_of_work import AccountView, UnitOfWork

DORMANT = "dormant"
"""The outcome where no event of the order triggers the policy."""


def preview(
    policy: Policy,
    account: AccountView,
    aggregate: OrderAggregate,
    now: datetime,
    events: Sequence[Event],
    duplicates: Sequence[dict[str, str]] = (),
) -> dict[str, Any]:
    """The data of the decision that the policy would make on the order; its former decisions do not count.

    Args:
        policy: is tested in shadow mode.
        account: the order's; it need not have the policy.
        aggregate: the order.
        now: the time at which the policy decides.
        events: what triggers the policy.
        duplicates: the records of the other orders that are the same to the provider.
    """
    policy = replace(policy, mode=Mode.SHADOW)
    aggregate = structs.replace(aggregate, policy_states=())
    unit = UnitOfWork(aggregate, replace(account, policies=(policy,)), now)
    context = PolicyContext(lambda _unit, _within: list(duplicates))
    consider(unit, context, events)
    if unit.events:
        return unit.events[-1].data
    verdict = unit.verdict()
    dormant = bool(aggregate.order.version and not events and policy.on)
    return {
        "policy": policy.id,
        "outcome": DORMANT if dormant else Outcome.UNMATCHED.value,
        "detail": "No event of the order triggers it." if dormant else "The order is over.",
        "clauses": to_builtins(clause_values(policy, values_of(policy, unit, context, None))),
        "verdict": {"cancelable": verdict.cancelable.value, "reason": verdict.reason},
        "evidence": list(verdict.evidence),
    }
