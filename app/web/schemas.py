"""The JSON of responses. Names are those of the log, of policies and of the command line; `Event` is the log's own."""

from __future__ import annotations

from base64 import b64encode
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from app import contract
from app.core import aggregate, cancellation
from app.core import attempt as attempts
from app.core.aggregate import JobKind
from app.core.cancellation import State, Waiting
from app.core.event import Event
from app.runtime import ids
from app.store import Receipt as StoredReceipt
from app.workers.lane_status import LaneStatus

__all__ = ["Attempt", "Cancellation", "Event", "Order", "Receipt", "Verdict", "WaitingFor"]

_Schema = TypeVar("_Schema", bound=Struct)
_HOLDUPS = ("paused", "breaker_open", "throttled", "rate_limited")
"""States of a lane in which its account's cancellations wait for the lane."""


def _schema_of(schema: type[_Schema], source: Any, **members: Any) -> _Schema:
    """`schema` with these members, and every other one as the attribute of `source` has it."""
    same = {name: getattr(source, name) for name in schema.__struct_fields__ if name not in members}
    return schema(**same, **members)


class Verdict(Struct, kw_only=True):
    """Whether the order can be canceled, why, and until when."""

    cancelable: contract.Cancelable
    reason: str
    explanation: str
    evidence: tuple[str, ...]
    changes_at: datetime | None
    as_of: datetime

    @classmethod
    def of(cls, verdict: contract.Verdict, as_of: datetime) -> Verdict:
        """A verdict as judged at `as_of`."""
        return _schema_of(cls, verdict, as_of=as_of)


class OrderAppointment(Struct):
    """One appointment of an order; `status` is the provider's own string where it has one."""

    id: str
    status: str
    starts_at: datetime | None
    ends_at: datetime | None


class Order(Struct, kw_only=True):
    """An order with its verdict."""

    account: str
    id: str
    aliases: tuple[str, ...]
    """Every other name by which the order can be looked up."""
    shared_aliases: tuple[str, ...]
    """Those aliases that several orders may carry."""
    phase: contract.Phase
    provider_status: str | None
    opened_at: datetime | None
    last_event_at: datetime | None
    appointments: list[OrderAppointment]
    attributes: dict[str, Any]
    tags: tuple[str, ...]
    version: int
    anomalies: tuple[str, ...]
    cancellation: str | None
    """The id of the live cancellation."""
    verdict: Verdict

    @classmethod
    def of(cls, stored: aggregate.OrderAggregate, verdict: Verdict) -> Order:
        """An order with the given verdict."""
        order = stored.order
        return _schema_of(
            cls,
            order,
            aliases=tuple(sorted({*order.aliases, *order.shared_aliases})),
            appointments=msgspec.convert(order.appointments, list[OrderAppointment], from_attributes=True),
            tags=stored.tags,
            cancellation=stored.live[0].id if stored.live else None,
            verdict=verdict,
        )


class WaitingFor(Struct, kw_only=True, rename={"what": "for"}):
    """What a cancellation waits for, and until when at the latest."""

    what: str
    until: datetime | None
    reason: str = ""


class Cancellation(Struct, kw_only=True):
    """One request to cancel one order, and its state."""

    id: str
    account: str
    order: str
    state: State
    final: bool
    reason: str
    note: str | None
    cause: str
    detail: str
    evidence: tuple[str, ...]
    waiting: WaitingFor | None
    attempts: int
    deadline: datetime | None
    forced: bool
    requested_at: datetime
    requested_by: str
    policy: str | None
    batch: str | None
    closes_at: datetime | None
    """When the order's window closes by time alone."""
    send_by: datetime | None
    """`closes_at` less the latency of the provider's calls: not sent after this."""
    expected_at: datetime | None
    """When it was expected to be sent, as forecast at the request."""
    in_time: bool | None
    """Whether the forecast was in time; null if there was none."""
    updated_at: datetime
    verdict: Verdict | None
    """The verdict at the request."""

    @classmethod
    def of(cls, stored: cancellation.Cancellation, lane: LaneStatus | None = None) -> Cancellation:
        """A cancellation; with `lane`, also what holds up its account."""
        return _schema_of(
            cls,
            stored,
            waiting=_waiting_for(stored, lane),
            forced=stored.overridden_evidence is not None,
            expected_at=None if stored.final else stored.expected_at,
            verdict=Verdict.of(stored.verdict, stored.requested_at) if stored.verdict else None,
        )


class Receipt(Struct, kw_only=True, omit_defaults=True):
    """One inbound request. Headers and body are part of a single receipt only."""

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
    """The body, if it is text."""
    body_base64: str | None = None
    masked: bool = False
    """Whether fields that the handler declares private are masked in the body."""
    orders: list[str] | None = None
    """The orders of its new events."""
    events: list[str] | None = None
    """The events it brought, up to 100."""

    @classmethod
    def of(cls, stored: StoredReceipt) -> Receipt:
        """A receipt as lists show it."""
        return cls(
            id=ids.show(ids.RECEIPT, stored.id),
            endpoint=stored.endpoint,
            account=stored.account,
            received_at=stored.received_at,
            status=stored.status,
            reason=stored.reason,
            size=len(stored.body),
        )

    @classmethod
    def whole(cls, stored: StoredReceipt) -> Receipt:
        """A receipt with its query, headers and body."""
        receipt = cls.of(stored)
        receipt.query, receipt.headers = stored.query, stored.headers
        try:
            receipt.body = stored.body.decode()
        except UnicodeDecodeError:
            receipt.body_base64 = b64encode(stored.body).decode()
        return receipt


class Attempt(Struct, kw_only=True):
    """One attempt to send a job to the provider."""

    id: str
    kind: JobKind
    cancellation: str | None
    started_at: datetime
    ended_at: datetime | None
    outcome: str
    detail: str
    exchanges: list[dict[str, Any]]

    @classmethod
    def of(cls, stored: attempts.Attempt) -> Attempt:
        """An attempt with the redacted exchanges of its calls."""
        return _schema_of(cls, stored, id=ids.show(ids.ATTEMPT, stored.id))


def _waiting_for(stored: cancellation.Cancellation, lane: LaneStatus | None) -> WaitingFor | None:
    if stored.final:
        return None
    if lane is not None and lane.state in _HOLDUPS and stored.waiting not in (Waiting.RESULT, Waiting.APPROVAL):
        return WaitingFor(what=lane.state, until=lane.until or stored.deadline, reason=lane.reason)
    # A due cancellation waits for its turn, which comes before the deadline or not at all.
    until = stored.sendable_until if stored.waiting in (Waiting.SEND_SLOT, Waiting.CREDENTIALS) else stored.due_at
    return WaitingFor(what=stored.waiting, until=until)
