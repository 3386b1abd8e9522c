"""What events are in the log: where they come from, and which types no handler may use."""

from __future__ import annotations

from enum import StrEnum

RESERVED_EVENT_PREFIXES = (
    "cancellation.",
    "policy.",
    "probe.",
    "account.times_without_offset",
    "account.opening_unreadable",
    "sending.",
    "tags.",
    "breaker.opened",
    "breaker.closed",
    "limit.near",
    "endpoint.failing",
    "endpoint.silent",
    "subscription.failing",
    "subscription.disabled",
    "order.erased",
    "retention.",
)
"""How the types of events begin that Rescind records about its own dealings with an order. No handler may use them."""


class OpenEnum(StrEnum):
    """Values to which a newer release may add: one that is not known here is kept as it stands."""

    @classmethod
    def _missing_(cls, value: object) -> OpenEnum | None:
        if not isinstance(value, str):
            return None
        unknown = str.__new__(cls, value)
        unknown._name_ = unknown._value_ = value
        return unknown


class Source(OpenEnum):
    """Through which side of the one door an event came."""

    WEBHOOK = "webhook"
    PROVIDER = "provider"
    CLOCK = "clock"
    OPERATOR = "operator"
