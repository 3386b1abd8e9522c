"""When a delivery is due: at once, at the end of a digest's interval, or after quiet hours."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta

from msgspec import Struct

from app.contract.zones import zone_of
from app.core.outbound.patterns import matches_any

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EVERY_DAY = frozenset(range(7))
_DAYS_AHEAD = 10
"""Quiet periods are followed so far: every day has one at most, so a free minute comes within a week."""


class QuietHours(Struct, frozen=True):
    """A daily period in which only what is urgent is sent, by the clocks of a time zone."""

    starts: time
    ends: time
    """At or before `starts`: on the next day. Midnight is the end of the day."""
    zone: str
    """IANA name."""
    days: frozenset[int] = EVERY_DAY
    """Weekdays on which it begins; Monday is 0."""

    def end_at(self, moment: datetime) -> datetime | None:
        """When the quiet period ends that `moment` lies in; None outside of one. Periods that meet are one."""
        end, local = None, moment.astimezone(zone_of(self.zone)).date()
        for start, stop in self._periods(local - timedelta(days=1)):
            if start <= (end or moment) < stop:
                end = stop
        return end

    def _periods(self, first: date) -> Iterator[tuple[datetime, datetime]]:
        """The periods that begin on `first` or on one of the days after it, in UTC.

        A time that the clocks skip counts as if they had not been set; of one that occurs twice the first counts.
        """
        for number in range(_DAYS_AHEAD):
            day = first + timedelta(days=number)
            if day.weekday() in self.days:
                last = day if self.ends > self.starts else day + timedelta(days=1)
                start, stop = self._at(day, self.starts), self._at(last, self.ends)
                if start < stop:
                    yield start, stop

    def _at(self, day: date, clock: time) -> datetime:
        return datetime.combine(day, clock, zone_of(self.zone)).astimezone(UTC)


class Schedule(Struct, frozen=True):
    """When a subscription is told what."""

    digest: timedelta | None = None
    """Messages are gathered for so long, in intervals that begin at midnight UTC or divide the time since 1970."""
    quiet: QuietHours | None = None
    urgent: tuple[str, ...] | None = None
    """Types that are sent at once all the same, or prefixes that end in `*`. None: the types that are urgent."""

    @property
    def gathers(self) -> bool:
        """Whether several messages may be due at the same time, and are sent as one."""
        return self.digest is not None or self.quiet is not None

    def is_urgent(self, type: str, *, by_default: bool) -> bool:
        """Whether a message of the type is sent at once; `by_default`: whether its type is an urgent one."""
        return by_default if self.urgent is None else matches_any(self.urgent, type)

    def due_at(self, at: datetime, *, urgent: bool) -> datetime:
        """When a message of the time `at` is due."""
        if urgent:
            return at
        due = at
        if self.digest is not None:
            # The end of the interval that `at` lies in: the same for all its messages, whatever process writes them.
            due = _EPOCH + ((at - _EPOCH) // self.digest + 1) * self.digest
        return (self.quiet.end_at(due) if self.quiet is not None else None) or due
