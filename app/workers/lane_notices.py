"""Records in the log what subscribers are told of an account's lane: its breaker, and that its limit is near."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime, timedelta

import structlog
from msgspec import Struct

from app.contract import Source
from app.core.event import Event, internal_event
from app.core.event_types import BREAKER_CLOSED, BREAKER_OPENED, LIMIT_NEAR, BreakerClosed, BreakerOpened, LimitNear
from app.core.lane.rate_control import RateControl
from app.core.limit_watch import LimitWatch
from app.engine.ledger import Ledger
from app.engine.request import LedgerClosedError, LedgerFullError
from app.runtime.ids import Ids
from app.store import StoreError

PENDING_MAX = 16
"""Notices that could not be recorded yet, the latest; a breaker opens and closes every few seconds at worst."""

log = structlog.get_logger()


class LaneNotices:
    """The notices of one account's lane."""

    def __init__(self, account: str, ledger: Ledger, ids: Ids) -> None:
        self._account, self._ledger, self._ids = account, ledger, ids
        self._pending: deque[Event] = deque(maxlen=PENDING_MAX)
        self._limits = LimitWatch()
        self._opened_at: datetime | None = None

    def breaker_opened(self, reason: str) -> None:
        """The breaker has opened."""
        self._opened_at = self._add(BREAKER_OPENED, BreakerOpened(reason))

    def breaker_closed(self) -> None:
        """The breaker has closed."""
        self._add(BREAKER_CLOSED, BreakerClosed(self._opened_at))
        self._opened_at = None

    def note_usage(self, rate: RateControl, now: float) -> None:
        """So much of the limit is used at `now`, by the lane's clock."""
        used, maximum, period_s = rate.meter.used(now), rate.limit.current, rate.meter.period_s
        if self._limits.note("requests", used, maximum, timedelta(seconds=period_s), datetime.now(UTC)):
            self._add(LIMIT_NEAR, LimitNear("requests", used, maximum, period_s))

    async def record(self) -> None:
        """Record what was noted. What cannot be recorded now is recorded next time."""
        while self._pending:
            notice = self._pending.popleft()
            try:
                await self._ledger.record_notice(notice)
            except (LedgerFullError, LedgerClosedError, StoreError) as error:
                log.warning("notice_waits", account=self._account, type=notice.type, error=str(error))
                self._pending.appendleft(notice)
                return

    def _add(self, type: str, data: Struct) -> datetime:
        """Note a notice; returns its time."""
        key, now = str(self._ids.next()), datetime.now(UTC)
        self._pending.append(internal_event(self._account, "", type, key, now, Source.CLOCK, data))
        return now
