"""Evaluation of a policy for an order at one moment: whether its condition holds, and whether its moment has come.

Pure, so that a live run and a backtest over the same log cannot differ.

    event or clock ──▶ triggered? ──▶ does the condition hold? ──▶ is it time? ──▶ due: act (app/core/policy/decide.py)
                           │ no               │ no                    │ no
                        nothing           `unmatched`             `waiting` until …, then evaluated again
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from app.contract import Cancelable, Phase
from app.core.event import Event
from app.core.event_types import ClauseValue
from app.core.policy.context import PolicyContext
from app.core.policy.index import OVER, RECHECK_AFTER
from app.core.policy.model import COMPUTED, HOLDING, Outcome, Policy, PolicyState, Trigger
from app.core.policy.scope import context_values
from app.core.unit_of_work import UnitOfWork
from app.kit.cel.expression import Expression, ExpressionFailed
from app.kit.cel.order_view import order_values
from app.kit.duration import format_duration


class Evaluation(Struct, frozen=True):
    """The result of an evaluation. `outcome` None: the policy is due, and acts."""

    outcome: Outcome | None
    detail: str = ""
    trigger: Trigger | None = None
    matched_since: datetime | None = None
    due_at: datetime | None = None


def evaluate(
    policy: Policy,
    state: PolicyState | None,
    unit: UnitOfWork,
    context: PolicyContext,
    events: Sequence[Event],
    *,
    holds: bool | None = None,
) -> Evaluation | None:
    """Evaluate a policy for an order after `events` (none: after time has passed); None: there is nothing to decide.

    `holds` is whether its condition holds, if known already.
    """
    if state is not None and policy.is_settled(state):
        return None
    if state is not None and policy.computes_waiting and state.outcome in COMPUTED:
        state = None  # an earlier release stored what this one computes
    trigger = None
    if policy.is_triggered:
        trigger = next((_trigger(event) for event in reversed(events) if policy.is_triggered_by(event.type)), None)
        trigger = trigger or (state.trigger if state else None)
        if trigger is None:
            return None
    phase = unit.aggregate.order.phase
    if phase in OVER:
        waited = state is not None and state.outcome in (Outcome.WAITING, Outcome.HELD)
        return Evaluation(Outcome.UNMATCHED, f"The order is {phase}.") if waited else None
    if _is_uncertain(state, unit):
        return None
    try:
        result = _evaluate_condition(policy, state, unit, context, trigger, holds)
    except (ExpressionFailed, OverflowError) as error:
        result = Evaluation(Outcome.FAILED, f"{error}.")
    # A policy with `on:` goes dormant when its condition is false: without a trigger it is not evaluated again.
    return Evaluation(
        result.outcome,
        result.detail,
        None if result.outcome is Outcome.UNMATCHED else trigger,
        result.matched_since if policy.wait is not None and policy.since is None else None,
        result.due_at,
    )


def values_of(policy: Policy, unit: UnitOfWork, context: PolicyContext, trigger: Trigger | None) -> dict[str, Any]:
    """The values of the names that the policy reads."""
    values = order_values(unit.aggregate.order, unit.now, policy.names)
    if policy.context_names:
        duplicates = context.find_duplicates(unit, policy.duplicates_within) if policy.reads_duplicates else []
        tags, verdict = unit.aggregate.tags, unit.verdict()
        values |= context_values(policy.context_names, tags, verdict, unit.now, duplicates, trigger)
    return values


def has_ended(policy: Policy, state: PolicyState, unit: UnitOfWork, context: PolicyContext) -> bool:
    """Whether the condition on which the policy acted is false by now. If it cannot be evaluated, it has not ended."""
    if unit.aggregate.order.phase is Phase.UNKNOWN:
        return False
    try:
        return not policy.when.evaluate(values_of(policy, unit, context, state.trigger))
    except ExpressionFailed:
        return False


def clause_values(
    policy: Policy,
    unit: UnitOfWork,
    context: PolicyContext,
    trigger: Trigger | None,
    shared: dict[str, ClauseValue] | None = None,
) -> list[ClauseValue]:
    """The text and the value of every clause of the condition; where it has no value, None and the error.

    `shared` has clauses by text that were evaluated for the same order at the same moment.
    """
    if shared is None or policy.reads_event or policy.reads_duplicates:
        shared = {}
    if any(clause.text not in shared for clause in policy.clauses):
        values = values_of(policy, unit, context, trigger)
        shared |= {clause.text: _clause_value(clause, values) for clause in policy.clauses if clause.text not in shared}
    return [shared[clause.text] for clause in policy.clauses]


def _clause_value(clause: Expression, values: Mapping[str, Any]) -> ClauseValue:
    try:
        return ClauseValue(clause.text, clause.evaluate(values))
    except ExpressionFailed as error:
        return ClauseValue(clause.text, None, str(error))


def policy_check_at(policy: Policy, state: PolicyState | None, now: datetime) -> datetime | None:
    """When to evaluate the policy for this order although no event comes; None: never."""
    if state is None or state.outcome is Outcome.WAITING:
        return state.due_at if state is not None else None
    dormant = state.trigger is None and policy.is_triggered
    rechecked = state.outcome is Outcome.UNMATCHED and "now" in policy.when.names and not dormant
    return now + RECHECK_AFTER if rechecked else None


def _is_uncertain(state: PolicyState | None, unit: UnitOfWork) -> bool:
    """Whether the order's phase is unknown for now, while the policy waits: that neither ends nor restarts the wait."""
    if unit.aggregate.order.phase is not Phase.UNKNOWN or state is None or state.outcome not in HOLDING:
        return False
    return state.due_at is None or state.due_at > unit.now


