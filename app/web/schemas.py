"""The JSON of responses. Names are those of the log, of policies and of the command line; `Event` is the log's own."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime
from typing import Any, Self

from msgspec import Struct

from app import contract
from app.core import attempt as attempts
from app.core.aggregate import JobKind
from app.core.cancellation import Cause, State, Waiting
from app.core.event import Event
from app.core.representation import Cancellation, Order, OrderAppointment, Verdict, WaitingFor, schema_of
from app.runtime import ids
from app.store import Receipt as StoredReceipt
from app.web import examples
from app.web.examples import example
from app.workers.lane_status import LaneStatus

__all__ = ["Attempt", "AttemptSummary", "Cancellation", "Event", "Order", "Receipt", "Verdict", "WaitingFor"]

_HOLDUPS = ("paused", "breaker_open", "throttled", "rate_limited")
"""States of a lane in which its account's cancellations wait for the lane."""


VERDICT = example(
    Verdict(
        cancelable=contract.Cancelable.YES,
        reason="not_scheduled",
        explanation="The order is not scheduled yet: no status was named, and no appointment is confirmed.",
        evidence=(examples.EVENT,),
        changes_at=None,
        as_of=examples.REQUESTED_AT,
    )
)
example(
    Order(
        account=examples.ACCOUNT,
        id=examples.ORDER,
        aliases=("request:r-1",),
        shared_aliases=(),
        phase=contract.Phase.OPEN,
        provider_status=None,
        opened_at=examples.RECEIVED_AT,
        last_event_at=examples.RECEIVED_AT,
        appointments=[OrderAppointment("a-1", "requested", datetime(2026, 3, 4, 10, tzinfo=UTC), None)],
        attributes={"request_id": "r-1"},
        tags=("vip",),
        version=1,
        anomalies=(),
        cancellation=None,
        verdict=VERDICT,
        closes_at=None,
    )
)
CANCELLATION = example(
    Cancellation(
        id=examples.CANCELLATION,
        account=examples.ACCOUNT,
        order=examples.ORDER,
        state=State.SCHEDULED,
        final=False,
        reason="client_requested_cancelation",
        note="The client no longer wants it.",
        cause=Cause.REQUESTED,
        detail="",
        evidence=(),
        waiting=WaitingFor(what=Waiting.SEND_SLOT, until=datetime(2026, 3, 5, 9, 45, tzinfo=UTC)),
        attempts=0,
        deadline=datetime(2026, 3, 5, 9, 45, tzinfo=UTC),
        forced=False,
        requested_at=examples.REQUESTED_AT,
        requested_by="shop",
        policy=None,
        batch=None,
        closes_at=None,
        send_by=None,
        expected_at=examples.REQUESTED_AT,
        in_time=None,
        updated_at=examples.REQUESTED_AT,
        verdict=VERDICT,
    )
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
    expunged_at: datetime | None = None
    """When its query, headers and body were expunged."""
    digest: str | None = None
    """Then, the SHA-256 of the body, in hex."""
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
            size=stored.size or 0,
            expunged_at=stored.expunged_at,
        )

    @classmethod
    def whole(cls, stored: StoredReceipt) -> Receipt:
        """A receipt with its query, headers and body."""
        receipt = cls.of(stored)
        receipt.query, receipt.headers = stored.query, stored.headers
        if stored.expunged_at is not None:
            receipt.digest = stored.digest.hex()
            return receipt
        try:
            receipt.body = stored.body.decode()
        except UnicodeDecodeError:
            receipt.body_base64 = b64encode(stored.body).decode()
        return receipt


RECEIPT = example(
    Receipt(
        id=examples.RECEIPT,
        endpoint=examples.ENDPOINT,
        account=examples.ACCOUNT,
        received_at=examples.RECEIVED_AT,
        status="accepted",
        reason="",
        size=84,
    )
)
EVENT = example(
    Event(
        id=examples.EVENT,
        account=examples.ACCOUNT,
        order=examples.ORDER,
        type="order.processed",
        occurred_at=datetime(2026, 3, 2, 9, 30, tzinfo=UTC),
        received_at=examples.RECEIVED_AT,
        source=contract.Source.WEBHOOK,
        facts=contract.Facts(phase=contract.Phase.OPEN, attributes={"request_id": "r-1"}, aliases=("request:r-1",)),
        receipt=examples.RECEIPT,
    )
)


class EventDetails(Event, frozen=True):
    """An event, and where it leads."""

    cancellations: tuple[str, ...] = ()
    """The cancellations that it is a step of, or a decision for, or that rest on it."""
    messages: tuple[str, ...] = ()
    """The messages to subscribers that it caused."""


example(EventDetails(**{name: getattr(EVENT, name) for name in Event.__struct_fields__}))


class CancellationDetails(Cancellation, kw_only=True):
    """A cancellation, and where it leads."""

    events: list[str]
    """Its steps, the latest 100."""
    decision: str | None
    """The event by which a policy decided it."""
    attempt_ids: list[str]
    """The calls to the provider for it, the latest 100."""
    messages: list[str]
    """The messages to subscribers about its steps, the latest 100."""


example(
    CancellationDetails(
        **{name: getattr(CANCELLATION, name) for name in Cancellation.__struct_fields__},
        events=["evt_fe186c4d2bc4cc3491d2e1b1f8a0c7de"],
        decision=None,
        attempt_ids=[],
        messages=[],
    )
)


class AttemptSummary(Struct, kw_only=True):
    """One attempt to send a job to the provider."""

    id: str
    account: str
    order: str
    """The name by which the job refers to the order."""
    kind: JobKind
    cancellation: str | None
    started_at: datetime
    ended_at: datetime | None
    """Null while it is under way."""
    calls: int
    """HTTP calls; those of an attempt at several orders are counted with the first of them."""
    outcome: str
    """`succeeded`, `accepted`, `refused`, `retry`, `unauthorized`, `indeterminate` or `interrupted`; empty while it is
    under way."""
    detail: str

    @classmethod
    def of(cls, stored: attempts.Attempt) -> Self:
        """An attempt; a whole one with the redacted exchanges of its calls."""
        return schema_of(cls, stored, id=ids.show(ids.ATTEMPT, stored.id))


class Attempt(AttemptSummary, kw_only=True):
    """An attempt, with what was sent and answered."""

    exchanges: list[dict[str, Any]]


def holdup(lane: LaneStatus | None) -> WaitingFor | None:
    """What a lane in this state makes its account's cancellations wait for."""
    if lane is None or lane.state not in _HOLDUPS:
        return None
    return WaitingFor(what=lane.state, until=lane.until, reason=lane.reason)
