"""Weighing: how a policy stands to an order at one moment.

Pure, so that a live run and a backtest over the same log cannot differ.

    event or clock ──▶ concerned? ──▶ does the condition hold? ──▶ is it time? ──▶ due: act (app/core/policy/decide.py)
                           │ no               │ no                    │ no
                        nothing           `unmatched`             `waiting` until …, then weighed again
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from msgspec import Struct

from app.contract import Cancelable, Order, Phase, Verdict
from app.core.event import Event
from app.core.policy.model import HOLDING, Mode, Outcome, Policy, PolicyState, Trigger
from app.kit.cel.expression import ExpressionFailed
from app.kit.cel.order_view import order_values, policy_values
from app.kit.duration import format_duration

LOOK_AGAIN = timedelta(hours=1)
"""A condition that reads `now` is looked at so often, as the passing of time alone may make it true."""


REMEMBERED_MAX = 10_000


class Sight(Protocol):
    """What there is to see of an order at one moment."""

    @property
    def order(self) -> Order: ...

    @property
    def tags(self) -> tuple[str, ...]: ...

    @property
    def now(self) -> datetime: ...

    def verdict(self) -> Verdict: ...

    def closes_at(self) -> datetime | None:
        """When the passing of time alone will close the window."""
        ...

    def duplicates(self, within: timedelta) -> list[dict[str, str]]:
        """The others that are the same to the provider and were opened so near to this one."""
        ...


class Evaluation(Struct, frozen=True):
    """What came of weighing a policy. `outcome` None: it is due, and acts."""

    outcome: Outcome | None
    detail: str = ""
    trigger: Trigger | None = None
    matched_since: datetime | None = None
    due_at: datetime | None = None


def weigh(policy: Policy, known: PolicyState | None, sight: Sight, woken: Sequence[Event]) -> Evaluation | None:
    """How the policy stands to an order, after the events `woken` (none: the clock); None: nothing to decide."""
    if known is not None and _is_settled(policy, known):
        return None
    wake = None
    if policy.on or policy.reads_event:
        wake = next((_wake(each) for each in reversed(woken) if policy.is_woken_by(each.type)), None)
        wake = wake or (known.trigger if known else None)
        if wake is None:
            return None
    if sight.order.phase in (Phase.CANCELED, Phase.COMPLETED):
        waited = known is not None and known.outcome in (Outcome.WAITING, Outcome.HELD)
        return Evaluation(Outcome.UNMATCHED, f"The order is {sight.order.phase}.") if waited else None
    if _is_in_doubt(known, sight):
        return None
    try:
        found = _weigh_condition(policy, known, sight, wake)
    except (ExpressionFailed, OverflowError) as error:
        found = Evaluation(Outcome.FAILED, f"{error}.")
    # Whom no event wakes but some, is asleep again once its condition was found not to hold.
    return Evaluation(
        found.outcome,
        found.detail,
        None if found.outcome is Outcome.UNMATCHED else wake,
        found.matched_since if policy.wait is not None and policy.since is None else None,
        found.due_at,
    )


def values_of(policy: Policy, sight: Sight, wake: Trigger | None) -> dict[str, Any]:
    """What the policy's names stand for."""
    values = order_values(sight.order, sight.now, policy.names)
    if policy.besides:
        duplicates = sight.duplicates(policy.duplicates_within) if policy.reads_duplicates else []
        values |= policy_values(policy.besides, sight.tags, sight.verdict(), sight.now, duplicates, wake)
    return values


def has_ended(policy: Policy, known: PolicyState, sight: Sight) -> bool:
    """Does the condition for which the policy acted hold no more? What cannot be told has not ended."""
    if sight.order.phase is Phase.UNKNOWN:
        return False
    try:
        return not policy.when.evaluate(values_of(policy, sight, known.trigger))
    except ExpressionFailed:
        return False


