"""A case: an order with its live cancellations, and the job that follows from them.

The case is what one transaction reads and writes. The job is derived: an order has at most one, so
at most one call about it is ever under way (guarantee I4).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

from msgspec import Struct, ValidationError, convert
from msgspec.structs import replace

from app.contract import RESERVED_EVENT_PREFIXES, Order, Phase, Source
from app.core import cancellation, order
from app.core.cancellation import Cancellation, Cause, State, Waiting, cancellation_of
from app.core.event import Event, fold_key
from app.core.event_types import (
    POLICY_PREFIX,
    PROBE_ABANDONED,
    PROBE_FAILED,
    PROBE_WANTED,
    TAGS_CHANGED,
    ProbeFailed,
    ProbeWanted,
    TagsChanged,
)
from app.core.lane.pacing import RetrySchedule
from app.core.order import FoldKey
from app.core.policy.model import PolicyState

PROBE_RETRIES = RetrySchedule(first_s=2.0, cap_s=600.0, attempts=12)

_TOLD = (Source.WEBHOOK, Source.PROVIDER)


class JobKind(StrEnum):
    """What a job does at the provider."""

    CANCEL = "cancel"
    PROBE = "probe"
    REGISTRATION = "registration"
    """About no order: the provider is asked which webhooks it sends, or to send them. Never stored as a job."""


class Job(Struct, frozen=True):
    """The next call to make about an order."""

    account: str
    order: str
    kind: JobKind
    due_at: datetime
    cancellation: str | None = None
    deadline: datetime | None = None
    policy: str | None = None
    sending: bool = False
    poll: bool = False
    """Nothing stored asks for it: the order was not heard of for a while."""
    urgent_by: datetime | None = None
    """By when the cancel that it is about, be it sent or lost, must be done; the earliest goes first."""
    failures: int = 0
    """Calls about the order that failed or were lost since its last progress: those without any go first."""


class PendingProbe(Struct, frozen=True, omit_defaults=True):
    """Probes of an order whose standing is uncertain, when no cancellation asks for them."""

    since: datetime
    due_at: datetime
    failures: int = 0
    after_refusal: bool = False
    """It arose from a refusal that the verdict had not foreseen: only what is newer can end it."""


class OrderAggregate(Struct, frozen=True, omit_defaults=True):
    """An order, its cancellations that are not final, its open doubt, and how policies stand to it."""

    order: Order
    head: FoldKey | None = None
    """Where the latest event stands that was folded."""
    live: tuple[Cancellation, ...] = ()
    pending_probe: PendingProbe | None = None
    policy_states: tuple[PolicyState, ...] = ()
    tags: tuple[str, ...] = ()
    exempt_from_policies: str | None = None
    """The cancellation that a person revoked: since then no policy has the order canceled."""

    @property
    def latest(self) -> datetime | None:
        """When the latest of what the order is known by happened."""
        return self.head[0] if self.head else None

    def policy_state(self, policy: str) -> PolicyState | None:
        """How the policy stands to the order."""
        return next((each for each in self.policy_states if each.policy == policy), None)

    def cancellation(self, id: str) -> Cancellation | None:
        """The live cancellation of that id."""
        return next((each for each in self.live if each.id == id), None)


def is_fact(event: Event) -> bool:
    """Does the event speak of the order itself (and not of our dealings with it)?"""
    # A newer release may have more types of its own; what providers tell has one of these sources.
    return event.source in _TOLD and not event.type.startswith(RESERVED_EVENT_PREFIXES)


def comes_late(case: OrderAggregate, event: Event) -> bool:
    """Can it not be folded without the order's history? It may stand before another, or another may outrun it."""
    return case.head is not None and order.needs_history(case.head[0], event.occurred_at, event.facts.snapshot)


def apply(case: OrderAggregate, event: Event) -> tuple[OrderAggregate, Cancellation | None]:
    """The case after `event`, and the cancellation it moved, if any. Of what `comes_late` see `app.core.folding`."""
    id = cancellation_of(event)
    if id is not None:
        return _apply_step(case, id, event)
    if not is_fact(event):
        return _after_own(case, event), None
    return after_facts(case, order.apply(case.order, event), fold_key(event), (event,)), None


def after_facts(case: OrderAggregate, state: Order, head: FoldKey | None, facts: Iterable[Event]) -> OrderAggregate:
    """The case whose order has become `state` by `facts`, which became known in this order."""
    doubt = case.pending_probe
    for event in facts:
        doubt = _doubt_after(doubt, state, event)
    return replace(case, order=state, head=head, pending_probe=doubt)


