"""Decisions: what the policies of an account decide on an order, each an event in the log.

A decision is recorded when it differs from the one before it. So the log shows for every order and every policy what
was decided at any time and why, and the state of a policy is the fold of its decisions.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec.structs import asdict, replace

from app.contract import InvalidCancel, Phase, Source
from app.core.admission import admit, propose, schedule
from app.core.aggregate import after_decision, is_fact
from app.core.cancellation import Cancellation, Cause, State
from app.core.commands import Command
from app.core.event import Event
from app.core.event_types import POLICY_PREFIX, PolicyDecision, VerdictSummary
from app.core.policy.context import PolicyContext
from app.core.policy.evaluate import Evaluation, clause_values, evaluate, has_ended, policy_check_at, values_of
from app.core.policy.model import ACTED, Mode, Outcome, Policy, PolicyState
from app.core.unit_of_work import UnitOfWork

FAILING_DECISIONS = 5
"""A policy fails if its latest decisions, so many at most, all failed."""
FAILURES_MIN = 3
"""With fewer decisions no policy fails."""


def consider(unit: UnitOfWork, context: PolicyContext, events: Sequence[Event]) -> None:
    """Let every policy of the account decide on an order, after the facts in `events` (none: time has passed)."""
    settled = {state.policy for state in unit.aggregate.policy_states if state.outcome in ACTED}
    review(unit, context)
    for policy in unit.account.policies:
        state = unit.aggregate.policy_state(policy.id)
        if policy.id in settled:
            continue  # it has acted; if that was taken back just now, it decides anew from the next time on
        evaluation = evaluate(policy, state, unit, context, events)
        if evaluation is None:
            continue
        if evaluation.outcome is None:
            decided = _act(policy, state, unit, context, evaluation)
        else:
            decided = _state_after(policy, state, evaluation)
        if _differs(state, decided):
            record(unit, context, policy, decided)


def events_to_consider(command: Command[Any], new: Sequence[Event]) -> list[Event] | None:
    """The facts among the events that a command made; None: policies have nothing to decide after it."""
    facts = [event for event in new if is_fact(event)]
    return facts if facts or command.triggers_policies else None


def next_check_at(unit: UnitOfWork, notice_at: datetime | None = None) -> datetime | None:
    """When time alone changes something: the verdict changes, or a policy is to be evaluated again.

    At `notice_at` subscribers are to be told of something, if at all.
    """
    moments = [unit.verdict().changes_at, notice_at]
    if unit.aggregate.order.phase not in (Phase.CANCELED, Phase.COMPLETED):
        states = ((policy, unit.aggregate.policy_state(policy.id)) for policy in unit.account.policies)
        moments += [policy_check_at(policy, state, unit.now) for policy, state in states]
    # A moment that is past would have the order checked again and again.
    return min((moment for moment in moments if moment is not None and moment > unit.now), default=None)


def review(unit: UnitOfWork, context: PolicyContext) -> None:
    """Revoke unsent policy cancels when their condition no longer holds."""
    for live in unit.aggregate.live:
        if live.policy is None or live.state is not State.SCHEDULED:
            continue
        policy = next((policy for policy in unit.account.policies if policy.id == live.policy), None)
        state = unit.aggregate.policy_state(live.policy)
        if policy is None:
            detail = f"The policy {live.policy} was removed before it was sent."
        elif policy.mode is Mode.SHADOW:
            detail = f"The policy {live.policy} was put in shadow mode before it was sent."
        elif state is not None and has_ended(policy, state, unit, context):
            detail = f"The condition of policy {policy.id} ceased to hold before it was sent."
        else:
            continue
        unit.end_unsent(live, Cause.CONDITION_ENDED, detail)
        if policy is not None and state is not None and state.outcome in ACTED:
            record(unit, context, policy, _state_after(policy, state, Evaluation(Outcome.UNMATCHED, detail)))


def record(unit: UnitOfWork, context: PolicyContext, policy: Policy, decided: PolicyState) -> None:
    """Write a decision into the log, with the value of every clause; or only fold it, if the context says so."""
    if not context.records_decisions:
        unit.aggregate = after_decision(unit.aggregate, decided)
        return
    values, verdict = values_of(policy, unit, context, decided.trigger), unit.verdict()
    data = PolicyDecision(
        **asdict(decided),
        mode=policy.mode,
        clauses=clause_values(policy, values),
        verdict=VerdictSummary(verdict.cancelable, verdict.reason),
        evidence=verdict.evidence,
    )
    unit.record(POLICY_PREFIX + decided.outcome, f"{policy.id}\0{decided.number}", Source.CLOCK, data)


def _act(
    policy: Policy, state: PolicyState | None, unit: UnitOfWork, context: PolicyContext, evaluation: Evaluation
) -> PolicyState:
    """What a policy decides that is due."""
    obstacle = _obstacle(policy, unit, context)
    if obstacle is not None:
        return _state_after(policy, state, evaluation, **obstacle)
    context.count(policy)
    assessed = admit(unit, force=False)
    cancellation = Cancellation(
        id=context.new_id(),
        account=unit.account.id,
        order=unit.aggregate.order.id,
        reason=policy.reason,
        note=policy.note,
        requested_at=unit.now,
        updated_at=unit.now,
        requested_by=f"policy {policy.id}",
        policy=policy.id,
        deadline=unit.now + unit.account.deadline,
        verdict=assessed.verdict,
    )
    if policy.mode is Mode.APPROVE:
        propose(unit, cancellation, unit.now + policy.approve_within)
        outcome, detail = Outcome.PROPOSED, "A person is asked to approve the cancel."
    else:
        schedule(unit, cancellation, assessed.waiting)
        outcome, detail = Outcome.ACTED, "The order is being canceled."
    return _state_after(policy, state, evaluation, outcome=outcome, detail=detail, cancellation=cancellation.id)


def _obstacle(policy: Policy, unit: UnitOfWork, context: PolicyContext) -> dict[str, Any] | None:
    """What keeps a policy from having the order canceled, the most telling first."""
    aggregate = unit.aggregate
    if aggregate.live:
        id = aggregate.live[0].id
        return {"outcome": Outcome.JOINED, "detail": f"Cancellation {id} is under way.", "cancellation": id}
    if aggregate.exempt_from_policies is not None:
        detail = f"A person revoked {aggregate.exempt_from_policies}: since then no policy has this order canceled."
        return {"outcome": Outcome.REFRAINED, "detail": detail}
    assessed = admit(unit, force=False)
    if assessed.cause is Cause.NOT_CANCELABLE:
        return {"outcome": Outcome.REFRAINED, "detail": assessed.verdict.explanation}
    try:
        unit.account.handler.check(policy.reason, policy.note, unit.account.rules)
    except InvalidCancel as error:
        return {"outcome": Outcome.FAILED, "detail": f"The cancel's {error.field}: {error}."}
    if policy.mode is Mode.SHADOW:
        return {"outcome": Outcome.SHADOWED, "detail": "It would have the order canceled now."}
    held = context.held(policy, unit.now)
    return None if held is None else {"outcome": Outcome.HELD, "detail": held}


def _state_after(policy: Policy, state: PolicyState | None, evaluation: Evaluation, **changes: Any) -> PolicyState:
    given: dict[str, Any] = {"outcome": evaluation.outcome, "detail": evaluation.detail, **changes}
    return PolicyState(
        policy=policy.id,
        condition_hash=policy.condition_hash,
        number=state.number + 1 if state is not None else 1,
        trigger=evaluation.trigger,
        matched_since=evaluation.matched_since,
        due_at=evaluation.due_at,
        **given,
    )


def _differs(state: PolicyState | None, decided: PolicyState) -> bool:
    if state is None:
        return True
    if state.outcome is decided.outcome is Outcome.UNMATCHED:
        return False
    return replace(state, number=0) != replace(decided, number=0)
