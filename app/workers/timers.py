"""Timers: fire what time alone changes, late rather than never."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import structlog

from app.core.commands import FireTimer
from app.core.results import Interrupted
from app.engine.ledger import Ledger
from app.engine.request import LedgerClosedError
from app.store import Store, StoreError

PAGE = 500
RECENT = 100
RECHECKED = 2000
"""Orders that one step marks to be checked again, after a change that concerns many."""
LOOK_AGAIN_S = 60.0
"""The clock may be set while the timers sleep; none is later than this for it."""

log = structlog.get_logger()


LAPSED = "Nothing was heard of the attempt any more"


def _utc() -> datetime:
    return datetime.now(UTC)


def _nobody(_account: str, _order: int) -> bool:
    return False


class Timers:
    """Fires deadlines of cancellations, verdicts that time changes, policies that are due, and leases that lapsed."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        clock: Callable[[], datetime] = _utc,
        is_busy: Callable[[str, int], bool] = _nobody,
    ) -> None:
        self._store, self._ledger, self._clock, self._is_busy = store, ledger, clock, is_busy
        self._woken = asyncio.Event()
        self._next: datetime | None = None

    def sleeps_beyond(self, moment: datetime) -> bool:
        """Whether the timers sleep beyond `moment`."""
        return self._next is None or moment < self._next

    def wake(self) -> None:
        """There may be an earlier deadline."""
        self._woken.set()

    async def run(self) -> None:
        """Fire until canceled."""
        while True:
            self._woken.clear()
            try:
                wait_s = await self._fire_due()
            except (StoreError, LedgerClosedError) as error:
                log.warning("timers_wait", error=str(error))
                wait_s = 1.0
            except Exception:
                # This one task fires the deadlines of all accounts.
                log.exception("timers_failed")
                wait_s = 1.0
            try:
                async with asyncio.timeout(wait_s):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def _fire_due(self) -> float:
        now = self._clock()
        self._next = None  # what becomes due during this look is for the next one
        await self._interrupt_lapsed(now)
        rechecking = await self._store.recheck_step(RECHECKED)
        overdue = await self._store.overdue(now, PAGE)
        if overdue:
            # If much is overdue at once, what has just become due does not wait for all of it.
            recent = await self._store.overdue(now, RECENT, latest=True) if len(overdue) == PAGE else []
            commands = [FireTimer(account, order, now) for account, order in dict.fromkeys([*recent, *overdue])]
            failed = await self._record(commands)
            # What a timer did not end (a probe is due first) would be found again at once.
            return 0.0 if rechecking or (len(overdue) == PAGE and not failed) else 1.0
        if rechecking:
            return 0.0
        deadline = await self._store.next_deadline()
        latest = now + timedelta(seconds=LOOK_AGAIN_S)
        self._next = latest if deadline is None else min(deadline, latest)
        if deadline is None:
            return LOOK_AGAIN_S
        return min(LOOK_AGAIN_S, max(0.0, (deadline - now).total_seconds()))

    async def _record(self, commands: Sequence[FireTimer | Interrupted]) -> int:
        """Record what fires; returns for how many orders that failed. None of them must delay the others."""
        try:
            await self._ledger.execute_all(commands)
        except (StoreError, LedgerClosedError):
            raise
        except Exception:
            if len(commands) > 1:
                return sum([await self._record([command]) for command in commands])
            log.exception("timer_failed", account=commands[0].account, order=commands[0].order)
            return 1
        return 0

    async def _interrupt_lapsed(self, now: datetime) -> None:
        """Record calls whose attempt no longer runs as interrupted, as after a crash.

        An attempt that runs may take longer than its lease: it waits for the rate limit, or for the disk.
        """
        lapsed = [
            (account, order)
            for number, account, order in await self._store.lapsed_claims(now, PAGE)
            if not self._is_busy(account, number)
        ]
        if lapsed:
            log.error("leases_lapsed", calls=len(lapsed))
            commands = [Interrupted(account, order, now, LAPSED) for account, order in lapsed]
            await self._record(commands)