def job_for(case: OrderAggregate) -> Job | None:
    """The one next call about this order, if any is due."""
    for each in in_turn(case.live):
        if each.due_at is None:
            continue
        probes = each.waiting is Waiting.PROBE or each.state in (State.INDETERMINATE, State.ACCEPTED)
        return Job(
            account=case.order.account,
            order=case.order.id,
            kind=JobKind.PROBE if probes else JobKind.CANCEL,
            due_at=each.due_at,
            cancellation=each.id,
            deadline=each.sendable_until if each.state is State.SCHEDULED else None,
            policy=each.policy if each.state is State.SCHEDULED else None,
            sending=each.state is State.SENDING,
            urgent_by=each.sendable_until if each.state in (State.SCHEDULED, State.INDETERMINATE) else None,
            # A probe of what the provider has accepted is answered, even if it has not finished.
            failures=0 if each.state is State.ACCEPTED else each.failures + each.lost_calls + each.ambiguous_failures,
        )
    doubt = case.pending_probe
    if doubt is not None and doubt.failures < PROBE_RETRIES.attempts:
        account, order = case.order.account, case.order.id
        return Job(account, order, JobKind.PROBE, due_at=doubt.due_at, failures=doubt.failures)
    return None


def _after_own(case: OrderAggregate, event: Event) -> OrderAggregate:
    """The case after an event of ours that is no step of a cancellation."""
    if event.type.startswith(POLICY_PREFIX):
        return _after_any_decision(case, event)
    if event.type == PROBE_ABANDONED:
        return replace(case, pending_probe=None)
    if event.type == PROBE_WANTED:
        due_at = convert(event.data, ProbeWanted).due_at or event.received_at
        return replace(case, pending_probe=PendingProbe(since=event.received_at, due_at=due_at, after_refusal=True))
    if event.type == PROBE_FAILED:
        return replace(case, pending_probe=_doubt_after_failure(case.pending_probe, event))
    if event.type == TAGS_CHANGED:
        # Each change for itself: two orders that turn out to be one have the tags of both.
        change = convert(event.data, TagsChanged)
        tags = {*case.tags, *change.add} - set(change.remove)
        return replace(case, tags=tuple(sorted(tags)))
    return case


def _after_any_decision(case: OrderAggregate, event: Event) -> OrderAggregate:
    try:
        decided = convert(event.data, PolicyState, strict=False)
    except ValidationError:
        return case  # of a newer release
    return after_decision(case, decided)


def _apply_step(case: OrderAggregate, id: str, event: Event) -> tuple[OrderAggregate, Cancellation | None]:
    moved = cancellation.apply(case.cancellation(id), event)
    if moved is None:
        return case, None
    others = [each for each in case.live if each.id != id]
    live = others if moved.final else [*others, moved]
    exempt_from_policies = id if moved.cause is Cause.REVOKE_REQUESTED else case.exempt_from_policies
    return replace(case, live=tuple(live), exempt_from_policies=exempt_from_policies), moved


def after_decision(case: OrderAggregate, decided: PolicyState) -> OrderAggregate:
    """The case after a policy has decided."""
    known = case.policy_state(decided.policy)
    if known is not None and known.number > decided.number:
        # Two orders turned out to be one, and each had decisions: the next one must have a number of its own.
        decided = replace(decided, number=known.number)
    others = [each for each in case.policy_states if each.policy != decided.policy]
    return replace(case, policy_states=tuple(sorted([*others, decided], key=lambda each: each.policy)))


def in_turn(live: Iterable[Cancellation]) -> list[Cancellation]:
    """Live cancellations in the order in which they are dealt with: what was sent before what was not."""
    return sorted(live, key=lambda each: (each.state is State.SCHEDULED, each.requested_at, each.id))


def _doubt_after(known: PendingProbe | None, state: Order, event: Event) -> PendingProbe | None:
    if known is not None and known.after_refusal and event.occurred_at < known.since:
        return known
    if event.facts.phase is not None and state.phase is not Phase.UNKNOWN:
        return None
    if event.facts.snapshot and (known is None or event.occurred_at >= known.since):
        return None
    if state.phase is not Phase.UNKNOWN:
        return known
    if event.facts.phase is Phase.UNKNOWN or known is None:
        return PendingProbe(since=event.received_at, due_at=event.received_at)
    return known


def _doubt_after_failure(known: PendingProbe | None, event: Event) -> PendingProbe | None:
    if known is None:
        return None
    failed = convert(event.data, ProbeFailed)
    return replace(known, due_at=failed.due_at, failures=known.failures + (1 if failed.counts else 0))
