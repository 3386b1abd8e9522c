"""What a lane has learned of its provider, in a form that outlives the process. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct

from app.core.lane.pacing import bounded
from app.core.lane.rate_gate import Rate

_SAME_S = 1.0
"""Two readings of one moment, by two clocks, differ by less."""


class LaneState(Struct, frozen=True, omit_defaults=True):
    """What a new process has to know of an account's provider, besides the calls that were made."""

    hold_until: datetime | None = None
    """The provider asked that nobody calls before."""
    configured: int = 0
    """The limit from which `learned` was learned; with another it says nothing."""
    learned: int = 0
    down: str = ""
    """Why the breaker is open; empty where it is closed."""


def state_of(rate: Rate, now: float, clock: datetime, before: LaneState) -> LaneState:
    """What is to be known of `rate`; equal to `before` where nothing has changed. `now` is the lane's own clock."""
    hold = clock + timedelta(seconds=rate.hold_until - now) if rate.hold_until > now else None
    if hold is not None and before.hold_until is not None:
        same = abs(hold - before.hold_until) < timedelta(seconds=_SAME_S)
        hold = before.hold_until if same else hold
    if hold is None and before.hold_until is not None and before.hold_until <= clock:
        hold = before.hold_until  # that it is over nobody needs to write down
    learned = rate.limit.current if rate.limit.current < rate.limit.full else 0
    configured = rate.limit.full if learned else 0
    return LaneState(hold, configured, learned, rate.breaker.reason if rate.breaker.is_open else "")


def resume(rate: Rate, state: LaneState, now: float, clock: datetime) -> None:
    """Let `rate` go on from what an earlier process had learned. No wait is longer than any that is heeded."""
    if state.hold_until is not None:
        wait_s = bounded((state.hold_until - clock).total_seconds())
        rate.hold(wait_s or 0.0, now)
    if state.configured == rate.limit.full and 0 < state.learned < rate.limit.full:
        rate.learn(state.learned, now)
    if state.down:
        rate.breaker.reopen(state.down, now)
