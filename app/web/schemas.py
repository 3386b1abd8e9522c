"""What answers look like. The names are those of the log, of policies and of the command line."""

from __future__ import annotations

from base64 import b64encode
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from app.contract import Appointment, Verdict
from app.core.aggregate import OrderAggregate
from app.core.attempt import Attempt
from app.core.cancellation import FINAL, Cancellation, Waiting
from app.core.event import Event
from app.runtime import ids
from app.store import Receipt
from app.workers.lane_status import LaneStatus


class VerdictShape(Struct, kw_only=True):
    """May the order be canceled, why, and until when."""

    cancelable: str
    reason: str
    explanation: str
    evidence: tuple[str, ...]
    changes_at: datetime | None
    as_of: datetime


class OrderShape(Struct, kw_only=True):
    """An order with its verdict."""

    account: str
    id: str
    aliases: tuple[str, ...]
    """Every other name by which it can be looked up."""
    shared_aliases: tuple[str, ...]
    """Those of them that several orders may carry."""
    phase: str
    provider_status: str | None
    opened_at: datetime | None
    last_event_at: datetime | None
    appointments: list[dict[str, Any]]
    attributes: dict[str, Any]
    tags: tuple[str, ...]
    version: int
    anomalies: tuple[str, ...]
    cancellation: str | None
    """The cancellation that is under way."""
    verdict: VerdictShape


class WaitingShape(Struct, kw_only=True, rename={"what": "for"}):
    """What something waits for, and until when at the latest."""

    what: str
    until: datetime | None
    reason: str = ""


class CancellationShape(Struct, kw_only=True):
    """One wish to cancel one order, and how it stands."""

    id: str
    account: str
    order: str
    state: str
    final: bool
    reason: str
    note: str | None
    cause: str
    detail: str
    evidence: tuple[str, ...]
    waiting: WaitingShape | None
    attempts: int
    deadline: datetime | None
    forced: bool
    requested_at: datetime
    requested_by: str
    policy: str | None
    batch: str | None
    closes_at: datetime | None
    """When time alone closes the order's window."""
    send_by: datetime | None
    """The same, less what the provider's calls take: after this it is not sent."""
    expected_at: datetime | None
    """When it was to be sent, as things stood when it was asked for."""
    in_time: bool | None
    """Whether that was in time; null if nobody could tell."""
    updated_at: datetime
    verdict: VerdictShape | None
    """What the wish was judged by."""


class EventShape(Struct, kw_only=True):
    """One event of the log."""

    id: str
    account: str
    order: str
    type: str
    occurred_at: datetime
    received_at: datetime
    source: str
    facts: dict[str, Any]
    data: dict[str, Any]
    receipt: str | None


class ReceiptShape(Struct, kw_only=True, omit_defaults=True):
    """One inbound request. Body and headers are shown with a single receipt only."""

    id: str
    endpoint: str
    account: str
    received_at: datetime
    status: str
    reason: str
    size: int
    query: list[tuple[str, str]] | None = None
    headers: list[tuple[str, str]] | None = None
    body: str | None = None
    """The body, where it is text."""
    body_base64: str | None = None
    masked: bool = False
    """What the handler leaves out as private is masked in the body."""
    orders: list[str] | None = None
    """The orders that it told of, where it was the first to tell what it told."""
    events: list[str] | None = None
    """The events that it became, up to 100."""


class AttemptShape(Struct, kw_only=True):
    """One time a job was sent to the provider."""

    id: str
    kind: str
    cancellation: str | None
    started_at: datetime
    ended_at: datetime | None
    outcome: str
    detail: str
    exchanges: list[dict[str, Any]]


def verdict_shape(verdict: Verdict, as_of: datetime) -> VerdictShape:
    """A verdict as judged at `as_of`."""
    return VerdictShape(
        cancelable=verdict.cancelable,
        reason=verdict.reason,
        explanation=verdict.explanation,
        evidence=verdict.evidence,
        changes_at=verdict.changes_at,
        as_of=as_of,
    )


