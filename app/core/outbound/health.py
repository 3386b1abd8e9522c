"""How a subscription fares, over all its deliveries. Pure."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct


class SubscriptionState(Struct, frozen=True, omit_defaults=True):
    """What a new process must know of a subscription, besides its queue."""

    failing_since: datetime | None = None
    """The first failure since the last success."""
    failures: int = 0
    """Consecutive failures."""
    last_failure_at: datetime | None = None
    last_success_at: datetime | None = None
    error: str = ""
    """The latest failure, in words; empty after a success."""
    unreached: int = 0
    """Consecutive tries without a response."""
    failed_orders: tuple[int, ...] = ()
    """Orders (or messages about none) of the failures since the last success; a few."""
    down_since: datetime | None = None
    """Since then one delivery at a time probes whether it is back."""
    probes: int = 0
    """Failed probes since then."""
    hold_until: datetime | None = None
    """No delivery before: the receiver asked for it, or the next probe is due then."""
    notices: int = 0
    """How many notices of the present failure were recorded."""
    disabled_at: datetime | None = None
    """When it was disabled automatically; its deliveries are held."""
    disabled_reason: str = ""
    purge_until: int = 0
    """A subscription of this id was removed: its deliveries of messages up to this id are to be deleted."""
