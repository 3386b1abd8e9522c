"""Limits of a policy: how many cancels it may start, live as in a backtest. Beyond a limit it halts itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from math import ceil, floor


@dataclass(frozen=True, slots=True)
class PolicyUsage:
    """What a policy has done."""

    in_hour: int = 0
    """Cancels that it started in the past hour."""
    in_day: int = 0
    """Cancels that it started in the past 24 hours."""
    open_orders: int = 0
    """Orders of its accounts that are open."""


@dataclass(frozen=True, slots=True)
class ReachedLimit:
    """A limit that keeps a policy from acting."""

    name: str
    """As in a resource file: `per_hour`, `per_day` or `open_share`."""
    explanation: str


@dataclass(frozen=True, slots=True)
class Limits:
    """How many cancels a policy may start; None: any number."""

    per_hour: int | None = None
    per_day: int | None = None
    open_share: float | None = None
    """Cancels in a day as a share of the open orders. One is always allowed: a share of few orders would be none."""

    @property
    def are_set(self) -> bool:
        """Whether there is any limit."""
        return (self.per_hour, self.per_day, self.open_share) != (None, None, None)

    def reached(self, usage: PolicyUsage) -> ReachedLimit | None:
        """The limit that forbids one more cancel, if any."""
        if self.per_hour is not None and usage.in_hour >= self.per_hour:
            return ReachedLimit("per_hour", f"its limit of {self.per_hour} in an hour is reached")
        if self.per_day is not None and usage.in_day >= self.per_day:
            return ReachedLimit("per_day", f"its limit of {self.per_day} in a day is reached")
        if self.open_share is not None:
            allowed = max(1, floor(self.open_share * usage.open_orders))
            if usage.in_day >= allowed:
                share = f"{self.open_share:.2%} of the open orders in a day"
                return ReachedLimit("open_share", f"its limit of {share} is reached ({usage.in_day} of {allowed})")
        return None

    def used(self, usage: PolicyUsage) -> Iterator[tuple[str, int, int, timedelta]]:
        """(name, how much is used, how much may be used, within which time) of the limits that are numbers."""
        if self.per_hour is not None:
            yield "per_hour", usage.in_hour, self.per_hour, timedelta(hours=1)
        if self.per_day is not None:
            yield "per_day", usage.in_day, self.per_day, timedelta(days=1)

    def open_orders_needed(self, cancels: int) -> int:
        """How many open orders allow so many cancels in a day; to count more makes no difference."""
        return 0 if self.open_share is None else ceil((cancels + 1) / self.open_share)
