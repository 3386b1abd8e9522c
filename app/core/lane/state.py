"""What a lane has learned of its provider, as stored for the next process. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct

from app.core.lane.pacing import bounded_wait_s
from app.core.lane.rate_control import RateControl

_SAME_S = 1.0
"""Readings of one moment by two clocks differ by less."""
_SAME_SHARE = 0.25
"""A latency that differs by less, as a share of what is stored, is not stored anew."""


class LaneState(Struct, frozen=True, omit_defaults=True):
    """What a new process must know of an account's provider, besides the calls made."""

    hold_until: datetime | None = None
    """The provider asked for no calls before then."""
    configured: int = 0
    """The configured limit when `learned` was learned; `learned` is void under another."""
    learned: int = 0
    down: str = ""
    """Why the breaker is open; empty if it is closed."""
    latency_s: float = 0.0
    """About how long a cancel takes, for nodes that do not have the lane; 0.0: unknown."""


def state_of(rate: RateControl, now: float, clock: datetime, before: LaneState, latency_s: float = 0.0) -> LaneState:
    """The state of `rate`; equal to `before` if nothing has changed. `now` is the lane's monotonic clock."""
    hold = clock + timedelta(seconds=rate.hold_until - now) if rate.hold_until > now else None
    if hold is not None and before.hold_until is not None:
        same = abs(hold - before.hold_until) < timedelta(seconds=_SAME_S)
        hold = before.hold_until if same else hold
    if hold is None and before.hold_until is not None and before.hold_until <= clock:
        hold = before.hold_until  # its end need not be written
    learned = rate.limit.current if rate.limit.current < rate.limit.full else 0
    configured = rate.limit.full if learned else 0
    if abs(latency_s - before.latency_s) <= _SAME_SHARE * before.latency_s:
        latency_s = before.latency_s
    return LaneState(hold, configured, learned, rate.breaker.reason if rate.breaker.is_open else "", latency_s)


def resume(rate: RateControl, state: LaneState, now: float, clock: datetime) -> None:
    """Let `rate` continue from the state of an earlier process; waits are bounded."""
    if state.hold_until is not None:
        wait_s = bounded_wait_s((state.hold_until - clock).total_seconds())
        rate.hold(wait_s or 0.0, now)
    if state.configured == rate.limit.full and 0 < state.learned < rate.limit.full:
        rate.learn(state.learned, now)
    if state.down:
        rate.breaker.reopen(state.down, now)
