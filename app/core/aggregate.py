"""The aggregate of an order: its live cancellations, pending probe, policy states and tags, and the job that follows.

An aggregate is what one transaction reads and writes. The job is derived: an order has at most one, so at most one call
about it is ever under way (guarantee I4).
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
    ORDER_ERASED,
    POLICY_DECIDED,
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

_FACT_SOURCES = (Source.WEBHOOK, Source.PROVIDER)


class JobKind(StrEnum):
    """What a job does at the provider."""

    CANCEL = "cancel"
    PROBE = "probe"
    REGISTRATION = "registration"
    """About no order: lists or makes the registrations of webhooks. Never stored as a job."""


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
    """A poll, which nothing stored asks for: no event of the order came for a while."""
    urgent_by: datetime | None = None
    """By when its cancellation, unsent or indeterminate, must be done; the earliest goes first."""
    failures: int = 0
    """Calls about the order that failed or were lost since its last progress; jobs without any go first."""


class PendingProbe(Struct, frozen=True, omit_defaults=True):
    """Probes of an order whose phase is uncertain, while no cancellation asks for them."""

    since: datetime
    due_at: datetime
    failures: int = 0
    after_refusal: bool = False
    """Wanted after a refusal that the verdict did not foresee: only a newer fact ends it."""


class OrderAggregate(Struct, frozen=True, omit_defaults=True):
    """An order, its live cancellations, its pending probe, and the states of policies for it."""

    order: Order
    head: FoldKey | None = None
    """The fold key of the latest folded fact."""
    live: tuple[Cancellation, ...] = ()
    pending_probe: PendingProbe | None = None
    policy_states: tuple[PolicyState, ...] = ()
    tags: tuple[str, ...] = ()
    exempt_from_policies: str | None = None
    """The cancellation that a person revoked: since then no policy cancels the order."""
    erased_at: datetime | None = None
    """When its personal data was erased on request."""

    @property
    def latest(self) -> datetime | None:
        """When the latest folded fact happened."""
        return self.head[0] if self.head else None

    def policy_state(self, policy: str) -> PolicyState | None:
        """The state of a policy for the order."""
        return next((state for state in self.policy_states if state.policy == policy), None)

    def cancellation(self, id: str) -> Cancellation | None:
        """The live cancellation of that id."""
        return next((cancel for cancel in self.live if cancel.id == id), None)


def is_fact(event: Event) -> bool:
    """Whether the event speaks of the order itself, and not of what Rescind does about it."""
    # A newer release may have more types of its own; facts come from these sources only.
    return event.source in _FACT_SOURCES and not event.type.startswith(RESERVED_EVENT_PREFIXES)


def comes_late(aggregate: OrderAggregate, event: Event) -> bool:
    """Whether the event needs the order's history to be folded: it may precede another, or another may outrank it."""
    return aggregate.head is not None and order.needs_history(
        aggregate.head[0], event.occurred_at, event.facts.snapshot
    )


def apply(aggregate: OrderAggregate, event: Event) -> tuple[OrderAggregate, Cancellation | None]:
    """The aggregate after `event`, and the cancellation it moved, if any. For late events see `app.core.folding`."""
    id = cancellation_of(event)
    if id is not None:
        return _apply_step(aggregate, id, event)
    if not is_fact(event):
        return _after_own(aggregate, event), None
    return after_facts(aggregate, order.apply(aggregate.order, event), fold_key(event), (event,)), None


def after_facts(
    aggregate: OrderAggregate, state: Order, head: FoldKey | None, facts: Iterable[Event]
) -> OrderAggregate:
    """The aggregate whose order has become `state` by `facts`, given as they became known."""
    pending = aggregate.pending_probe
    for event in facts:
        pending = _pending_after(pending, state, event)
    return replace(aggregate, order=state, head=head, pending_probe=pending)


def job_for(aggregate: OrderAggregate) -> Job | None:
    """The one next call about this order, if any."""
    for cancel in in_turn(aggregate.live):
        if cancel.due_at is None:
            continue
        probes = cancel.waiting is Waiting.PROBE or cancel.state in (State.INDETERMINATE, State.ACCEPTED)
        return Job(
            account=aggregate.order.account,
            order=aggregate.order.id,
            kind=JobKind.PROBE if probes else JobKind.CANCEL,
            due_at=cancel.due_at,
            cancellation=cancel.id,
            deadline=cancel.sendable_until if cancel.state is State.SCHEDULED else None,
            policy=cancel.policy if cancel.state is State.SCHEDULED else None,
            sending=cancel.state is State.SENDING,
            urgent_by=cancel.sendable_until if cancel.state in (State.SCHEDULED, State.INDETERMINATE) else None,
            # A probe of an accepted cancel is answered, even if the provider has not finished.
            failures=0
            if cancel.state is State.ACCEPTED
            else cancel.failures + cancel.lost_calls + cancel.ambiguous_failures,
        )
    pending = aggregate.pending_probe
    if pending is not None and pending.failures < PROBE_RETRIES.attempts:
        account, order = aggregate.order.account, aggregate.order.id
        return Job(account, order, JobKind.PROBE, due_at=pending.due_at, failures=pending.failures)
    return None