def clause_values(policy: Policy, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every clause of the condition with what it gives: true, false, or why it gives neither."""
    found: list[dict[str, Any]] = []
    for clause in policy.clauses:
        try:
            found.append({"text": clause.text, "value": clause.evaluate(values)})
        except ExpressionFailed as error:
            found.append({"text": clause.text, "value": None, "error": str(error)})
    return found


def look_again_at(policy: Policy, known: PolicyState | None, now: datetime) -> datetime | None:
    """When the clock must wake the policy for this order: when it is due, or for a look at the time."""
    if known is None or known.outcome is Outcome.WAITING:
        return known.due_at if known is not None else None
    asleep = known.trigger is None and (bool(policy.on) or policy.reads_event)
    looks = known.outcome is Outcome.UNMATCHED and "now" in policy.when.names and not asleep
    return now + LOOK_AGAIN if looks else None


def _is_settled(policy: Policy, known: PolicyState) -> bool:
    """In shadow it says once what it would do, and once more when it was changed."""
    return (
        known.outcome is Outcome.SHADOWED
        and policy.mode is Mode.SHADOW
        and known.condition_hash == policy.condition_hash
    )


def _is_in_doubt(known: PolicyState | None, sight: Sight) -> bool:
    """Is it unknown for the moment how the order stands? That ends no wait: what is not known is not a no."""
    if sight.order.phase is not Phase.UNKNOWN or known is None or known.outcome not in HOLDING:
        return False
    return known.due_at is None or known.due_at > sight.now


def _wake(event: Event) -> Trigger:
    return Trigger(event.id, event.type, event.source.value, event.occurred_at, event.received_at)


def _weigh_condition(policy: Policy, known: PolicyState | None, sight: Sight, wake: Trigger | None) -> Evaluation:
    now = sight.now
    if not _holds(policy, sight, wake):
        due_at, _ = _due(policy, sight, wake, now) if _may_come_true(policy) else (None, "")
        if due_at is not None and due_at > now:
            return Evaluation(Outcome.WAITING, "Its condition reads the time; it is looked at then.", due_at=due_at)
        return Evaluation(Outcome.UNMATCHED)
    since = known.matched_since if known is not None and known.matched_since is not None else now
    due_at, why = _due(policy, sight, wake, since)
    if due_at is None or due_at > now:
        return Evaluation(Outcome.WAITING, why, matched_since=since, due_at=due_at)
    return Evaluation(None, matched_since=since)


def _holds(policy: Policy, sight: Sight, wake: Trigger | None) -> bool:
    """Does the condition hold? Raises `ExpressionFailed`."""
    readers = policy.memo_readers
    if readers is None:
        return bool(policy.when.evaluate(values_of(policy, sight, wake)))
    order = sight.order
    key = tuple([read(order) for read in readers])
    found = policy.memo.get(key)
    if found is None:
        found = bool(policy.when.evaluate(values_of(policy, sight, wake)))
        if len(policy.memo) >= REMEMBERED_MAX:
            policy.memo.clear()
        policy.memo[key] = found
    return found


def _may_come_true(policy: Policy) -> bool:
    """Does its moment tell when to look again at a condition that does not hold yet?"""
    return "now" in policy.when.names and (policy.since is not None or policy.before_close is not None)


def _due(policy: Policy, sight: Sight, wake: Trigger | None, since: datetime) -> tuple[datetime | None, str]:
    """When it is time, and in a sentence why then. Raises `ExpressionFailed` and OverflowError."""
    if policy.before_close is not None:
        return _before_close(policy.before_close, sight)
    if policy.wait is None:
        return sight.now, ""
    if policy.since is None:
        return since + policy.wait, f"Its condition must hold for {format_duration(policy.wait)}."
    if policy.since_reader is not None:
        moment = policy.since_reader(sight.order)
    else:
        moment = policy.since.evaluate(values_of(policy, sight, wake))
    if moment is None:
        return None, f"There is no {policy.since.text} yet."
    return moment + policy.wait, policy.why


def _before_close(length: timedelta, sight: Sight) -> tuple[datetime | None, str]:
    closes_at = sight.closes_at()
    if closes_at is not None:
        return closes_at - length, f"{format_duration(length)} before the window closes."
    if sight.verdict().cancelable is Cancelable.NO:
        return sight.now, ""
    return None, "No time closes the window of this order as it stands."
