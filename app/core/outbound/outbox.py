"""The outbox of one commit: which messages follow from what it did.

Pure: what the commit did goes in, messages come out, in the order of their causes. For types and accounts that nobody
subscribes to nothing is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct, convert
from msgspec.structs import replace

from app.core.aggregate import is_fact
from app.core.cancellation import Cause
from app.core.event import Event
from app.core.event_types import (
    LIMIT_NEAR,
    SENDING_PAUSED,
    SENDING_RESUMED,
    SUBSCRIPTION_DISABLED,
    SUBSCRIPTION_FAILING,
    PolicyDecision,
    SendingChange,
)
from app.core.outbound.message import Message, Target
from app.core.outbound.routing import Router
from app.core.outbound.told import Told
from app.core.outbound.types import (
    ACCOUNT_PAUSED,
    ACCOUNT_RESUMED,
    CLOSING_SOON,
    OUTBOUND_TYPES,
    POLICY_FAILED,
    POLICY_HALTED,
    POLICY_MATCHED,
    POLICY_PAUSED,
    POLICY_PROPOSED,
    POLICY_RESUMED,
    QUARANTINE_ADDED,
    VERDICT_CHANGED,
    AccountPause,
    CancellationChanged,
    ClosingSoon,
    PolicyFailed,
    PolicyMatched,
    PolicyPause,
    PolicyProposed,
    QuarantineAdded,
    Subject,
    VerdictChanged,
    data_of,
)
from app.core.pauses import ACCOUNT_SCOPE, BY_ITSELF, EVERYTHING, POLICY_SCOPE
from app.core.policy.decisions import decisions_of
from app.core.policy.model import Outcome, PolicyState
from app.core.representation import Cancellation, Order, Verdict
from app.core.unit_of_work import UnitOfWork

_MATCHED = frozenset({Outcome.ACTED, Outcome.SHADOWED, Outcome.JOINED, Outcome.HELD, Outcome.REFRAINED})
_OF_OUTCOMES = {
    **dict.fromkeys(_MATCHED, POLICY_MATCHED),
    Outcome.PROPOSED: POLICY_PROPOSED,
    Outcome.FAILED: POLICY_FAILED,
}
"""The outcomes of policies that subscribers are told of."""


class Outbox:
    """Gathers the messages of one commit."""

    def __init__(self, router: Router, accounts_of: Mapping[str, Sequence[str]], events: Iterable[Event]) -> None:
        """Begin the outbox of a commit.

        Args:
            router: says who receives what.
            accounts_of: policy → its accounts.
            events: all that the commit appends to the log, in turn.
        """
        self._router, self._accounts_of = router, accounts_of
        self._places = {event.id: place for place, event in enumerate(events)}
        self._messages: list[tuple[int, Message]] = []
        """With the place of the cause in the log."""

    def messages(self) -> list[Message]:
        """All messages, in the order of their causes. They have no ids yet."""
        return [message for _, message in sorted(self._messages, key=lambda placed: placed[0])]

    def add_order(
        self, unit: UnitOfWork, told: Told | None, closes_at: datetime | None, due: Sequence[timedelta]
    ) -> None:
        """Tell of what happened to an order.

        Args:
            unit: the order, after everything that the commit did to it.
            told: what subscribers were told of it before.
            closes_at: when time alone closes its window.
            due: lead times for which subscribers are to be told that it closes.
        """
        about = _OrderMessages(self, unit)
        for step in unit.steps:
            before = None if step.before is None else step.before.state
            if before is not step.after.state or step.after.cause is Cause.APPROVED:
                targets = self._router.targets(step.event.type, unit.account.id)
                if targets:
                    shown = Cancellation.of(step.after)
                    about.add(targets, step.event, CancellationChanged(cancellation=shown, previous_state=before))
        for event, states in unit.decisions:
            for data in decisions_of(event):
                self._add_decision(about, event, data, states)
        self._add_verdict(about, told, closes_at)
        for lead in due if closes_at is not None else ():
            assert closes_at is not None  # noqa: S101 - for the type checker
            body = ClosingSoon(closes_at=closes_at, lead_s=int(lead.total_seconds()), verdict=about.verdict)
            targets = self._router.targets_with_lead(CLOSING_SOON, unit.account.id, lead)
            about.add(targets, None, body, CLOSING_SOON)

    def _add_verdict(self, about: _OrderMessages, told: Told | None, closes_at: datetime | None) -> None:
        unit, verdict = about.unit, about.unit.verdict()
        targets = self._router.targets(VERDICT_CHANGED, unit.account.id)
        if not targets or not unit.aggregate.order.version:
            return
        if told is None or told.differs(verdict.cancelable, verdict.reason, closes_at):
            previous = None if told is None else told.verdict
            body = VerdictChanged(verdict=about.verdict, closes_at=closes_at, previous=previous)
            cause = next((event for event in reversed(unit.events) if is_fact(event)), None)
            about.add(targets, cause, body, VERDICT_CHANGED)

    def _add_decision(
        self, about: _OrderMessages, event: Event, data: Mapping[str, Any], states: Iterable[PolicyState]
    ) -> None:
        outcome = Outcome(data["outcome"])
        type = _OF_OUTCOMES.get(outcome)
        targets = () if type is None else self._router.targets(type, about.unit.account.id)
        if not targets:
            return
        decided = convert(data, PolicyDecision, strict=False)
        before = next((state for state in states if state.policy == decided.policy), None)
        if before is None or _kind(before) != _kind(decided):
            about.add(targets, event, _of_decision(decided, about.unit), type)

    def add_notice(self, event: Event) -> None:
        """Tell of an event that is about no order, if there is a type for it."""
        if event.type in (SENDING_PAUSED, SENDING_RESUMED):
            self._add_pause(event)
        elif event.type in OUTBOUND_TYPES:
            if event.type == LIMIT_NEAR and event.data.get("policy") is not None:
                targets = self._router.targets_of_any(event.type, self._accounts_of.get(event.data["policy"], ()))
            else:
                targets = self._router.targets(event.type, event.account)
            if event.type in (SUBSCRIPTION_FAILING, SUBSCRIPTION_DISABLED):
                # It would wait in the very queue that is not delivered.
                targets = tuple(target for target in targets if target.subscription != event.data["subscription"])
            self._add(event.type, targets, self._places[event.id], event.account, event, event.data)

    def _add_pause(self, event: Event) -> None:
        change, paused = convert(event.data, SendingChange), event.type == SENDING_PAUSED
        if change.scope == EVERYTHING or change.scope.startswith(ACCOUNT_SCOPE):
            type = ACCOUNT_PAUSED if paused else ACCOUNT_RESUMED
            accounts = [event.account] if event.account else None
            body: Struct = AccountPause(reason=change.reason, by=change.by)
        else:
            policy = change.scope.removeprefix(POLICY_SCOPE) if change.scope.startswith(POLICY_SCOPE) else None
            accounts = None if policy is None else [*self._accounts_of.get(policy, ())]
            body = PolicyPause(policy=policy, accounts=tuple(accounts or ()), reason=change.reason, by=change.by)
            type = POLICY_RESUMED
            if paused:
                type = POLICY_HALTED if change.by == BY_ITSELF else POLICY_PAUSED
        targets = self._router.targets_of_any(type, accounts)
        self._add(type, targets, self._places[event.id], event.account, event, body)

    def add_quarantined(self, place: int, account: str, quarantined: QuarantineAdded) -> None:
        """Tell of a webhook that was put into quarantine after `place` events of the commit."""
        targets = self._router.targets(QUARANTINE_ADDED, account)
        if targets:
            subject = Subject(account=account, order=None, event=None)
            at, data = quarantined.received_at, data_of(subject, quarantined)
            message = Message(id=0, account=account, type=QUARANTINE_ADDED, at=at, data=data, targets=targets)
            self._messages.append((place, message))

    def _add(
        self,
        type: str,
        targets: tuple[Target, ...],
        place: int,
        account: str,
        event: Event,
        body: Struct | dict[str, Any],
    ) -> None:
        if targets:
            data = data_of(Subject(account=account or None, order=None, event=event.id), body)
            at = event.received_at
            message = Message(id=0, account=account, type=type, cause=event.id, at=at, data=data, targets=targets)
            self._messages.append((place, message))

    def put(self, message: Message, cause: Event | None) -> None:
        """Add a message; without a cause, after those of all events."""
        place = len(self._places) if cause is None else self._places[cause.id]
        self._messages.append((place, message))


class _OrderMessages:
    """The messages about one order."""

    def __init__(self, outbox: Outbox, unit: UnitOfWork) -> None:
        self._outbox, self.unit = outbox, unit
        self._verdict: Verdict | None = None
        self._snapshot: bytes | None = None

    @property
    def verdict(self) -> Verdict:
        """The verdict on the order as it is now."""
        if self._verdict is None:
            self._verdict = Verdict.of(self.unit.verdict(), self.unit.now)
        return self._verdict

    def add(self, targets: tuple[Target, ...], cause: Event | None, body: Struct, type: str | None = None) -> None:
        """Add a message of `type`; without one it has the type of its cause."""
        unit = self.unit
        subject = Subject(
            account=unit.account.id, order=unit.aggregate.order.id, event=None if cause is None else cause.id
        )
        message = Message(
            id=0,
            account=unit.account.id,
            type=type or (cause.type if cause is not None else ""),
            order_pk=unit.number,
            cause=subject.event,
            # A webhook that is read again was received long ago.
            at=unit.now if cause is None or is_fact(cause) else cause.received_at,
            data=data_of(subject, body),
            snapshot=self._shown() if any(target.full for target in targets) else None,
            targets=targets,
        )
        self._outbox.put(message, cause)

    def _shown(self) -> bytes:
        if self._snapshot is None:
            self._snapshot = msgspec.json.encode(Order.of(self.unit.aggregate, self.verdict, self.unit.closes_at()))
        return self._snapshot


def with_ids(messages: Iterable[Message], ids: Iterable[int]) -> list[Message]:
    """The messages, each with the next of `ids`."""
    return [replace(message, id=id) for message, id in zip(messages, ids, strict=False)]


def _kind(state: PolicyState) -> tuple[Any, ...]:
    """What must change for subscribers to be told of a decision again."""
    return state.outcome, state.condition_hash, state.cancellation


def _of_decision(decided: PolicyDecision, unit: UnitOfWork) -> Struct:
    if decided.outcome is Outcome.PROPOSED:
        proposed = next(step.after for step in unit.steps if step.after.id == decided.cancellation)
        return PolicyProposed(
            policy=decided.policy,
            cancellation=proposed.id,
            approve_until=proposed.sendable_until or proposed.updated_at,
            reason=proposed.reason,
            note=proposed.note,
            clauses=decided.clauses,
            verdict=decided.verdict,
            evidence=decided.evidence,
        )
    if decided.outcome is Outcome.FAILED:
        return PolicyFailed(policy=decided.policy, mode=decided.mode, detail=decided.detail, clauses=decided.clauses)
    return PolicyMatched(
        policy=decided.policy,
        mode=decided.mode,
        outcome=decided.outcome,
        detail=decided.detail,
        cancellation=decided.cancellation,
        clauses=decided.clauses,
        verdict=decided.verdict,
        evidence=decided.evidence,
    )
