"""Classes of receipts."""

from __future__ import annotations

from datetime import datetime

from rescind_client.model import Model


class Receipt(Model, kw_only=True):
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
