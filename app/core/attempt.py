"""The record of one attempt at a job: when it began and ended, how many calls it made, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from app.core.aggregate import JobKind


class Uptime(NamedTuple):
    """A moment of a machine, by a clock that nobody sets. Only moments of one `boot` can be compared."""

    boot: int
    """Which start of which machine: 64 bits, with a sign."""
    micros: int
    """Microseconds since then; where the system counts it, with the time that it was suspended."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a job."""

    id: int
    order_pk: int
    account: str
    order: str
    kind: JobKind
    cancellation: str | None
    started_at: datetime
    ended_at: datetime | None = None
    calls: int = 1
    """HTTP calls. Those of an attempt at several orders are counted with the first of them."""
    outcome: str = ""
    detail: str = ""
    exchanges: list[dict[str, Any]] = field(default_factory=list)
    ended_up: Uptime | None = None
    """When it ended, by the machine's uptime."""

    def ended(self, now: datetime, up: Uptime | None, outcome: str, **changes: Any) -> Attempt:
        """The attempt, ended now."""
        return replace(self, ended_at=now, ended_up=up, outcome=outcome, **changes)

    def interrupted(self, now: datetime, up: Uptime | None, detail: str) -> Attempt:
        """The attempt, ended now without a known result. It counts as a call made now."""
        return self.ended(now, up, "interrupted", detail=detail)
