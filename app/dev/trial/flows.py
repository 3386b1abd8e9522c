"""The cancel and the probe of an order: the exact calls, and what an answer to them would mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec

from app.config.resolve import Account
from app.contract import (
    CancelOutcome,
    CancelRequest,
    CancelResult,
    Context,
    Facts,
    InvalidCancel,
    ProbeUnavailable,
)
from app.core.aggregate import JobKind
from app.core.cancellation import Cancellation, State, Waiting
from app.core.commands import ClaimJob, RequestCancel
from app.core.event import TICK
from app.core.representation import Verdict
from app.core.results import RecordProbe, RecordResult
from app.core.unit_of_work import UnitOfWork
from app.dev.trial.calls import Dialogue, GivenAnswer, converse, stand_in
from app.dev.trial.mask import Mask
from app.dev.trial.report import Consequence, TrialFlow, TrialOutcome

CANCELLATION = "can_0000000000000000"
"""Stands for the id of a cancellation."""
ATTEMPT = "att_0000000000000000"
NONCE = "0" * 32
_UNANSWERED = "what follows depends on the answer to the last call: give an --answer or a --status for it, too"
_LEASE_S = 120.0
_CHANCE = 0.5


def try_cancel(
    account: Account,
    unit: UnitOfWork,
    words: tuple[str | None, str | None],
    answers: Sequence[GivenAnswer],
    mask: Mask,
    *,
    token_stands_in: bool = True,
) -> TrialFlow:
    """The cancel of an order as it is now; of `words`, a reason that is not given is one that the provider accepts."""
    flow = TrialFlow(ok=True, note=words[1])
    if account.view.no_cancel is not None:
        flow.problem = account.view.no_cancel
        return flow
    try:
        flow.reason, flow.note = _words(account, *words)
        account.handler.check_order(unit.aggregate.order.id)
    except InvalidCancel as error:
        option = f"--{error.field}" if error.field in ("reason", "note") else error.field
        flow.ok, flow.problem = False, f"the cancel would be refused with 422: {option}: {error}"
        return flow
    flow.admitted = _admission(account, unit, flow)
    # Of a cancel with a probe before it, this is the cancel.
    request = CancelRequest(unit.aggregate.order, flow.reason, flow.note, CANCELLATION, probed=True)
    context = Context(unit.now, NONCE)
    cancel = account.handler.cancel([request], account.config, context)
    token = _token_answer(account) if token_stands_in else None
    dialogue = converse(cancel, context, "cancel", answers, mask, token)
    flow.calls = dialogue.calls
    if dialogue.failure:
        flow.ok, flow.problem = False, dialogue.failure
    elif dialogue.result is not None:
        flow.result = _cancel_outcome(account, unit, flow, dialogue, context, mask)
        # Without a call it is the order, or the configuration, that the call cannot be made of.
        flow.ok = any(call.purpose == "cancel" for call in dialogue.calls) or bool(answers)
        flow.problem = "" if flow.ok else flow.result.detail
    elif dialogue.used:
        flow.problem = _UNANSWERED
    if flow.admitted == "sent" and _probes_before(account):
        flow.admitted = "probed"
    return flow


def try_probe(
    account: Account,
    unit: UnitOfWork,
    answers: Sequence[GivenAnswer],
    mask: Mask,
    *,
    token_stands_in: bool = True,
) -> tuple[TrialFlow, UnitOfWork | None]:
    """(the probe of an order, the order as it is after the answer; None: nothing was read out of one)."""
    probe, after = account.handler.probe, None
    if probe is None:
        return TrialFlow(ok=True, problem=f"{account.handler.title} cannot be asked how an order stands."), None
    context = Context(unit.now, NONCE)
    asked = probe([unit.aggregate.order], account.config, context)
    token = _token_answer(account) if token_stands_in else None
    dialogue = converse(asked, context, "probe", answers, mask, token)
    flow = TrialFlow(ok=not dialogue.failure, problem=dialogue.failure, calls=dialogue.calls)
    if dialogue.result is not None:
        flow.result, after = _probe_outcome(account, unit, dialogue.result, context, mask)
        if not dialogue.calls:
            # An account need not have a probe: then the cancel says what follows.
            flow.problem = flow.result.detail
    elif dialogue.used:
        flow.problem = _UNANSWERED
    return flow, after


def _token_answer(account: Account) -> GivenAnswer:
    """A token, where the account's configuration says that a response has it."""
    path = getattr(getattr(account.config, "token", None), "access_token", None)
    return stand_in(path if isinstance(path, str) else "")


def _probes_before(account: Account) -> bool:
    """Whether the account's configuration has each cancel begin with a probe."""
    return bool(getattr(getattr(account.config, "cancel", None), "probe_before", False))


