"""Decisions: what the policies of an account decide on an order, each an event in the log.

A decision is recorded when it differs from the one before it, and something follows from it or it rests on history. So
the log shows what was decided at any time and why, and the state of a policy is the fold of its decisions. That a
policy waits, or that its condition is false, follows from the order, the policy and the time: it is computed when
somebody asks (`app/core/policy/preview.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec.structs import asdict, replace

from app.contract import InvalidCancel, Source
from app.core.admission import admit, propose, schedule
from app.core.aggregate import after_decisions, is_fact
from app.core.cancellation import Cancellation, Cause, State
from app.core.commands import Command
from app.core.event import Event
from app.core.event_types import POLICY_DECIDED, POLICY_PREFIX, ClauseValue, PolicyDecision, VerdictSummary
from app.core.policy.context import PolicyContext
from app.core.policy.decisions import DECISIONS_MAX, together
from app.core.policy.evaluate import Evaluation, clause_values, evaluate, has_ended, policy_check_at
from app.core.policy.index import OVER
from app.core.policy.model import ACTED, COMPUTED, Mode, Outcome, Policy, PolicyState
from app.core.unit_of_work import UnitOfWork

Decided = tuple[Policy, PolicyState]

FAILING_DECISIONS = 5
"""A policy fails if its latest decisions, so many at most, all failed."""
FAILURES_MIN = 3
"""With fewer decisions no policy fails."""


def consider(unit: UnitOfWork, context: PolicyContext, events: Sequence[Event]) -> None:
    """Let the policies of the account decide on an order, after the facts in `events` (none: time has passed)."""
    look = unit.account.index.look(unit, events)
    states = {state.policy: state for state in unit.aggregate.policy_states} if look.policies else {}
    recorded, checks = list[Decided](), [look.check_at]
    try:
        # A policy that has acted is not among those found: if that is taken back now, it decides anew the next time.
        _review(unit, context, recorded)
        checks += [policy_check_at(policy, decided, unit.now) for policy, decided in recorded]
        for policy, holds in look.policies:
            state = states.get(policy.id)
            decided = decide(policy, state, unit, context, events, holds=holds)
            checks.append(policy_check_at(policy, decided or state, unit.now))
            if decided is not None and _is_recorded(policy, state, decided):
                recorded.append((policy, decided))
    finally:
        # What a policy did is recorded even if the next one needs to know more.
        record(unit, context, recorded)
    if unit.aggregate.order.phase in OVER:
        checks.clear()
    unit.policies_check_at = min((at for at in checks if at is not None), default=None)


def decide(
    policy: Policy,
    state: PolicyState | None,
    unit: UnitOfWork,
    context: PolicyContext,
    events: Sequence[Event],
    *,
    holds: bool | None = None,
) -> PolicyState | None:
    """What one policy decides, whose state is `state`; None: it has nothing to decide. See `evaluate`."""
    evaluation = evaluate(policy, state, unit, context, events, holds=holds)
    if evaluation is None:
        return None
    if evaluation.outcome is None:
        return _act(policy, state, unit, context, evaluation)
    return _state_after(policy, state, evaluation)


def events_to_consider(command: Command[Any], new: Sequence[Event]) -> list[Event] | None:
    """The facts among the events that a command made; None: policies have nothing to decide after it."""
    facts = [event for event in new if is_fact(event)]
    return facts if facts or command.triggers_policies else None


def next_check_at(unit: UnitOfWork, notice_at: datetime | None = None) -> datetime | None:
    """When time alone changes something: the verdict changes, or a policy is to be evaluated again.

    Policies count as of their latest decisions in this unit of work. At `notice_at` subscribers are to be told of
    something, if at all.
    """
    moments = (unit.verdict().changes_at, notice_at, unit.policies_check_at)
    # A moment that is past would have the order checked again and again.
    return min((moment for moment in moments if moment is not None and moment > unit.now), default=None)


def policies_check_at(unit: UnitOfWork) -> datetime | None:
    """When policies that have nothing to decide now will have, as if they had just looked at the order."""
    look = unit.account.index.look(unit, ())
    states = {state.policy: state for state in unit.aggregate.policy_states}
    checks = [policy_check_at(policy, states.get(policy.id), unit.now) for policy, _ in look.policies]
    return min((at for at in (look.check_at, *checks) if at is not None), default=None)


def review(unit: UnitOfWork, context: PolicyContext) -> None:
    """Revoke unsent policy cancels when their condition no longer holds."""
    recorded = list[Decided]()
    try:
        _review(unit, context, recorded)
    finally:
        record(unit, context, recorded)


def record(unit: UnitOfWork, context: PolicyContext, decided: Sequence[Decided]) -> None:
    """Write decisions into the log, with the value of every clause; or only fold them, if the context says so."""
    if not context.records_decisions:
        unit.aggregate = after_decisions(unit.aggregate, [state for _, state in decided])
        return
    values = dict[str, ClauseValue]()
    decisions = [recorded_decision(policy, state, unit, context, values) for policy, state in decided]
    for start in range(0, len(decisions), DECISIONS_MAX):
        part = decisions[start : start + DECISIONS_MAX]
        type = POLICY_DECIDED if len(part) > 1 else POLICY_PREFIX + part[0].outcome
        data = together(part) if len(part) > 1 else part[0]
        unit.record(type, f"{part[0].policy}\0{part[0].number}", Source.CLOCK, data)


def recorded_decision(
    policy: Policy,
    state: PolicyState,
    unit: UnitOfWork,
    context: PolicyContext,
    shared: dict[str, ClauseValue] | None = None,
) -> PolicyDecision:
    """What is recorded of a decision; `shared` has the clauses that were evaluated for other policies."""
    verdict = unit.verdict()
    return PolicyDecision(
        **asdict(state),
        mode=policy.mode,
        clauses=clause_values(policy, unit, context, state.trigger, shared),
        verdict=VerdictSummary(verdict.cancelable, verdict.reason),
        evidence=verdict.evidence,
    )


def _review(unit: UnitOfWork, context: PolicyContext, decided: list[Decided]) -> None:
    """Revoke unsent policy cancels when their condition no longer holds; adds what their policies decide."""
    for live in unit.aggregate.live:
        if live.policy is None or live.state is not State.SCHEDULED:
            continue
        policy = unit.account.index.by_id.get(live.policy)
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
            decided.append((policy, _state_after(policy, state, Evaluation(Outcome.UNMATCHED, detail))))


def _act(
    policy: Policy, state: PolicyState | None, unit: UnitOfWork, context: PolicyContext, evaluation: Evaluation
) -> PolicyState:
    """What a policy decides that is due."""
    obstacle = _obstacle(policy, unit, context)
    if obstacle is not None:
        return _state_after(policy, state, evaluation, **obstacle)
    if policy.limits.are_set and not context.counts_exactly:
        context.postponed = True
        detail = "It acts at once, where its limits are counted."
        return _state_after(policy, state, evaluation, outcome=Outcome.WAITING, detail=detail)
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


def _is_recorded(policy: Policy, state: PolicyState | None, decided: PolicyState) -> bool:
    """Whether a decision becomes part of the log: not if it is the same as before, or computed when it is asked for."""
    if decided.outcome in COMPUTED:
        if policy.computes_waiting:
            # It is recorded that something else came to its end.
            return state is not None and not policy.computes(state)
        if decided.outcome is Outcome.UNMATCHED:
            return policy.is_triggered if state is None else state.outcome is not Outcome.UNMATCHED
    return state is None or replace(state, number=0) != replace(decided, number=0)
