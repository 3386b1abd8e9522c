"""The report of a backtest: its decisions, counted and listed, and when its limits would have halted the policy."""

from __future__ import annotations

import heapq
from array import array
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from msgspec import to_builtins

from app.core.backtest.run import Decision
from app.core.policy.limits import Limits, PolicyUsage
from app.core.policy.model import Outcome

HOUR_S, DAY_S = 3600.0, 86400.0
TOO_LATE = "too_late"


@dataclass(slots=True)
class Report:
    """Gathers decisions, in any order. It keeps a few bytes of each, and whole those that are listed."""

    limits: Limits
    listed_max: int
    orders: int = 0
    events: int = 0
    _outcomes: Counter[str] = field(default_factory=Counter)
    _verdicts: Counter[str] = field(default_factory=Counter)
    _happened: Counter[str] = field(default_factory=Counter)
    _days: Counter[tuple[date, str]] = field(default_factory=Counter)
    """(day in UTC, what became of the order by now, or `too_late`) → orders."""
    _moments: array[float] = field(default_factory=lambda: array("d"))
    """When the policy would have acted."""
    _opened: array[float] = field(default_factory=lambda: array("d"))
    _closed: array[float] = field(default_factory=lambda: array("d"))
    _listed: list[tuple[float, int, Decision]] = field(default_factory=list)
    """A heap with the latest on top, so that the earliest stay."""
    _added: int = 0

    def add(self, decision: Decision) -> None:
        """Add a decision."""
        moment = decision.at.timestamp()
        self._outcomes[decision.outcome] += 1
        if decision.outcome is Outcome.SHADOWED:
            self._verdicts[decision.cancelable] += 1
            self._happened[decision.happened] += 1
            self._moments.append(moment)
            self._days[decision.at.astimezone(UTC).date(), decision.happened] += 1
        elif decision.outcome is Outcome.REFRAINED:
            self._days[decision.at.astimezone(UTC).date(), TOO_LATE] += 1
        self._list(-moment, decision)

    def add_open_time(self, opened: datetime, closed: datetime | None) -> None:
        """Add the time in which an order was open; `closed` None: it still is."""
        if self.limits.open_share is not None:
            self._opened.append(opened.timestamp())
            if closed is not None:
                self._closed.append(closed.timestamp())

    def merge(self, other: Report) -> None:
        """Add the report on other orders."""
        self.orders += other.orders
        self.events += other.events
        self._outcomes += other._outcomes
        self._verdicts += other._verdicts
        self._happened += other._happened
        self._days += other._days
        self._moments.extend(other._moments)
        self._opened.extend(other._opened)
        self._closed.extend(other._closed)
        for moment, _, decision in other._listed:
            self._list(moment, decision)

    def summary(self) -> dict[str, Any]:
        """The report as the API returns it."""
        halt = self._halt()
        would = len(self._moments)
        listed = sorted((decision for _, _, decision in self._listed), key=_place)
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
            "before_halt": would if halt is None else halt[0],
            "halted_at": None if halt is None else datetime.fromtimestamp(halt[1], UTC),
            "halted_by": None if halt is None else halt[2],
            "first_at": datetime.fromtimestamp(min(self._moments), UTC) if would else None,
            "last_at": datetime.fromtimestamp(max(self._moments), UTC) if would else None,
            "days": self._by_day(),
            "decisions": [to_builtins(decision) for decision in listed],
            "decisions_total": self._outcomes.total(),
        }

    def _by_day(self) -> list[dict[str, Any]]:
        """The days on which it would have acted, or would have been too late."""
        days: dict[date, dict[str, Any]] = {}
        for (day, what), count in sorted(self._days.items()):
            row = days.setdefault(day, {"day": day.isoformat(), "would_cancel": 0, "too_late": 0, "happened": {}})
            if what == TOO_LATE:
                row["too_late"] += count
            else:
                row["would_cancel"] += count
                row["happened"][what] = count
        return list(days.values())

    def _list(self, moment: float, decision: Decision) -> None:
        self._added += 1
        entry = (moment, self._added, decision)
        if len(self._listed) < self.listed_max:
            heapq.heappush(self._listed, entry)
        else:
            heapq.heappushpop(self._listed, entry)

    def _halt(self) -> tuple[int, float, str] | None:
        """(cancels before it, when, by which limit) the policy would have halted itself."""
        if not self.limits.are_set:
            return None
        moments, opened, closed = sorted(self._moments), sorted(self._opened), sorted(self._closed)
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
            reached = self.limits.reached(PolicyUsage(number - hour, number - day, opens - closes))
            if reached is not None:
                return number, now, reached.name
        return None


def _place(decision: Decision) -> tuple[datetime, str, str]:
    return (decision.at, decision.account, decision.order)