def _words(account: Account, reason: str | None, note: str | None) -> tuple[str, str | None]:
    """Reason and note. Raises `InvalidCancel` for those that are given, or where none can be found."""
    faults = list[InvalidCancel]()
    for tried, said in _candidates(account, reason, note):
        try:
            account.handler.check(tried, said, account.view.rules)
        except InvalidCancel as error:
            faults.append(error)
        else:
            return tried, said
    # What was given is at fault rather than what was made up.
    of_note = [fault for fault in faults if note is not None and fault.field == "note"]
    raise [*of_note, *faults][0]


def _candidates(account: Account, reason: str | None, note: str | None) -> Iterator[tuple[str, str | None]]:
    """The words to try: those given; else none, each word of a list in the rules, or any."""
    if reason is not None:
        yield reason, note
        return
    rules = account.view.rules
    lists = [getattr(rules, name) for name in type(rules).model_fields if name.endswith("reasons")]
    words = ["", *(word for words in lists if isinstance(words, tuple) for word in words), "other"]
    notes = [note] if note is not None else [None, "A note."]
    for said in notes:
        for word in words:
            yield word, said


def _request(unit: UnitOfWork, flow: TrialFlow, account: Account, *, force: bool) -> Cancellation | None:
    """The cancellation that a request begins; None if one is refused."""
    order = unit.aggregate.order
    deadline = unit.now + account.view.deadline
    asked = Cancellation(
        CANCELLATION, account.spec.id, order.id, flow.reason, unit.now, unit.now, flow.note, deadline=deadline
    )
    command = RequestCancel(account.spec.id, order.id, unit.now, asked, force)
    return command.decide(unit).cancellation


def _admission(account: Account, unit: UnitOfWork, flow: TrialFlow) -> str:
    """What would become of a request, by what is known of the order."""
    cancel = _request(_copy(unit), flow, account, force=False)
    if cancel is None or cancel.state is State.REJECTED:
        return "rejected"
    return "probed" if cancel.waiting is Waiting.PROBE else "sent"


def _copy(unit: UnitOfWork) -> UnitOfWork:
    """Another unit of work of the same order, of which nothing is left."""
    history = None if unit.history is None else unit.history.copy()
    return UnitOfWork(unit.aggregate, unit.account, unit.now, history=history, logged=set(unit.logged), chance=_CHANCE)


def _cancel_outcome(
    account: Account, unit: UnitOfWork, flow: TrialFlow, dialogue: Dialogue, context: Context, mask: Mask
) -> TrialOutcome:
    result: CancelResult = dialogue.result
    outcome = TrialOutcome(
        outcome=result.outcome,
        detail=mask.text(result.detail),
        after_s=result.after_s,
        hold_s=context.hold_s,
        may_have_applied=result.may_have_applied,
        facts=_facts(result.facts, mask),
    )
    unit = _copy(unit)
    cancel = _request(unit, flow, account, force=flow.admitted != "sent")
    if cancel is None or cancel.final:
        return outcome
    order, now = unit.aggregate.order.id, unit.now
    claim = ClaimJob(account.spec.id, order, now, ATTEMPT, JobKind.CANCEL, CANCELLATION, _LEASE_S)
    if claim.decide(unit) is not None:
        RecordResult(account.spec.id, order, now, ATTEMPT, CANCELLATION, result, account.version).decide(unit)
        unit.react()
        outcome.next = _consequence(unit.moved[CANCELLATION], now)
        _judge(outcome, unit)
    return outcome


def _probe_outcome(
    account: Account, unit: UnitOfWork, result: Facts | ProbeUnavailable, context: Context, mask: Mask
) -> tuple[TrialOutcome, UnitOfWork | None]:
    if isinstance(result, ProbeUnavailable):
        detail = mask.text(str(result))
        return TrialOutcome(outcome=result.outcome, detail=detail, after_s=result.after_s, hold_s=context.hold_s), None
    outcome = TrialOutcome(
        outcome=CancelOutcome.SUCCEEDED,
        detail="The answer was read.",
        hold_s=context.hold_s,
        facts=_facts(result, mask),
    )
    unit, order = _copy(unit), unit.aggregate.order.id
    asked_at = unit.now if unit.latest is None else max(unit.now, unit.latest + TICK)
    RecordProbe(account.spec.id, order, asked_at, ATTEMPT, asked_at, result, version=account.version).decide(unit)
    _judge(outcome, unit)
    return outcome, unit


def _judge(outcome: TrialOutcome, unit: UnitOfWork) -> None:
    outcome.verdict, outcome.phase = Verdict.of(unit.verdict(), unit.now), unit.aggregate.order.phase


def _consequence(cancel: Cancellation, now: datetime) -> Consequence:
    due_in_s = None if cancel.due_at is None else max(0.0, (cancel.due_at - now).total_seconds())
    return Consequence(state=cancel.state, waiting=cancel.waiting, due_in_s=due_in_s, detail=cancel.detail)


def _facts(facts: Facts | None, mask: Mask) -> dict[str, Any] | None:
    return None if facts is None else mask.value(msgspec.to_builtins(facts))  # type: ignore[return-value]
