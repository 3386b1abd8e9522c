"""All subscriptions' workers, and what is done for all of them together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from contextvars import Context
from datetime import datetime, timedelta
from functools import partial
from time import monotonic

import structlog

from app.config.subscriptions import SubscriptionSpec
from app.core.outbound.health import SubscriptionState
from app.engine.ledger import Ledger
from app.runtime import metrics
from app.runtime.ids import Ids
from app.store import Store, StoreError
from app.workers.deliveries.fairness import Sockets, Turns
from app.workers.deliveries.housekeeping import delete_old, purge_removed
from app.workers.deliveries.notices import notices_of
from app.workers.deliveries.recorder import Recorder
from app.workers.deliveries.send import Sender
from app.workers.deliveries.worker import SubscriptionWorker, Tools, utc

LOOK_S = 60.0
"""Between two looks at all queues: a safeguard, and for metrics."""
LOOK_SHARE = 100
"""Looking takes at most this fraction of the time: with millions pending it reads for a second."""
DELETE_S = 3600.0
HANDOVER_S = 3.0
"""A delivery under way may be ended when its subscription goes to another node: it is sent again, with the same id."""

log = structlog.get_logger()


class Deliveries:
    """Sends messages to subscribers: one worker for each subscription."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        ids: Ids,
        make_sender: Callable[[SubscriptionSpec], Sender],
        *,
        expire: Callable[[str], Awaitable[None]],
        kept: timedelta,
        clock: Callable[[], datetime] = utc,
        keeps: Callable[[], bool] = lambda: True,
    ) -> None:
        """Make the workers' manager.

        Args:
            store: holds the queues.
            ledger: records notices; while webhooks wait for it, deliveries go slower.
            ids: draws the ids of notices.
            make_sender: makes the sender of a subscription; raises ValueError if nothing can be sent.
            expire: removes a subscription whose `expires_at` has passed.
            kept: how long deliveries are kept after they were delivered.
            clock: gives the time of day.
            keeps: whether this node looks after the queues of all.
        """
        self._keeps = keeps
        self._store, self._expire, self._kept, self._clock = store, expire, kept, clock
        turns = Turns(lambda: ledger.unfinished)
        self._recorder = Recorder(store, ledger.record_notice, lambda: turns.busy)
        self._tools = Tools(
            store,
            self._recorder,
            turns,
            Sockets(),
            make_sender,
            partial(notices_of, next_id=ids.next),
            clock,
        )
        self._states: dict[str, SubscriptionState] = {}
        self._others: dict[str, SubscriptionState] = {}
        """How the subscriptions of other nodes fare, as was read last."""
        self._specs: dict[str, SubscriptionSpec] = {}
        self._workers: dict[str, SubscriptionWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._arrivals: dict[str, asyncio.Event] = {}
        self._changed = asyncio.Event()
        self._look_s = LOOK_S

    async def load(self) -> None:
        """Load how each subscription fared in the previous process."""
        self._states = await self._store.subscription_states()

    def follow(self, specs: Mapping[str, SubscriptionSpec], begin: Collection[str] | None = None) -> None:
        """Stop workers of removed subscriptions, and start those of `begin`; None: of all that have none."""
        for id in set(self._specs) - set(specs):
            self._remove(id)
        for id, spec in specs.items():
            if id in self._workers:
                self._workers[id].update(spec)
            elif begin is None or id in begin:
                state = self._states.pop(id, SubscriptionState())
                self._workers[id] = worker = SubscriptionWorker(spec, state, self._tools)
                self._tasks[id] = asyncio.create_task(worker.run(), name=f"subscription {id}", context=Context())
        self._specs = dict(specs)
        self._changed.set()

    async def finish(self, id: str) -> None:
        """Begin no further delivery of a subscription, and wait for those under way."""
        if id in self._workers:
            self._tasks[id].cancel()
            await asyncio.gather(self._tasks[id], return_exceptions=True)
            await self._workers[id].drain(HANDOVER_S)
            await self._recorder.written()

    def drop(self, id: str) -> None:
        """Stop the worker of a subscription that is another node's now."""
        if id in self._workers:
            self._tasks.pop(id).cancel()
            worker = self._workers.pop(id)
            worker.stop()
            self._others[id] = worker.state
            _forget_metrics(id)

    def wake_waiting(self) -> None:
        """There may be deliveries for anybody who waits for some."""
        self.wake(list(self._arrivals))

    def wake(self, subscriptions: Iterable[str]) -> None:
        """These got deliveries."""
        for id in subscriptions:
            worker = self._workers.get(id)
            if worker is not None:
                worker.wake()
            arrival = self._arrivals.pop(id, None)
            if arrival is not None:
                arrival.set()

    async def arrival(self, subscription: str, timeout_s: float) -> bool:
        """Wait until the subscription gets a delivery; False if it does not in time. For those that pull."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._arrivals.setdefault(subscription, asyncio.Event()).wait()
        except TimeoutError:
            return False
        return True

    def state(self, subscription: str) -> SubscriptionState:
        """How a subscription fares; raises KeyError if there is none."""
        worker = self._workers.get(subscription)
        if worker is not None:
            return worker.state
        if subscription not in self._specs:
            raise KeyError(subscription)
        return self._others.get(subscription, SubscriptionState())

    def sends(self, subscription: str) -> bool:
        """Whether this node sends the subscription's deliveries."""
        return subscription in self._workers

    def enable(self, subscription: str) -> None:
        """Forget that the subscription failed or was disabled: what was held is sent."""
        worker = self._workers.get(subscription)
        if worker is not None:
            worker.enable()

    async def record(self) -> None:
        """Write results as they come, until `drain`."""
        await self._recorder.run()

    async def run(self) -> None:
        """Look after the queues until canceled."""
        loop = asyncio.get_running_loop()
        delete_at = loop.time()
        while True:
            self._changed.clear()
            try:
                if self._keeps():
                    await self._expire_due()
                await self._purge()
                await self._look()
                if self._keeps() and loop.time() >= delete_at:
                    delete_at = loop.time() + DELETE_S
                    await delete_old(self._store, list(self._specs), self._clock(), self._kept)
            except StoreError as error:
                log.warning("deliveries_wait", error=str(error))
            except Exception:
                log.exception("deliveries_failed")
            try:
                async with asyncio.timeout(self._wait_s()):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def drain(self, timeout_s: float) -> None:
        """Finish the calls under way and record what came of them."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await asyncio.gather(*(worker.drain(timeout_s) for worker in self._workers.values()))
        self._recorder.close()

    def _remove(self, id: str) -> None:
        if id in self._workers:
            self._tasks.pop(id).cancel()
            self._workers.pop(id).stop()
        self._recorder.forget(id)
        # If it is made again, that one waits until the deliveries of this one are deleted.
        self._states[id] = SubscriptionState(purge_until=1)
        _forget_metrics(id)

    def _wait_s(self) -> float:
        """Until the next look, or until a subscription expires."""
        now = self._clock()
        expiries = [spec.expires_at for spec in self._specs.values() if spec.expires_at is not None]
        if not expiries:
            return self._look_s
        return max(0.1, min(self._look_s, (min(expiries) - now).total_seconds()))

    async def _expire_due(self) -> None:
        now = self._clock()
        for id, spec in list(self._specs.items()):
            if spec.expires_at is not None and spec.expires_at <= now:
                await self._expire(id)

    async def _purge(self) -> None:
        """Delete what removed subscriptions left; a new one of the same id waits for that."""
        if self._keeps():
            await purge_removed(self._store)
        if any(worker.state.purge_until for worker in self._workers.values()):
            states = await self._store.subscription_states()
            for id, worker in self._workers.items():
                if worker.state.purge_until and not states.get(id, SubscriptionState()).purge_until:
                    worker.set_state(SubscriptionState())

    async def _look(self) -> None:
        """Wake who has something due, and measure the queues."""
        began = monotonic()
        backlogs, now = await self._store.delivery_backlogs(), self._clock()
        self._look_s = max(LOOK_S, LOOK_SHARE * (monotonic() - began))
        for id, worker in self._workers.items():
            backlog = backlogs.get(id)
            overdue_s = 0.0 if backlog is None else max(0.0, (now - backlog.due_at).total_seconds())
            metrics.DELIVERIES_PENDING.labels(id).set(0 if backlog is None else backlog.pending)
            metrics.DELIVERIES_OVERDUE.labels(id).set(overdue_s)
            metrics.SUBSCRIPTIONS.labels(id).set(worker.up)
            if overdue_s:
                worker.wake()


def _forget_metrics(id: str) -> None:
    for gauge in (metrics.DELIVERIES_PENDING, metrics.DELIVERIES_OVERDUE, metrics.SUBSCRIPTIONS):
        with suppress(KeyError):
            gauge.remove(id)
