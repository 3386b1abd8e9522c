"""What leads from one record to others: a part of `app.store.protocol`. Ids are public; of many, only the latest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from app.core.event import Event
from app.core.outbound.delivery import Delivery
from app.core.outbound.message import Message

LINKS_MAX = 100


@dataclass(frozen=True, slots=True)
class EventLinks:
    """What an event led to."""

    cancellations: list[str]
    """Those that it is a step of, or a decision for, or that rest on it."""
    messages: list[str]
    """Those that it caused."""


@dataclass(frozen=True, slots=True)
class CancellationLinks:
    """What belongs to a cancellation, besides its steps."""

    decision: str | None
    """The event by which a policy decided it."""
    attempts: list[str]
    messages: list[str]


class LinkReader(Protocol):
    """Queries from one record to others, outside of transactions."""

    async def event_links(self, event: Event) -> EventLinks: ...

    async def cancellation_links(self, id: str, policy: str | None, steps: Sequence[str]) -> CancellationLinks:
        """Links of a cancellation that a policy requested, if one did, and whose steps are these events."""

    async def message(self, id: int) -> Message | None: ...

    async def message_deliveries(self, id: int, limit: int) -> list[Delivery]:
        """The deliveries of a message, by subscription."""
