"""Records what became of deliveries, for all subscriptions together: many in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from app.core.event import Event
from app.core.outbound.delivery import DeliveryUpdate, Postponement
from app.core.outbound.health import SubscriptionState
from app.engine.request import LedgerFullError
from app.store import Store, StoreError

DELAY_S = 0.05
"""A result is written so long after it came, at the latest: until then others join it."""
BUSY_DELAY_S = 0.2
"""The same while webhooks wait for the disk: every transaction of ours delays them."""
ROWS_MAX = 256
"""How many rows are written at once without waiting for more."""
RETRY_S = 1.0

log = structlog.get_logger()


@dataclass(slots=True)
class _Rows:
    updates: dict[tuple[str, int], DeliveryUpdate]
    postponed: list[Postponement]
    states: dict[str, SubscriptionState]
    done: list[Callable[[], None]]

    def __len__(self) -> int:
        return len(self.updates) + len(self.postponed)


class Recorder:
    """Collects results and writes them."""

    def __init__(
        self,
        store: Store,
        record_notice: Callable[[Event], Awaitable[None]],
        is_busy: Callable[[], bool] = lambda: False,
    ) -> None:
        self._store, self._record_notice, self._is_busy = store, record_notice, is_busy
        self._rows = _empty()
        self._notices: list[Event] = []
        self._filled = asyncio.Event()
        self._full = asyncio.Event()
        self._closed = False

    def add(self, update: DeliveryUpdate, state: SubscriptionState, done: Callable[[], None]) -> None:
        """Record a result and how the subscription fares since; `done` is called when it is on disk."""
        self._rows.updates[update.subscription, update.message] = update
        self._rows.states[update.subscription] = state
        self._rows.done.append(done)
        self._wake()

    def postpone(self, postponed: Sequence[Postponement], done: Callable[[], None]) -> None:
        """Record that these deliveries wait for others; `done` is called when it is on disk."""
        self._rows.postponed.extend(postponed)
        self._rows.done.append(done)
        self._wake()

    def save(self, subscription: str, state: SubscriptionState) -> None:
        """Record how a subscription fares."""
        self._rows.states[subscription] = state
        self._wake()

    def forget(self, subscription: str) -> None:
        """The subscription was removed: its state is not to be written any more."""
        self._rows.states.pop(subscription, None)

    def notify(self, notice: Event) -> None:
        """Record an event about a subscription."""
        self._notices.append(notice)
        self._wake()

    async def written(self) -> None:
        """Wait until all that was recorded so far is on disk."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._rows.done.append(lambda: None if done.done() else done.set_result(None))
        self._wake()
        await done

    async def run(self) -> None:
        """Write until `close`."""
        while True:
            await self._filled.wait()
            if not self._closed:
                with suppress(TimeoutError):
                    async with asyncio.timeout(BUSY_DELAY_S if self._is_busy() else DELAY_S):
                        await self._full.wait()
            self._filled.clear()
            self._full.clear()
            await self._flush()
            if self._closed:
                return

    def close(self) -> None:
        """Write what is left; `run` returns then."""
        self._closed = True
        self._filled.set()
        self._full.set()

    def _wake(self) -> None:
        self._filled.set()
        if len(self._rows) >= ROWS_MAX:
            self._full.set()

    async def _flush(self) -> None:
        rows, self._rows = self._rows, _empty()
        try:
            while self._notices:
                await self._record_notice(self._notices[0])
                self._notices.pop(0)
            if rows.updates or rows.postponed or rows.states:
                updates, states = list(rows.updates.values()), list(rows.states.items())
                await self._store.save_deliveries(updates, rows.postponed, states)
        except (StoreError, LedgerFullError) as error:
            log.warning("deliveries_not_recorded", results=len(rows.updates), error=str(error))
            await self._put_back(rows)
            return
        except Exception:
            # Else this task would end, and nothing be recorded any more.
            log.exception("deliveries_not_recorded", results=len(rows.updates))
            await self._put_back(rows)
            return
        for done in rows.done:
            done()

    async def _put_back(self, rows: _Rows) -> None:
        """Keep rows that could not be written for the next time, which is not at once."""
        self._merge(rows)
        if not self._closed:
            await asyncio.sleep(RETRY_S)

    def _merge(self, earlier: _Rows) -> None:
        """Put rows back that could not be written, before those that came since."""
        later = self._rows
        self._rows = _Rows(
            earlier.updates | later.updates,
            earlier.postponed + later.postponed,
            earlier.states | later.states,
            earlier.done + later.done,
        )
        self._wake()


def _empty() -> _Rows:
    return _Rows({}, [], {}, [])
