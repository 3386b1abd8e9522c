"""When to say that a limit is nearly used up: once, until its use was lower for a while. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

NEAR_SHARE = 0.8
MAXIMUM_MIN = 5
"""Lower limits set the pace: they are used up by every call."""
QUIET_MIN = timedelta(minutes=10)


@dataclass(slots=True)
class LimitWatch:
    """Watches limits, each by its name."""

    near_at: Mapping[str, datetime] = field(default_factory=dict)
    """When each was near its end last. A copy is changed, never this one."""

    def note(self, name: str, used: int, maximum: int, period: timedelta, now: datetime) -> bool:
        """Note that so much is used within the period; returns whether that is to be said.

        It is said again when the use has been lower for a period, and for ten minutes at least.
        """
        if maximum < MAXIMUM_MIN or used < NEAR_SHARE * maximum:
            return False
        before = self.near_at.get(name)
        self.near_at = {**self.near_at, name: now}
        return before is None or now - before > max(period, QUIET_MIN)