def order_shape(case: OrderAggregate, verdict: VerdictShape) -> OrderShape:
    """An order as answers show it."""
    order = case.order
    return OrderShape(
        account=order.account,
        id=order.id,
        aliases=tuple(sorted({*order.aliases, *order.shared_aliases})),
        shared_aliases=order.shared_aliases,
        phase=order.phase,
        provider_status=order.provider_status,
        opened_at=order.opened_at,
        last_event_at=order.last_event_at,
        appointments=[_appointment(each) for each in order.appointments],
        attributes=order.attributes,
        tags=case.tags,
        version=order.version,
        anomalies=order.anomalies,
        cancellation=case.live[0].id if case.live else None,
        verdict=verdict,
    )


def cancellation_shape(known: Cancellation, lane: LaneStatus | None = None) -> CancellationShape:
    """A cancellation as answers show it; with `lane`, also what holds its account up."""
    return CancellationShape(
        id=known.id,
        account=known.account,
        order=known.order,
        state=known.state,
        final=known.state in FINAL,
        reason=known.reason,
        note=known.note,
        cause=known.cause,
        detail=known.detail,
        evidence=known.evidence,
        waiting=_waiting(known, lane),
        attempts=known.attempts,
        deadline=known.deadline,
        forced=known.overridden_evidence is not None,
        requested_at=known.requested_at,
        requested_by=known.requested_by,
        policy=known.policy,
        batch=known.batch,
        closes_at=known.closes_at,
        send_by=known.send_by,
        expected_at=None if known.final else known.expected_at,
        in_time=known.in_time,
        updated_at=known.updated_at,
        verdict=verdict_shape(known.verdict, known.requested_at) if known.verdict else None,
    )


def event_shape(event: Event) -> EventShape:
    """An event as answers show it."""
    return EventShape(
        id=event.id,
        account=event.account,
        order=event.order,
        type=event.type,
        occurred_at=event.occurred_at,
        received_at=event.received_at,
        source=event.source,
        facts=msgspec.to_builtins(event.facts, builtin_types=(datetime,)),
        data=event.data,
        receipt=event.receipt,
    )


def receipt_shape(receipt: Receipt, *, whole: bool) -> ReceiptShape:
    """A receipt as answers show it; `whole` with headers and body."""
    shape = ReceiptShape(
        id=ids.show(ids.RECEIPT, receipt.id),
        endpoint=receipt.endpoint,
        account=receipt.account,
        received_at=receipt.received_at,
        status=receipt.status,
        reason=receipt.reason,
        size=len(receipt.body),
    )
    if whole:
        shape.query, shape.headers = receipt.query, receipt.headers
        try:
            shape.body = receipt.body.decode()
        except UnicodeDecodeError:
            shape.body_base64 = b64encode(receipt.body).decode()
    return shape


def attempt_shape(attempt: Attempt) -> AttemptShape:
    """An attempt as answers show it."""
    return AttemptShape(
        id=ids.show(ids.ATTEMPT, attempt.id),
        kind=attempt.kind,
        cancellation=attempt.cancellation,
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
        outcome=attempt.outcome,
        detail=attempt.detail,
        exchanges=attempt.exchanges,
    )


def _appointment(each: Appointment) -> dict[str, Any]:
    return {"id": each.id, "status": each.status, "starts_at": each.starts_at, "ends_at": each.ends_at}


_HELD_UP = ("paused", "breaker_open", "throttled", "rate_limited")


def _waiting(known: Cancellation, lane: LaneStatus | None) -> WaitingShape | None:
    if known.final:
        return None
    if lane is not None and lane.state in _HELD_UP and known.waiting not in (Waiting.RESULT, Waiting.APPROVAL):
        return WaitingShape(what=lane.state, until=lane.until or known.deadline, reason=lane.reason)
    # What is due already waits for its turn, which comes before the deadline or not at all.
    until = known.sendable_until if known.waiting in (Waiting.SEND_SLOT, Waiting.CREDENTIALS) else known.due_at
    return WaitingShape(what=known.waiting, until=until)
