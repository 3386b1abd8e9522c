"""What subscribers were last told of an order: its verdict, and that it closes soon; and what they are to be told."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec import Struct

from app.contract import Cancelable
from app.core.outbound.types import VerdictBefore


class Told(Struct, frozen=True):
    """An order's verdict as of its last change, and for which closing time `order.closing_soon` was sent."""

    cancelable: Cancelable
    reason: str | None
    """None where an earlier release, which did not store it, wrote the order last."""
    closes_at: datetime | None
    closing_notice: str | None
    """JSON of a `ClosingNotice`."""

    def differs(self, cancelable: Cancelable, reason: str, closes_at: datetime | None) -> bool:
        """Whether subscribers are to be told that the verdict has changed."""
        if self.reason is None:
            return self.cancelable is not cancelable
        return (self.cancelable, self.reason, self.closes_at) != (cancelable, reason, closes_at)

    @property
    def verdict(self) -> VerdictBefore:
        """The verdict as messages have it."""
        return VerdictBefore(self.cancelable, self.reason, self.closes_at)


class ClosingNotice(Struct, frozen=True, array_like=True):
    """For which closing time, and how long before it, `order.closing_soon` was sent."""

    closes_at: datetime
    leads_s: tuple[int, ...]


class Closing(Struct, frozen=True):
    """What is to be said of an order whose window time alone closes."""

    due: tuple[timedelta, ...] = ()
    """Lead times for which subscribers are to be told now."""
    next_at: datetime | None = None
    """When the next of the others is due."""
    notice: str | None = None
    """The order's `closing_notice` from now on; None: as it was."""


NOTHING = Closing()
_notice = msgspec.json.Decoder(ClosingNotice)


def closing(told: Told | None, closes_at: datetime | None, leads: Sequence[timedelta], now: datetime) -> Closing:
    """Return whom to tell now, and when next, that the order closes at `closes_at` (None: it does not close by time).

    Each closing time is told once for each of the `leads`; if it moves, they are told of the new one.
    """
    if closes_at is None or closes_at <= now or not leads:
        return NOTHING
    due = tuple(lead for lead in leads if closes_at - lead <= now)
    next_at = min((closes_at - lead for lead in leads if closes_at - lead > now), default=None)
    before = _leads_told(told, closes_at) if due else ()
    due = tuple(lead for lead in due if _seconds(lead) not in before)
    if not due:
        return Closing(next_at=next_at)
    notice = ClosingNotice(closes_at, (*before, *map(_seconds, due)))
    return Closing(due, next_at, msgspec.json.encode(notice).decode())


def _leads_told(told: Told | None, closes_at: datetime) -> tuple[int, ...]:
    if told is None or told.closing_notice is None:
        return ()
    notice = _notice.decode(told.closing_notice)
    return notice.leads_s if notice.closes_at == closes_at else ()


def _seconds(lead: timedelta) -> int:
    return int(lead.total_seconds())
