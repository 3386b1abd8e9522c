"""Decisions: what the policies of an account make of an order, each an event in the log.

A decision is recorded when it differs from the one before it: what comes of a policy, or that nothing does, and why.
So the log says for every order and every policy how it stood at any time, and a standing is the fold of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from msgspec import to_builtins
from msgspec.structs import replace

from app.contract import InvalidCancel, Order, Phase, Source, Verdict
from app.core.admission import assess, propose, schedule
from app.core.aggregate import POLICY_PREFIX, is_fact
from app.core.cancellation import Cancellation, Cause, State
from app.core.commands import ChangeTags, Command, FireTimer
from app.core.event import Event, internal_event
from app.core.policy import evaluate
from app.core.policy.evaluate import Evaluation, Sight
from app.core.policy.model import ACTED, Mode, Outcome, Policy, PolicyState
from app.core.unit_of_work import UnitOfWork


class Surroundings(Protocol):
    """What a decision needs to know besides the order."""

    def hold(self, policy: Policy, now: datetime, /) -> str | None:
        """Why the policy may not act now: it is paused, or has reached a limit, and then halts itself."""
        ...

    def acts(self, policy: Policy, /) -> str:
        """The policy acts: count it, and give the cancellation its id."""
        ...

    def duplicates(self, desk: UnitOfWork, within: timedelta, /) -> list[dict[str, str]]:
        """The other orders that are the same to the provider."""
        ...

    def note(self, desk: UnitOfWork, policy: Policy, decided: PolicyState, sight: Sight, /) -> None:
        """A decision is to be kept: `record` does so."""
        ...


@dataclass(frozen=True, slots=True)
class View:
    """`Sight` of the order on a desk."""

    desk: UnitOfWork
    around: Surroundings

    @property
    def order(self) -> Order:
        return self.desk.aggregate.order

    @property
    def tags(self) -> tuple[str, ...]:
        return self.desk.aggregate.tags

    @property
    def now(self) -> datetime:
        return self.desk.now

    def verdict(self) -> Verdict:
        return self.desk.verdict()

    def closes_at(self) -> datetime | None:
        return self.desk.account.closes_at(self.desk.aggregate.order, self.desk.now)

    def duplicates(self, within: timedelta) -> list[dict[str, str]]:
        return self.around.duplicates(self.desk, within)


def consider(desk: UnitOfWork, around: Surroundings, woken: Sequence[Event]) -> None:
    """Let every policy of the account decide on the order on the desk, after the facts `woken` (none: the clock)."""
    sight = View(desk, around)
    settled = {each.policy for each in desk.aggregate.policy_states if each.outcome in ACTED}
    review(desk, around)
    for each in desk.account.policies:
        known = desk.aggregate.policy_state(each.id)
        if each.id in settled:
            continue  # it has acted; whatever came of it counts from the next time on
        found = evaluate.weigh(each, known, sight, woken)
        if found is None:
            continue
        decided = _standing(each, known, found) if found.outcome is not None else _act(desk, around, each, known, found)
        if _is_news(known, decided):
            around.note(desk, each, decided, sight)


def reasons(entry: Command, new: Sequence[Event]) -> list[Event] | None:
    """The facts among the events that an entry made, which policies hear of; None: they have no reason to look."""
    facts = [event for event in new if is_fact(event)]
    return facts if facts or isinstance(entry, (FireTimer, ChangeTags)) else None


def next_check_at(desk: UnitOfWork) -> datetime | None:
    """When time alone brings something about: a verdict changes, or a policy is to be weighed again."""
    moments = [desk.verdict().changes_at]
    if desk.aggregate.order.phase not in (Phase.CANCELED, Phase.COMPLETED):
        known = ((each, desk.aggregate.policy_state(each.id)) for each in desk.account.policies)
        moments += [evaluate.look_again_at(each, standing, desk.now) for each, standing in known]
    # What names a moment that is past would be looked at again and again.
    return min((each for each in moments if each is not None and each > desk.now), default=None)


def review(desk: UnitOfWork, around: Surroundings) -> None:
    """Take back what was not sent yet, if that for which a policy wished it is so no more."""
    for live in desk.aggregate.live:
        if live.policy is None or live.state is not State.SCHEDULED:
            continue
        each = next((each for each in desk.account.policies if each.id == live.policy), None)
        known, sight = desk.aggregate.policy_state(live.policy), View(desk, around)
        if each is None:
            detail = f"The policy {live.policy} was removed before it was sent."
        elif each.mode is Mode.SHADOW:
            detail = f"The policy {live.policy} was put in shadow mode before it was sent."
        elif known is not None and evaluate.has_ended(each, known, sight):
            detail = f"The condition of policy {each.id} ceased to hold before it was sent."
        else:
            continue
        desk.give_up(live, Cause.CONDITION_ENDED, detail)
        if each is not None and known is not None and known.outcome in ACTED:
            around.note(desk, each, _standing(each, known, Evaluation(Outcome.UNMATCHED, detail)), sight)


def _act(
    desk: UnitOfWork, around: Surroundings, each: Policy, known: PolicyState | None, found: Evaluation
) -> PolicyState:
    """The policy is due."""
    hindered = _hindrance(desk, around, each)
    if hindered is not None:
        return _standing(each, known, found, **hindered)
    id, assessed = around.acts(each), assess(desk, force=False)
    wish = Cancellation(
        id=id,
        account=desk.account.id,
        order=desk.aggregate.order.id,
        reason=each.reason,
        note=each.note,
        requested_at=desk.now,
        updated_at=desk.now,
        requested_by=f"policy {each.id}",
        policy=each.id,
        deadline=desk.now + desk.account.deadline,
        verdict=assessed.verdict,
    )
    if each.mode is Mode.APPROVE:
        propose(desk, wish, desk.now + each.approve_within)
        said = {"outcome": Outcome.PROPOSED, "detail": "A person is asked to approve the cancel."}
    else:
        schedule(desk, wish, assessed.waiting)
        said = {"outcome": Outcome.ACTED, "detail": "The order is being canceled."}
    return _standing(each, known, found, cancellation=id, **said)


def _hindrance(desk: UnitOfWork, around: Surroundings, each: Policy) -> dict[str, Any] | None:
    """What keeps a policy from having the order canceled, in the order of what says most."""
    if desk.aggregate.live:
        id = desk.aggregate.live[0].id
        return {"outcome": Outcome.JOINED, "detail": f"Cancellation {id} is under way.", "cancellation": id}
    if desk.aggregate.exempt_from_policies is not None:
        detail = (
            f"A person revoked {desk.aggregate.exempt_from_policies}: since then no policy has this order canceled."
        )
        return {"outcome": Outcome.REFRAINED, "detail": detail}
    assessed = assess(desk, force=False)
    if assessed.cause is Cause.NOT_CANCELABLE:
        return {"outcome": Outcome.REFRAINED, "detail": assessed.verdict.explanation}
    try:
        desk.account.handler.check(each.reason, each.note, desk.account.rules)
    except InvalidCancel as error:
        return {"outcome": Outcome.FAILED, "detail": f"The cancel's {error.field}: {error}."}
    if each.mode is Mode.SHADOW:
        return {"outcome": Outcome.SHADOWED, "detail": "It would have the order canceled now."}
    held = around.hold(each, desk.now)
    return None if held is None else {"outcome": Outcome.HELD, "detail": held}


def _standing(each: Policy, known: PolicyState | None, found: Evaluation, **more: Any) -> PolicyState:
    given: dict[str, Any] = {"outcome": found.outcome, "detail": found.detail, **more}
    return PolicyState(
        policy=each.id,
        condition_hash=each.condition_hash,
        number=known.number + 1 if known is not None else 1,
        trigger=found.trigger,
        matched_since=found.matched_since,
        due_at=found.due_at,
        **given,
    )


def _is_news(known: PolicyState | None, decided: PolicyState) -> bool:
    if known is None:
        return True
    if known.outcome is decided.outcome is Outcome.UNMATCHED:
        return False
    return replace(known, number=0) != replace(decided, number=0)


def record(desk: UnitOfWork, each: Policy, decided: PolicyState, sight: Sight) -> None:
    """Write a decision into the log, with the value of every clause."""
    values, verdict = evaluate.values_of(each, sight, decided.trigger), sight.verdict()
    data = {
        **to_builtins(decided),
        "mode": each.mode.value,
        "clauses": evaluate.clause_values(each, values),
        "verdict": {"cancelable": verdict.cancelable.value, "reason": verdict.reason},
        "evidence": list(verdict.evidence),
    }
    order, key = desk.aggregate.order.id, f"{each.id}\0{decided.number}"
    desk.emit(
        internal_event(desk.account.id, order, POLICY_PREFIX + decided.outcome, key, desk.now, Source.CLOCK, data)
    )
