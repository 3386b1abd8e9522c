"""Sends one subscription's deliveries: a task of its own, so that no subscriber delays another's."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog
from structlog.contextvars import bind_contextvars

from app.config.subscriptions import SubscriptionSpec
from app.core.event import Event
from app.core.outbound import health, retries
from app.core.outbound.delivery import Delivery, DeliveryAttempt, Postponement
from app.core.outbound.health import SubscriptionState
from app.core.outbound.outcome import Outcome, OutcomeKind
from app.runtime import ids, metrics, tracing
from app.store import Store, StoreError
from app.workers.deliveries.fairness import Sockets, Turns
from app.workers.deliveries.housekeeping import hasten
from app.workers.deliveries.queue import DeliveryQueue
from app.workers.deliveries.recorder import Recorder
from app.workers.deliveries.send import NotSentError, Sender

UNABLE_WAIT_S = 1.0
"""Wait after an error of this machine before looking for work again."""
TOGETHER_MAX = 1000
"""How many deliveries one digest has at most; more make a second one."""
WAIT_MAX_S = 3600.0
"""The clock may be set while a worker sleeps."""

log = structlog.get_logger()


def utc() -> datetime:
    """The time of day."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Tools:
    """What all workers share."""

    store: Store
    recorder: Recorder
    turns: Turns
    sockets: Sockets
    make_sender: Callable[[SubscriptionSpec], Sender]
    """Raises ValueError if nothing can be sent as the subscription is."""
    notices: Callable[[str, SubscriptionState, SubscriptionState, datetime], list[Event]]
    """What to record of a change of a subscription's state."""
    clock: Callable[[], datetime] = utc


