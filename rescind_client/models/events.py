"""Classes of events."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rescind_client.model import Model
from rescind_client.models.orders import Facts, Source


class EventDetails(Model, kw_only=True):
    """An event, and where it leads."""

    id: str
    account: str
    order: str
    """The name by which the event refers to the order; several names may lead to one order."""
    type: str
    occurred_at: datetime
    received_at: datetime
    source: Source
    facts: Facts
    data: dict[str, Any]
    """What was decided, and why, in Rescind's own events, by the schema of the type (`app.core.event_types`)."""
    receipt: str | None
    cancellations: list[str]
    """The cancellations that it is a step of, or a decision for, or that rest on it."""
    messages: list[str]
    """The messages to subscribers that it caused."""


class Checkpoint(Model, kw_only=True):
    """A block of the log's hash chain, signed: its root covers every event up to `last_position`."""

    block: int
    """The block's number, from 1."""
    first_position: int
    """The position of its first event in the log."""
    last_position: int
    sealed_at: datetime
    root: str
    """Over its events, and the root of the block before it; in hex."""
    signature: str
    """ed25519 over the lines `rescind-log-checkpoint/1`, the block's number, its last position, its root and
    the microseconds from 1970 to `sealed_at`, each with a line feed; in base64.
    """
    public_key: str
    """The key that verifies the signature, in base64."""
