"""What a policy makes of one order at one moment, with nothing recorded: policy tests, and states that are computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from msgspec import structs, to_builtins

from app.core.aggregate import OrderAggregate
from app.core.event import Event
from app.core.policy.context import PolicyContext
from app.core.policy.decide import decide, recorded_decision
from app.core.policy.evaluate import clause_values
from app.core.policy.index import OVER
from app.core.policy.model import Mode, Outcome, Policy, PolicyState
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
    unit = UnitOfWork(aggregate, account, now)
    context = PolicyContext(lambda _unit, _within: list(duplicates))
    decided = decide(policy, None, unit, context, events)
    if decided is not None:
        data: dict[str, Any] = to_builtins(recorded_decision(policy, decided, unit, context))
        return data
    verdict = unit.verdict()
    dormant = bool(aggregate.order.version and not events and policy.on)
    return {
        "policy": policy.id,
        "outcome": DORMANT if dormant else Outcome.UNMATCHED.value,
        "detail": "No event of the order triggers it." if dormant else "The order is over.",
        "clauses": to_builtins(clause_values(policy, unit, context, None)),
        "verdict": {"cancelable": verdict.cancelable.value, "reason": verdict.reason},
        "evidence": list(verdict.evidence),
    }


def state_of(policy: Policy, unit: UnitOfWork, context: PolicyContext) -> PolicyState | None:
    """The state of a policy for an order: as of its latest decision, or computed where nothing is stored.

    Where the policy is due and has not decided yet, it is what it would decide in shadow mode. None if no event has
    triggered it.
    """
    stored = unit.aggregate.policy_state(policy.id)
    # What an earlier release stored of a wait that this one computes does not count: it may be long past.
    if stored is not None and not policy.computes(stored):
        return stored
    phase = unit.aggregate.order.phase
    if phase in OVER and not policy.is_triggered:
        return PolicyState(policy.id, Outcome.UNMATCHED, policy.condition_hash, detail=f"The order is {phase}.")
    return decide(replace(policy, mode=Mode.SHADOW), None, unit, context, ())
