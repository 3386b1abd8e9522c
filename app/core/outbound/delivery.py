"""Deliveries: one message to one subscription, and what became of each try."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from app.core.outbound.message import Message

ATTEMPTS_MAX = 20
"""How many attempts of a delivery are kept, the latest."""


class DeliveryState(StrEnum):
    """What became of a delivery."""

    PENDING = "pending"
    """It is to be sent, or sent again; while its subscription is paused or disabled it is held."""
    DELIVERED = "delivered"
    """The receiver accepted it."""
    FAILED = "failed"
    """It was tried as often as promised; it can be sent again by hand."""


class DeliveryAttempt(Struct, frozen=True, omit_defaults=True):
    """One try. It holds nothing of the request, whose headers are secrets."""

    started_at: datetime
    duration_ms: int
    status: int | None = None
    """Status of the response, if there was one."""
    error: str = ""
    """Why there was no response."""
    headers: dict[str, str] = {}
    """Some of the response."""
    body: str = ""
    """The beginning of the response."""


class Delivery(Struct, frozen=True, kw_only=True):
    """A message on its way to one subscription."""

    subscription: str
    message: Message
    sequence: int | None
    """Number of the order whose messages are sent in turn; None if this one waits for no other."""
    state: DeliveryState
    due_at: datetime
    """When it is to be sent next; of a settled one when it was due last."""
    tries: int
    """Since it was written, or sent anew by hand. Tries while the whole subscription was down do not count."""
    attempts: tuple[DeliveryAttempt, ...]
    """The latest last."""


class Turn(Struct, frozen=True):
    """The first pending delivery of a sequence: no other of it may be sent before."""

    message: int
    due_at: datetime


class QueuedDelivery(Struct, frozen=True):
    """A due delivery, with the turn of its sequence."""

    delivery: Delivery
    turn: Turn | None
    """None if the delivery waits for no other."""


class DeliveryUpdate(Struct, frozen=True):
    """What a try made of a pending delivery."""

    subscription: str
    message: int
    state: DeliveryState
    due_at: datetime
    tries: int
    attempts: tuple[DeliveryAttempt, ...]


class Postponement(Struct, frozen=True):
    """A pending delivery that has to wait for another, and until when it need not be looked at."""

    subscription: str
    message: int
    due_at: datetime


class DuePosition(Struct, frozen=True):
    """A place in a subscription's queue, which is in the order of what is due first."""

    due_at: datetime
    message: int


class Backlog(Struct, frozen=True):
    """The pending deliveries of a subscription."""

    pending: int
    due_at: datetime
    """When the first of them is due."""


class PendingDeliveries(Struct, frozen=True):
    """How many deliveries of a subscription are pending, counted up to a maximum."""

    count: int = 0
    oldest: int | None = None
    """The oldest message among those that were counted."""
