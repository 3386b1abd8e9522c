"""Classes of subscriptions."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from msgspec import field

from rescind_client.model import Model

if TYPE_CHECKING:
    DeliveryState = Literal["delivered", "failed", "pending"]
else:
    DeliveryState = str  # A later server may add values.
"""What became of a delivery."""


class DeliveryAttempt(Model, kw_only=True):
    """One try. It holds nothing of the request, whose headers are secrets."""

    started_at: datetime
    duration_ms: int
    status: int | None = None
    """Status of the response, if there was one."""
    error: str = ""
    """Why there was no response."""
    headers: dict[str, str] = field(default_factory=dict)
    """Some of the response."""
    body: str = ""
    """The beginning of the response."""


class Delivery(Model, kw_only=True):
    """A message to one subscription, and what became of it."""

    subscription: str
    message: str
    """Id of the message, the `webhook-id` of each attempt."""
    type: str
    account: str | None
    order: str | None
    event: str | None
    """The event that caused the message, if one did."""
    test: bool
    """Whether it is an example that a person had sent."""
    state: DeliveryState
    """While the subscription is disabled, pending deliveries are held."""
    created_at: datetime
    next_attempt_at: datetime | None
    """When it is sent next; null if it is not pending."""
    tries: int
    """Since it was written, or sent again by hand."""
    last_attempt: DeliveryAttempt | None


class DeliveryDetails(Model, kw_only=True):
    """A delivery with its body and its attempts."""

    subscription: str
    message: str
    """Id of the message, the `webhook-id` of each attempt."""
    type: str
    account: str | None
    order: str | None
    event: str | None
    """The event that caused the message, if one did."""
    test: bool
    """Whether it is an example that a person had sent."""
    state: DeliveryState
    """While the subscription is disabled, pending deliveries are held."""
    created_at: datetime
    next_attempt_at: datetime | None
    """When it is sent next; null if it is not pending."""
    tries: int
    """Since it was written, or sent again by hand."""
    last_attempt: DeliveryAttempt | None
    body: dict[str, Any]
    """The body of its requests; notices in other formats than `standard` are worded from it."""
    attempts: list[DeliveryAttempt]
    """The latest last; at most 20 are kept."""


class Recovery(Model, kw_only=True):
    """How many failed deliveries are sent again."""

    recovered: int
    """By this request."""
    remaining: int
    """Those that are left."""
    has_more: bool
    """Whether the time budget ended before all were found: repeat the request with `next_cursor`."""
    next_cursor: str | None


class PulledMessage(Model, kw_only=True):
    """A message as it would be sent: the same headers, the same body."""

    id: str
    headers: dict[str, str]
    """Those of Standard Webhooks, with the signatures."""
    body: str
    """The JSON that is signed, byte for byte."""


class Pulled(Model, kw_only=True):
    """The messages that were pulled; acknowledge them."""

    data: list[PulledMessage]


class Acknowledged(Model, kw_only=True):
    """How many messages were acknowledged."""

    acknowledged: int
    """Those that were pending until then."""


class Message(Model, kw_only=True):
    """A message to subscribers, and its deliveries."""

    id: str
    """The `webhook-id` of each delivery."""
    type: str
    account: str | None
    order: str | None
    event: str | None
    """The event that caused it, if one did."""
    test: bool
    """Whether it is an example that a person had sent."""
    created_at: datetime
    data: dict[str, Any]
    """The `data` of its body; a subscription with full payloads gets the order as well."""
    deliveries: list[Delivery]
    """One for each subscription that matched it, up to 500."""


class Triggered(Model, kw_only=True):
    """Who receives an example."""

    message: str | None
    """Its id; null if nobody receives it."""
    type: str
    account: str | None
    subscriptions: list[str]
    """Those whose `events` and `accounts` match."""
