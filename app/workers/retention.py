"""The retention worker: expunges what is older than the retention period, in small pieces, and never all at once.

It goes along receipts, attempts and the log from where it came to last, and remembers how far it is in the transaction
that expunges: it goes on there after a crash. Each piece is a commit of its own; between two pieces webhooks have the
ledger for themselves (`app.workers.pace`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

import structlog

from app.core.aggregate import OrderAggregate
from app.core.cancellation import Cancellation
from app.core.erasure import EraseOrder
from app.core.event_types import OrderErased, RetentionPruned
from app.core.pauses import BY_ITSELF
from app.engine.ledger import Ledger
from app.engine.request import LedgerClosedError, LedgerFullError
from app.engine.retention import Eraser
from app.runtime import ids
from app.runtime.ids import Ids
from app.store import Expunged, Store, StoreError
from app.workers.pace import Pace

FIRST_S, EVERY_S = 600.0, 3600.0
"""When the schedule begins after the start, and how often it looks again."""
CHECKPOINT_EVERY = 16
"""Commits after which the write-ahead log is brought into the database, before a webhook's commit has to."""
READ_MIN, READ_MAX = 64, 2000
"""Rows of the log read at once: first, and where little of them is to be expunged."""
RESPONSES_KEPT = timedelta(days=7)
"""How long a repeated request with an Idempotency-Key gets the stored response of the first."""
NAME_MIN, NUMBER_MIN = 3, 4
"""A shorter name, or number, stands in too many webhooks for other things."""
BESIDE = ("receipts", "attempts", "messages")
"""What is expunged beside the log, as a store and its positions call it."""
EVENTS = "events"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a run has expunged, or would."""

    older_than: datetime
    dry_run: bool
    receipts: int = 0
    attempts: int = 0
    messages: int = 0
    orders: int = 0
    events: int = 0
    finished_at: datetime | None = None
    error: str = ""
    """Why it ended early."""

    def plus(self, recorded: RetentionPruned) -> Pruned:
        """With what one more commit expunged."""
        return replace(
            self,
            receipts=self.receipts + recorded.receipts,
            attempts=self.attempts + recorded.attempts,
            messages=self.messages + recorded.messages,
            orders=self.orders + recorded.orders,
            events=self.events + recorded.events,
        )


class Retention:
    """Expunges by schedule and on request."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        ids: Ids,
        *,
        period: timedelta | None,
        history: timedelta | None = None,
        alone: bool = False,
    ) -> None:
        """Make a worker.

        Args:
            store: where everything is kept.
            ledger: records what is expunged.
            ids: draws the ids of events.
            period: after how long data is expunged by schedule; None: never.
            history: after how long months are dropped by schedule; None: never.
            alone: nobody else uses the store, so no time is left for others.
        """
        self._store, self._pace = store, Pace(ledger, alone=alone)
        self._eraser = Eraser(ledger, ids)
        self._period, self._history = period, history
        self._running: asyncio.Task[None] | None = None
        self._commits = 0
        self._unfinished = True
        """Whether retired dictionaries or the write-ahead log may still hold what was expunged."""
        self.latest: Pruned | None = None
        """The run that is under way, or the last one of this process."""

    @property
    def is_running(self) -> bool:
        """Whether a run is under way."""
        return self._running is not None and not self._running.done()

    async def run(self) -> None:
        """Expunge by schedule, until canceled."""
        await asyncio.sleep(FIRST_S)
        while True:
            if self._period is not None and not self.is_running:
                await self.start(self._period, by=BY_ITSELF).wait()
            elif not self.is_running:
                await self._try(self._tidy())
            await self._try(self._drop_months())
            await asyncio.sleep(EVERY_S)

    def start(
        self, older_than: timedelta | datetime, *, by: str, dry_run: bool = False, again: bool = False
    ) -> Retention:
        """Begin a run, unless one is under way.

        Args:
            older_than: the age, or the time, before which data is expunged.
            by: who wants it.
            dry_run: only count.
            again: from the beginning, as handlers may declare more by now.
        """
        if not self.is_running:
            self.latest = Pruned(older_than if isinstance(older_than, datetime) else _now() - older_than, dry_run)
            self._running = asyncio.create_task(self._run(by, again=again), name="retention")
        return self

    async def wait(self) -> None:
        """Wait for the end of the run."""
        if self._running is not None:
            await asyncio.wait([self._running])

    async def stop(self) -> None:
        """End the run between two commits; it goes on at the next."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    async def erase(self, pk: int, aggregate: OrderAggregate, *, by: str, reason: str) -> OrderErased | Cancellation:
        """Erase the personal data of one order; returns what was recorded, or its live cancellation."""
        order = aggregate.order
        if aggregate.live:
            return aggregate.live[0]
        # What is beside the log goes first, in pieces: a client that is told of the erasure finds nothing of it.
        command = EraseOrder(order.account, order.id, _now())
        receipts = [*await self._store.order_receipts(pk), *await self.other_receipts(aggregate)]
        await self._expunge(receipts, lambda piece: Expunged(at=_now(), receipts=piece, retire=True))
        messages = await self._store.order_messages(pk)
        await self._expunge(messages, lambda piece: Expunged(at=_now(), messages=piece))
        # What came meanwhile.
        others, messages = await self.other_receipts(aggregate), await self._store.order_messages(pk)
        recorded = await self._eraser.erase(
            command, by=by, reason=reason, receipts=others, messages=messages, expunged=frozenset(receipts)
        )
        if isinstance(recorded, OrderErased):
            self._unfinished = True
            await self.finish()
        return recorded

    async def _expunge(self, ids: Sequence[int], make: Callable[[tuple[int, ...]], Expunged]) -> None:
        """Expunge rows beside the log, in commits so short that nobody notices."""
        self._pace.begin()
        left = deque(ids)
        while left:
            piece = tuple(left.popleft() for _ in range(min(len(left), self._pace.size)))
            began = monotonic()
            await self._eraser.expunge(make(piece))
            self._pace.adapt(monotonic() - began)

    async def other_receipts(self, aggregate: OrderAggregate) -> list[int]:
        """Receipts that name the order and brought no events: repetitions, and what could not be understood."""
        order = aggregate.order
        # An alias may be marked (`request:r-1`); the provider writes it without.
        names = {part for name in (order.id, *order.aliases) for part in (name, name.rpartition(":")[2])}
        telling = {name for name in names if len(name) >= NAME_MIN and not (name.isdigit() and len(name) < NUMBER_MIN)}
        return await self._store.receipts_naming(order.account, telling) if telling else []

    async def finish(self) -> None:
        """See to it that nothing that was expunged is left in the files."""
        more = True
        while more:
            began = monotonic()
            more = await self._store.repack()
            await self._pace.rest(monotonic() - began)
        self._unfinished = not await self._store.truncate_log()

    async def delete_responses(self) -> None:
        """Delete stored responses to requests that nobody repeats any more."""
        self._pace.begin()
        size = deleted = self._pace.size
        while deleted == size:
            began, size = monotonic(), self._pace.size
            deleted = await self._store.delete_responses(_now() - RESPONSES_KEPT, size)
            self._unfinished |= deleted > 0
            self._pace.adapt(monotonic() - began)
            await self._pace.rest(monotonic() - began)

    async def _drop_months(self) -> None:
        if self._history is not None:
            dropped = await self._store.drop_months(_now() - self._history)
            if dropped:
                log.info("months_dropped", parts=dropped)

    async def _tidy(self) -> None:
        """What is done without a period too."""
        await self.delete_responses()
        if self._unfinished:
            await self.finish()

    async def _run(self, by: str, *, again: bool) -> None:
        await self._try(self._prune(by, again=again))
        if self.latest is not None:
            self.latest = replace(self.latest, finished_at=_now())
            counts = {name: getattr(self.latest, name) for name in (*BESIDE, "orders", "events")}
            log.info("pruned", older_than=self.latest.older_than.isoformat(), dry_run=self.latest.dry_run, **counts)

    async def _try(self, work: Any) -> None:
        try:
            await work
        except (StoreError, LedgerFullError, LedgerClosedError) as error:
            log.warning("retention_interrupted", error=str(error))
            if self.latest is not None:
                self.latest = replace(self.latest, error=str(error))
        except Exception as error:
            log.exception("retention_failed")
            if self.latest is not None:
                self.latest = replace(self.latest, error=f"{type(error).__name__}: {error}")

    async def _prune(self, by: str, *, again: bool) -> None:
        if self.latest is None:
            return
        run = self.latest
        positions = {} if again else await self._store.retention_positions()
        before = ids.at(round(run.older_than.timestamp() * 1000))
        if not run.dry_run:
            self._unfinished = True
            await self._store.retire_dictionaries(before)
            await self._store.delete_refusals(before)
        for what in BESIDE:
            await self._prune_rows(what, positions.get(what, 0), before, by)
        await self._prune_orders(positions.get(EVENTS, 0), by)
        if not run.dry_run:
            await self.delete_responses()
            await self.finish()

    async def _prune_rows(self, what: str, position: int, before: int, by: str) -> None:
        self._pace.begin()
        while (part := await self._store.old_rows(what, position, before, self._pace.size)).read:
            position = part.position
            receipts, attempts, messages = (part.ids if what == kind else () for kind in BESIDE)
            reached = ((what, position),)
            expunged = Expunged(at=_now(), receipts=receipts, attempts=attempts, messages=messages, positions=reached)
            await self._commit([], expunged, by)

    async def _prune_orders(self, position: int, by: str) -> None:
        if self.latest is None:
            return
        older_than, limit = self.latest.older_than, READ_MIN
        self._pace.begin()
        while (part := await self._store.old_orders(position, older_than, limit)).read:
            left = deque(part.orders)
            while left or position != part.position:
                now, commands, events = _now(), list[EraseOrder](), 0
                while left and (not commands or events + left[0][2] <= self._pace.size):
                    account, order, number = left.popleft()
                    commands.append(EraseOrder(account, order, now, older_than))
                    events += number
                position = position if left else part.position
                positions = () if left else ((EVENTS, position),)
                await self._commit(commands, Expunged(at=now, positions=positions), by)
            limit = READ_MAX

    async def _commit(self, orders: list[EraseOrder], expunged: Expunged, by: str) -> None:
        """Expunge one piece, and leave the time after it to others."""
        run = self.latest
        if run is None:
            return
        if run.dry_run:
            receipts, attempts, messages = map(len, (expunged.receipts, expunged.attempts, expunged.messages))
            counted = RetentionPruned(run.older_than, by, receipts, attempts, messages, len(orders))
            self.latest = run.plus(counted)
            self._pace.adapt(0)
            return
        self.latest = run.plus(await self._eraser.prune(orders, expunged, run.older_than, by))
        took_s = self._eraser.took_s
        self._pace.adapt(took_s)
        self._commits += 1
        if self._commits % CHECKPOINT_EVERY == 0:
            await self._store.checkpoint()
        await self._pace.rest(took_s)


def _now() -> datetime:
    return datetime.now(UTC)