class SubscriptionWorker:
    """Sends one subscription's deliveries."""

    def __init__(self, spec: SubscriptionSpec, state: SubscriptionState, tools: Tools) -> None:
        self.spec, self.state = spec, state
        self._tools = tools
        self._queue = DeliveryQueue(spec.id, tools.store)
        self._sender = _sender(spec, tools)
        self._slots: set[asyncio.Task[None]] = set()
        self._woken = asyncio.Event()
        self._next_start = 0.0
        self._unable_until = 0.0
        self._hasten = False
        """What waits for another try is to be sent now."""
        self._closing = False
        self._counters = {kind: metrics.DELIVERIES.labels(spec.id, kind) for kind in OutcomeKind}

    def wake(self) -> None:
        """There may be work."""
        self._woken.set()

    def update(self, spec: SubscriptionSpec) -> None:
        """The subscription has a new version. At another URL is another receiver, which has not failed yet."""
        if spec.url != self.spec.url:
            self.enable()
        if spec != self.spec:  # else a change of one would let all thousand look
            self.spec, self._sender = spec, _sender(spec, self._tools)
            self.wake()

    def enable(self) -> None:
        """Forget that the subscription failed or was disabled: what was held is sent now."""
        self._hasten = True
        self.set_state(health.enabled(self.state))

    def set_state(self, state: SubscriptionState) -> None:
        """Let the subscription fare like this from now on, and record it."""
        if state != self.state:
            self.state = state
            self._tools.recorder.save(self.spec.id, state)
        self.wake()

    async def run(self) -> None:
        """Send until canceled; `drain` finishes what is under way."""
        while True:
            self._woken.clear()
            try:
                wait_s = await self._serve()
            except StoreError as error:
                log.warning("deliveries_wait", subscription=self.spec.id, error=str(error))
                wait_s = UNABLE_WAIT_S
            except Exception:
                # If the task ended, the subscription's messages would wait for ever.
                log.exception("deliveries_failed", subscription=self.spec.id)
                wait_s = UNABLE_WAIT_S
            try:
                async with asyncio.timeout(wait_s):
                    await self._woken.wait()
            except TimeoutError:
                continue

    @property
    def up(self) -> bool:
        """Whether the receiver is sent to: it does not fail as a whole, and is not disabled automatically."""
        return self.state.disabled_at is None and self.state.down_since is None

    def stop(self) -> None:
        """The subscription was removed: end the calls under way."""
        for slot in self._slots:
            slot.cancel()

    async def drain(self, timeout_s: float) -> None:
        """Wait for the calls under way; what does not end in time is sent again by the next process."""
        self._closing = True
        if self._slots:
            _, running = await asyncio.wait(self._slots, timeout=timeout_s)
            for slot in running:
                slot.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _serve(self) -> float | None:
        """Start what can be sent now; returns how long to wait unless woken, in seconds."""
        wait_s = self._held_s()
        if wait_s is not None:
            self._queue.clear()
            return min(wait_s, WAIT_MAX_S)
        if self._hasten:
            await hasten(self._tools.store, self.spec.id, self._tools.clock())
            self._hasten = False
        await self._refill()
        for _ in range(len(self._queue)):
            if not self._start_slot():
                break
        if not self._queue.idle:
            return None  # whatever ends wakes
        due_at = (await self._tools.store.deliveries_due_at([self.spec.id])).get(self.spec.id)
        if due_at is None:
            return None
        return min(WAIT_MAX_S, max(0.0, (due_at - self._tools.clock()).total_seconds()))

    async def _refill(self) -> None:
        while len(self._queue) < self._ready_min:
            again, postponed = await self._queue.refill(self._tools.clock())
            self._postpone(postponed)
            if not again:
                return

    def _postpone(self, postponed: Sequence[Postponement]) -> None:
        def recorded() -> None:
            self._queue.put_off(postponed)
            self.wake()

        if postponed:
            self._tools.recorder.postpone(postponed, recorded)

    @property
    def _slots_max(self) -> int:
        return 1 if self.state.one_at_a_time else self.spec.concurrency

    @property
    def _ready_min(self) -> int:
        """With fewer ready, more are read: nobody is to wait for the store while there is work.

        What is told as one has to be here as a whole.
        """
        return 2 * self._slots_max if self.spec.delays is None else TOGETHER_MAX

    def _held_s(self) -> float | None:
        """How long nothing is sent, in seconds; None if something may be sent."""
        state = self.state
        if self._closing or self._sender is None or not self.spec.enabled or state.disabled_at or state.purge_until:
            return WAIT_MAX_S
        unable_s = self._unable_until - time.monotonic()
        hold_until = state.hold_until
        held_s = 0.0 if hold_until is None else (hold_until - self._tools.clock()).total_seconds()
        wait_s = max(unable_s, held_s)
        return wait_s if wait_s > 0 else None

    def _start_slot(self) -> bool:
        """Send with one more call at a time, if that may be."""
        extra = bool(self._slots)
        if len(self._slots) >= self._slots_max or (extra and not self._tools.sockets.take()):
            return False
        slot = asyncio.create_task(self._run_slot(extra=extra), name=f"delivery {self.spec.id}")
        self._slots.add(slot)
        slot.add_done_callback(self._slots.discard)
        return True

    async def _run_slot(self, *, extra: bool) -> None:
        """Send one delivery after the other, as long as there are any."""
        try:
            while len(self._slots) <= self._slots_max and self._held_s() is None:
                delivery = self._queue.take()
                if delivery is None:
                    return
                try:
                    await self._wait_for_rate()
                    await self._tools.turns.wait()
                except asyncio.CancelledError:
                    self._queue.put_back(delivery)
                    raise
                if self._held_s() is not None:
                    self._queue.put_back(delivery)
                    return
                if len(self._queue) < self._ready_min:
                    self.wake()
                await self._send(delivery)
        except StoreError as error:
            log.warning("deliveries_wait", subscription=self.spec.id, error=str(error))
        except Exception:
            log.exception("delivery_failed", subscription=self.spec.id)
        finally:
            if extra:
                self._tools.sockets.give_back()
            asyncio.get_running_loop().call_soon(self.wake)

    async def _wait_for_rate(self) -> None:
        rate = self.spec.rate_per_s
        if rate is not None:
            now = time.monotonic()
            start = max(now, self._next_start)
            self._next_start = start + 1 / rate
            if start > now:
                await asyncio.sleep(start - now)

    async def _send(self, delivery: Delivery) -> None:
        assert self._sender is not None  # noqa: S101 - nothing is taken without one
        deliveries = [delivery]
        if self._sender.joins(delivery):
            deliveries += self._queue.take_all(self._sender.joins)
        url, now = self.spec.url, self._tools.clock()
        bind_contextvars(message=ids.show(ids.MESSAGE, delivery.message.id))
        try:
            outcome = await self._call(self._sender, deliveries, now)
        except NotSentError as error:
            self._unable_until = time.monotonic() + UNABLE_WAIT_S
            for unsent in reversed(deliveries):
                self._queue.put_back(unsent)
            log.warning("delivery_not_sent", subscription=self.spec.id, error=str(error))
            return
        except Exception as error:
            # Left as it is, the delivery would wait until the process ends, and with it those behind it.
            log.exception("delivery_failed", subscription=self.spec.id)
            detail = f"an error of Rescind's own: {type(error).__name__}; its log has the details"
            outcome = Outcome(DeliveryAttempt(now, 0, error=detail))
        self._counters[outcome.kind].inc(len(deliveries))
        await self._settle(deliveries, outcome, url)

    async def _call(self, sender: Sender, deliveries: Sequence[Delivery], now: datetime) -> Outcome:
        if not tracing.on:
            return await sender.send(deliveries, now)
        names = [ids.show(ids.MESSAGE, delivery.message.id) for delivery in deliveries]
        contexts = list((await self._tools.store.trace_contexts(names)).values())
        about = {"subscription": self.spec.id, "message": names[0], "type": deliveries[0].message.type}
        parent, others, attributes = next(iter(contexts), None), contexts[1:], tracing.named(about)
        with tracing.span("deliver", parent=parent, others=others, kind=tracing.CLIENT, attributes=attributes):
            outcome = await sender.send(deliveries, now)
            tracing.annotate(outcome=outcome.kind, status_code=outcome.attempt.status)
            return outcome

    async def _settle(self, deliveries: Sequence[Delivery], outcome: Outcome, url: str | None) -> None:
        """Record one call to `url`, and what it made of each delivery that it was about."""
        now, chance, before = self._tools.clock(), random.random(), self.state  # noqa: S311 - jitter
        first, state = deliveries[0].message, before
        if url == self.spec.url:  # else it says nothing of the receiver that there is now
            state = health.after(before, outcome, first.order_pk or first.id, now, chance)
        for notice in self._tools.notices(self.spec.id, before, state, now):
            self._tools.recorder.notify(notice)
        self.state = health.noticed(state, now)
        self._log(before, outcome)
        updates = [retries.settle(delivery, outcome, before, now, chance) for delivery in deliveries]
        for update in updates:
            self._tools.recorder.add(update, self.state, partial(self._recorded, update.message))
        for delivery, update in zip(deliveries, updates, strict=True):
            self._postpone(await self._queue.settled(delivery, update, now))

    def _recorded(self, message: int) -> None:
        self._queue.recorded(message)
        self.wake()

    def _log(self, before: SubscriptionState, outcome: Outcome) -> None:
        state, id = self.state, self.spec.id
        if state.disabled_at is not None and before.disabled_at is None:
            log.error("subscription_disabled", subscription=id, reason=state.disabled_reason)
        elif state.down_since is not None and before.down_since is None:
            log.warning("subscription_down", subscription=id, error=state.error, failures=state.failures)
        elif before.down_since is not None and outcome.kind is OutcomeKind.DELIVERED:
            log.info(
                "subscription_up", subscription=id, down_s=round((utc() - before.down_since) / timedelta(seconds=1))
            )


def _sender(spec: SubscriptionSpec, tools: Tools) -> Sender | None:
    """The subscription's sender; None if nothing is sent to it."""
    if spec.url is None:
        return None
    try:
        return tools.make_sender(spec)
    except ValueError as error:
        log.warning("subscription_cannot_send", subscription=spec.id, error=str(error))
        return None