def _trigger(event: Event) -> Trigger:
    return Trigger(event.id, event.type, event.source.value, event.occurred_at, event.received_at)


def _evaluate_condition(
    policy: Policy,
    state: PolicyState | None,
    unit: UnitOfWork,
    context: PolicyContext,
    trigger: Trigger | None,
    holds: bool | None,
) -> Evaluation:
    now = unit.now
    if holds is None:
        holds = bool(policy.when.evaluate(values_of(policy, unit, context, trigger)))
    if not holds:
        due_at, _ = _due(policy, unit, context, trigger, now) if policy.may_come_true else (None, "")
        if due_at is not None and due_at > now:
            detail = "Its condition reads the time; it is evaluated again then."
            return Evaluation(Outcome.WAITING, detail, due_at=due_at)
        return Evaluation(Outcome.UNMATCHED)
    since = state.matched_since if state is not None and state.matched_since is not None else now
    due_at, why = _due(policy, unit, context, trigger, since)
    if due_at is None or due_at > now:
        return Evaluation(Outcome.WAITING, why, matched_since=since, due_at=due_at)
    return Evaluation(None, matched_since=since)


def _due(
    policy: Policy, unit: UnitOfWork, context: PolicyContext, trigger: Trigger | None, since: datetime
) -> tuple[datetime | None, str]:
    """When the policy's moment comes, and a sentence that says why then. Raises `ExpressionFailed`, OverflowError."""
    if policy.before_close is not None:
        return _before_close(policy.before_close, unit)
    if policy.wait is None:
        return unit.now, ""
    if policy.since is None:
        return since + policy.wait, f"Its condition must hold for {format_duration(policy.wait)}."
    if policy.since_reader is not None:
        moment = policy.since_reader(unit.aggregate.order)
    else:
        moment = policy.since.evaluate(values_of(policy, unit, context, trigger))
    if moment is None:
        return None, f"There is no {policy.since.text} yet."
    return moment + policy.wait, policy.why


def _before_close(length: timedelta, unit: UnitOfWork) -> tuple[datetime | None, str]:
    closes_at = unit.closes_at()
    if closes_at is not None:
        return closes_at - length, f"{format_duration(length)} before the window closes."
    if unit.verdict().cancelable is Cancelable.NO:
        return unit.now, ""
    return None, "The window of this order does not close by the passing of time."
