"""Events as an export writes them."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

import msgspec


class EventRow(msgspec.Struct):
    """An event as it is written; facts and data stay as they are."""

    id: str
    account: str
    order: str
    type: str
    occurred_at: datetime
    received_at: datetime
    source: str
    facts: msgspec.Raw = msgspec.Raw(b"{}")
    data: msgspec.Raw = msgspec.Raw(b"{}")
    receipt: str | None = None


class Writer(Protocol):
    """Writes events to a file."""

    def write(self, raw: bytes, row: EventRow) -> None:
        """Add an event, as the API sent it and as it was read."""
