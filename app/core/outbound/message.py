"""A message to subscribers, as it is stored."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from app.core.outbound.schedule import Schedule


class Target(Struct, frozen=True):
    """A subscription that receives a message."""

    subscription: str
    ordered: bool = False
    """It receives the messages of one order in turn."""
    full: bool = False
    """It wants the order as it was."""
    schedule: Schedule | None = None
    """When it is sent this message; None: at once."""


class Message(Struct, frozen=True, kw_only=True):
    """What subscribers are told."""

    id: int
    """Begins with the time; receivers tell repetitions by it."""
    account: str
    """Empty where it is about no account."""
    type: str
    order_pk: int = 0
    """The order's number; 0 where it is about no order."""
    cause: str | None = None
    """Id of the event that caused it, if one did."""
    at: datetime
    data: bytes
    """JSON by the schema of its type (`app.core.outbound.types`)."""
    snapshot: bytes | None = None
    """JSON of the order at that moment, where a target wants it."""
    targets: tuple[Target, ...] = ()
    """Who receives it; only while it is being written."""
