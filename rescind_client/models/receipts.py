"""Classes of receipts."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal

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
    expunged_at: datetime | None = None
    """When its query, headers and body were expunged."""
    digest: str | None = None
    """Then, the SHA-256 of the body, in hex."""
    orders: list[str] | None = None
    """The orders of its new events."""
    events: list[str] | None = None
    """The events it brought, up to 100."""


class Reprocessed(Model, kw_only=True):
    """What became, or would become, of a receipt."""

    id: str
    account: str
    endpoint: str
    received_at: datetime
    before: str
    """Its status until now."""
    status: str
    """Its status from now on; of a preview, the expected one."""
    reason: str
    events: int
    """The events that it holds."""
    new_events: int
    """Those that the log did not have, of the first 20."""
    orders: list[str]
    """The orders of its first events, as the receipt names them."""


class ReprocessPage(Model, kw_only=True):
    """A part of the receipts that were to be reprocessed, the newest first."""

    data: list[Reprocessed]
    dry_run: bool
    counts: dict[str, int]
    """Status → the number of receipts here that came to it."""
    has_more: bool
    next_cursor: str | None
    """Repeat the request with this cursor to go on."""


if TYPE_CHECKING:
    ReceiptStatus = Literal["accepted", "duplicate", "ignored", "quarantined"]
else:
    ReceiptStatus = str  # A later server may add values.
"""What came of a webhook."""


class ReprocessFilter(Model, kw_only=True, omit_defaults=True):
    """Which receipts to reprocess; all conditions apply."""

    account: str | None = None
    endpoint: str | None = None
    order: str | None = None
    """Only those that became events of this order; requires `account`."""
    status: ReceiptStatus | None = None
    """What became of them before."""
    reason: str | None = None
    """Text contained in the reason."""
    since: datetime | None = None
    """Received at this time or later."""
    until: datetime | None = None
    """Received before this time."""