def _after_own(aggregate: OrderAggregate, event: Event) -> OrderAggregate:
    """The aggregate after an event of Rescind's own that is no step of a cancellation."""
    if event.type.startswith(POLICY_PREFIX):
        return _after_any_decision(aggregate, event)
    if event.type in (ORDER_ERASED, PROBE_ABANDONED):
        changed = {"erased_at": event.received_at} if event.type == ORDER_ERASED else {"pending_probe": None}
        return replace(aggregate, **changed)
    if event.type == PROBE_WANTED:
        due_at = convert(event.data, ProbeWanted).due_at or event.received_at
        return replace(
            aggregate, pending_probe=PendingProbe(since=event.received_at, due_at=due_at, after_refusal=True)
        )
    if event.type == PROBE_FAILED:
        return replace(aggregate, pending_probe=_pending_after_failure(aggregate.pending_probe, event))
    if event.type == TAGS_CHANGED:
        # Only the change counts: two orders that are merged have the tags of both.
        change = convert(event.data, TagsChanged)
        tags = {*aggregate.tags, *change.add} - set(change.remove)
        return replace(aggregate, tags=tuple(sorted(tags)))
    return aggregate


def _after_any_decision(aggregate: OrderAggregate, event: Event) -> OrderAggregate:
    together = event.type == POLICY_DECIDED
    decisions = event.data.get("decisions", ()) if together else (event.data,)
    try:
        decided = convert(decisions, list[PolicyState], strict=False)
    except ValidationError:
        return aggregate  # of a newer release
    return after_decisions(aggregate, decided)


def _apply_step(aggregate: OrderAggregate, id: str, event: Event) -> tuple[OrderAggregate, Cancellation | None]:
    moved = cancellation.apply(aggregate.cancellation(id), event)
    if moved is None:
        return aggregate, None
    others = [cancel for cancel in aggregate.live if cancel.id != id]
    live = others if moved.final else [*others, moved]
    exempt_from_policies = id if moved.cause is Cause.REVOKE_REQUESTED else aggregate.exempt_from_policies
    return replace(aggregate, live=tuple(live), exempt_from_policies=exempt_from_policies), moved


def after_decisions(aggregate: OrderAggregate, decided: Iterable[PolicyState]) -> OrderAggregate:
    """The aggregate after policies have decided."""
    states = {state.policy: state for state in aggregate.policy_states}
    for decision in decided:
        before = states.get(decision.policy)
        if before is not None and before.number > decision.number:
            # Two orders were merged, and each had decisions: the next one must have a number of its own.
            states[decision.policy] = replace(decision, number=before.number)
        else:
            states[decision.policy] = decision
    return replace(aggregate, policy_states=tuple(states[policy] for policy in sorted(states)))


def in_turn(live: Iterable[Cancellation]) -> list[Cancellation]:
    """Live cancellations in the order in which they are handled: sent ones before unsent ones."""
    return sorted(live, key=lambda cancel: (cancel.state is State.SCHEDULED, cancel.requested_at, cancel.id))


def _pending_after(pending: PendingProbe | None, state: Order, event: Event) -> PendingProbe | None:
    if pending is not None and pending.after_refusal and event.occurred_at < pending.since:
        return pending
    if event.facts.phase is not None and state.phase is not Phase.UNKNOWN:
        return None
    if event.facts.snapshot and (pending is None or event.occurred_at >= pending.since):
        return None
    if state.phase is not Phase.UNKNOWN:
        return pending
    if event.facts.phase is Phase.UNKNOWN or pending is None:
        return PendingProbe(since=event.received_at, due_at=event.received_at)
    return pending


def _pending_after_failure(pending: PendingProbe | None, event: Event) -> PendingProbe | None:
    if pending is None:
        return None
    failed = convert(event.data, ProbeFailed)
    return replace(pending, due_at=failed.due_at, failures=pending.failures + (1 if failed.counts else 0))
