"""The JSON of responses. Names are those of the log, of policies and of the command line; `Event` is the log's own."""

from __future__ import annotations

from base64 import b64encode
from datetime import datetime
from typing import Any

from msgspec import Struct

from app.core import attempt as attempts
from app.core.aggregate import JobKind
from app.core.event import Event
from app.core.representation import Cancellation, Order, Verdict, WaitingFor, schema_of
from app.runtime import ids
from app.store import Receipt as StoredReceipt
from app.workers.lane_status import LaneStatus

__all__ = ["Attempt", "Cancellation", "Event", "Order", "Receipt", "Verdict", "WaitingFor"]

_HOLDUPS = ("paused", "breaker_open", "throttled", "rate_limited")
"""States of a lane in which its account's cancellations wait for the lane."""


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
        return schema_of(cls, stored, id=ids.show(ids.ATTEMPT, stored.id))


def holdup(lane: LaneStatus | None) -> WaitingFor | None:
    """What a lane in this state makes its account's cancellations wait for."""
    if lane is None or lane.state not in _HOLDUPS:
        return None
    return WaitingFor(what=lane.state, until=lane.until, reason=lane.reason)
