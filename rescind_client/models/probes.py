"""Classes of probes."""

from __future__ import annotations

from datetime import datetime

from rescind_client.model import Model


class ProbeResult(Model, kw_only=True):
    """What the request led to for one order."""

    order: str
    outcome: str
    """`wanted`, `known`, `busy` (a cancellation is live), `unavailable` or `invalid`."""
    detail: str = ""


class RequestedProbes(Model, kw_only=True):
    """What was requested; `results` are in the order of the request."""

    asked_at: datetime
    outcomes: dict[str, int]
    results: list[ProbeResult]


class LaneStatus(Model, kw_only=True):
    """The status of an account's lane."""

    state: str
    """sending, idle, paused, throttled, breaker_open or rate_limited."""
    reason: str
    until: datetime | None
    running: int
    """Calls under way; on a node that does not have the lane, the orders that they are about."""
    limit: int
    """Calls per window, as configured or as learned from the provider's denials."""
    used: int
    """Calls that count for the limit now; 0 on a node that does not have the lane."""


class WaitingProbes(Model, kw_only=True):
    """The probes of an account that wait to be sent."""

    waiting: int
    """Orders still to be probed, counted up to 10,000."""
    more: bool
    """Whether there are more than were counted."""
    until: datetime | None
    """When the last of them is due."""
    lane: LaneStatus | None
