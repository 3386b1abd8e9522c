"""What a backtest found: in time or not, beside what happened, and where its limits would have halted the policy."""

from __future__ import annotations

import heapq
from array import array
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from msgspec import to_builtins

from app.core.backtest.run import Decided
from app.core.policy.model import Limits, Outcome

HOUR_S, DAY_S = 3600.0, 86400.0


@dataclass(slots=True)
class Report:
    """Gathers decisions, in any order; its memory is a few bytes for each and the rows that are listed."""

    limits: Limits
    listed_max: int
    orders: int = 0
    events: int = 0
    _outcomes: Counter[str] = field(default_factory=Counter)
    _verdicts: Counter[str] = field(default_factory=Counter)
    _happened: Counter[str] = field(default_factory=Counter)
    _moments: array[float] = field(default_factory=lambda: array("d"))
    """When it would have acted."""
    _opened: array[float] = field(default_factory=lambda: array("d"))
    _closed: array[float] = field(default_factory=lambda: array("d"))
    _listed: list[tuple[float, int, Decided]] = field(default_factory=list)
    """A heap with the latest on top, so that the earliest stay."""
    _added: int = 0

    def add(self, decided: Decided) -> None:
        """One more decision."""
        moment = decided.at.timestamp()
        self._outcomes[decided.outcome] += 1
        if decided.outcome is Outcome.SHADOWED:
            self._verdicts[decided.cancelable] += 1
            self._happened[decided.happened] += 1
            self._moments.append(moment)
        self._list(-moment, decided)

    def merge(self, other: Report) -> None:
        """What another found among other orders."""
        self.orders += other.orders
        self.events += other.events
        self._outcomes += other._outcomes
        self._verdicts += other._verdicts
        self._happened += other._happened
        self._moments.extend(other._moments)
        self._opened.extend(other._opened)
        self._closed.extend(other._closed)
        for moment, _, decided in other._listed:
            self._list(moment, decided)

    def _list(self, moment: float, decided: Decided) -> None:
        self._added += 1
        entry = (moment, self._added, decided)
        if len(self._listed) < self.listed_max:
            heapq.heappush(self._listed, entry)
        else:
            heapq.heappushpop(self._listed, entry)

    def add_span(self, opened: datetime, closed: datetime | None) -> None:
        """An order was open; only a limit by the share of open orders needs to know."""
        if self.limits.open_share is not None:
            self._opened.append(opened.timestamp())
            if closed is not None:
                self._closed.append(closed.timestamp())

    def summary(self) -> dict[str, Any]:
        """Everything, as JSON has it."""
        halt = self._halt()
        would = len(self._moments)
        done = would if halt is None else halt[0]
        return {
            "orders": self.orders,
            "events": self.events,
            "would_cancel": would,
            "in_time": self._verdicts["yes"],
            "unknown": self._verdicts["unknown"],
            "too_late": self._outcomes[Outcome.REFRAINED],
            "already_being_canceled": self._outcomes[Outcome.JOINED],
            "failed": self._outcomes[Outcome.FAILED],
            "happened": dict(sorted(self._happened.items())),
            "before_halt": done,
            "halted_at": None if halt is None else datetime.fromtimestamp(halt[1], UTC),
            "halted_by": None if halt is None else halt[2],
            "first_at": datetime.fromtimestamp(min(self._moments), UTC) if would else None,
            "last_at": datetime.fromtimestamp(max(self._moments), UTC) if would else None,
            "decisions": [to_builtins(each) for each in sorted((each for _, _, each in self._listed), key=_place)],
            "decisions_total": self._outcomes.total(),
        }

    def _halt(self) -> tuple[int, float, str] | None:
        """(how many before it, when, by which limit) the policy would have halted itself."""
        moments, limits = sorted(self._moments), self.limits
        opened, closed = sorted(self._opened), sorted(self._closed)
        hour = day = opens = closes = 0
        for number, now in enumerate(moments):
            while moments[hour] <= now - HOUR_S:
                hour += 1
            while moments[day] <= now - DAY_S:
                day += 1
            while opens < len(opened) and opened[opens] <= now:
                opens += 1
            while closes < len(closed) and closed[closes] <= now:
                closes += 1
            room = None if limits.open_share is None else max(1, int(limits.open_share * (opens - closes)))
            for limit, done, name in (
                (limits.per_hour, number - hour, "per_hour"),
                (limits.per_day, number - day, "per_day"),
                (room, number - day, "open_share"),
            ):
                if limit is not None and done >= limit:
                    return number, now, name
        return None


def _place(decided: Decided) -> tuple[datetime, str, str]:
    return (decided.at, decided.account, decided.order)
