"""The status of an account's lane, as the API shows it."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from app.core.lane.rate_control import RateControl
from app.core.pauses import Pause


class LaneStatus(msgspec.Struct, frozen=True):
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


def status_of(rate: RateControl, pause: Pause | None, running: int, now: float, clock: datetime) -> LaneStatus:
    """The status of a lane with `running` calls under way. `now` is its monotonic clock, in seconds."""
    free, used, limit = rate.meter.free_at(now), rate.meter.used(now), rate.limit.current

    def status(state: str, reason: str = "", at: float | None = None) -> LaneStatus:
        until = clock + timedelta(seconds=at - now) if at is not None else None
        return LaneStatus(state, reason, until, running, limit, used)

    if pause is not None:
        return status("paused", pause.reason)
    if rate.breaker.is_open:
        return status("breaker_open", rate.breaker.reason, rate.breaker.free_at(now))
    if rate.hold_until > now:
        return status("throttled", "the provider asked to wait", rate.hold_until)
    if free is None or free > now:
        return status("rate_limited", f"{used} of {limit} calls used", free)
    return status("sending" if running else "idle")
