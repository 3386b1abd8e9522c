"""What goes wrong with an account's calls: said in the log, and where only a person can help, a reason to pause."""

from __future__ import annotations

from collections.abc import Collection

import structlog

from app.core.lane.obstacle import Obstacle, Obstacles
from app.runtime.log import LogLimiter

SAME_EVERY_S = 60.0
"""A failure that is as the last one is logged no more often than this."""
ANY_EVERY_S = 5.0

log = structlog.get_logger()


class Troubles:
    """One account's."""

    def __init__(self, account: str) -> None:
        self._account = account
        self._obstacles = Obstacles()
        self._log = LogLimiter(ANY_EVERY_S)
        self._logged = ""

    def succeeded(self, *, closed: bool) -> None:
        """A call succeeded; `closed`: which closed the breaker."""
        self._obstacles = Obstacles()
        if closed:
            log.info("breaker_closed", account=self._account)

    def failed(
        self, orders: Collection[int], kind: str, detail: str, obstacle: Obstacle | None, now: float
    ) -> str | None:
        """A call failed; returns why the account is to be paused, if it is."""
        unlogged = self._log.admit(every_s=SAME_EVERY_S if self._logged == detail else None, now=now)
        if unlogged is not None:
            log.warning("call_failed", account=self._account, kind=kind, detail=detail, unlogged=unlogged)
            self._logged = detail
        return self._obstacles.met(obstacle, detail, orders, now)

    def opened(self, reason: str) -> None:
        """The breaker has opened."""
        log.warning("breaker_opened", account=self._account, reason=reason)
