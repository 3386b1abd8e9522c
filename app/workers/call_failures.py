"""An account's failed calls: written to the log, and a reason to pause the account if only a person can help."""

from __future__ import annotations

from collections.abc import Collection

import structlog

from app.core.lane.unreachable import Unreachable, UnreachableStreak
from app.runtime.log import LogLimiter

SAME_EVERY_S = 60.0
"""A failure equal to the last one is logged at most this often."""
ANY_EVERY_S = 5.0

log = structlog.get_logger()


class CallFailures:
    """The failed calls of one account."""

    def __init__(self, account: str) -> None:
        self._account = account
        self._streak = UnreachableStreak()
        self._log = LogLimiter(ANY_EVERY_S)
        self._logged = ""

    def succeeded(self, *, closed: bool) -> None:
        """A call succeeded. `closed`: it closed the breaker."""
        self._streak = UnreachableStreak()
        if closed:
            log.info("breaker_closed", account=self._account)

    def failed(
        self, orders: Collection[int], kind: str, detail: str, cause: Unreachable | None, now: float
    ) -> str | None:
        """A call failed. Returns why the account is to be paused; None if it is not."""
        unlogged = self._log.admit(every_s=SAME_EVERY_S if self._logged == detail else None, now=now)
        if unlogged is not None:
            log.warning("call_failed", account=self._account, kind=kind, detail=detail, unlogged=unlogged)
            self._logged = detail
        return self._streak.record(cause, detail, orders, now)

    def breaker_opened(self, reason: str) -> None:
        """The breaker has opened."""
        log.warning("breaker_opened", account=self._account, reason=reason)
