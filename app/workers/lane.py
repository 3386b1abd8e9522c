"""A lane: the sequence in which one account's jobs are sent, with one limiter and one breaker.

Every account has a lane of its own, so a slow or failing provider holds up nobody else. A lane
claims a job only when it may be sent at once: the claim is the fence. Where a connection must be
made first, which takes time, the fence is asked once more when it stands (`AttemptRunner`).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any, TypeVar
from uuid import uuid4

import structlog

from app.config.resolve import Account
from app.contract import BaseConfig, CancelOutcome, Context, Flow, HttpRequest
from app.core.aggregate import JobKind
from app.core.attempt import Attempt
from app.core.lane.pacing import meter_of, schedule_starts
from app.core.lane.rate_control import RateControl, RetryBudget
from app.core.lane.shared_call import SharedCall, shared_calls
from app.core.pauses import ACCOUNT_SCOPE, BY_ITSELF, Pause
from app.engine.commit import NO_ORDER
from app.engine.ledger import LedgerClosedError
from app.runtime.http_client import Conversation, converse
from app.runtime.uptime import uptime
from app.store import StoreError
from app.workers.attempt import AttemptRunner, HeldBackError, Sent, Tools
from app.workers.call_failures import CallFailures
from app.workers.lane_memory import LaneMemory
from app.workers.lane_status import LaneStatus, status_of
from app.workers.polling import Polls

LATENCIES = 20
"""Of so many cancels the median is what a call takes of late: one that hung does not count for much."""
UNABLE_WAIT_S = 1.0
"""After what keeps a lane from looking for work it looks again."""
TRIAL_CHOICE = 64
"""From so many calls the trial of an open breaker is chosen."""

log = structlog.get_logger()

T = TypeVar("T")


class Lane:
    """Sends one account's jobs."""

    def __init__(self, account: Account, tools: Tools) -> None:
        self.account, self._tools = account, tools
        self._rate = RateControl(account.limits)
        self._learned = LaneMemory(account.spec.id, tools.store)
        self._failures = CallFailures(account.spec.id)
        self.polls = Polls(tools.store)
        self._memory: dict[str, tuple[datetime, Any]] = {}
        self._calling: set[asyncio.Task[None]] = set()
        self._busy: set[int] = set()
        """Numbers of the orders that the calls under way are about."""
        self._retry_alone: set[int] = set()
        """Numbers of orders whose next call is about nothing else."""
        self._woken = asyncio.Event()
        self._freed = asyncio.Event()
        self._restored = asyncio.Event()
        """The meter knows of the calls that were made before it."""
        self._ends = 0
        """How many calls have ended."""
        self._took_s: deque[float] = deque(maxlen=LATENCIES)
        """How long the last cancels took, from their claim to their answer."""
        self.latency_s = 0.0
        """How long a cancel takes of late: the median of these."""
        self._answered: list[tuple[int, datetime]] = []
        """The two orders about which cancels were answered last, and when."""
        self._closing = False

    @property
    def paused(self) -> bool:
        """Nothing is sent for the account."""
        return self._tools.ledger.pauses.of_account(self.account.spec.id) is not None

    def is_busy(self, order: int) -> bool:
        """Is an attempt about the order of this number under way?"""
        return order in self._busy

    def wake(self) -> None:
        """There may be something to do."""
        self._woken.set()

    def take(self, account: Account) -> None:
        """The account has a new version."""
        if account.limits != self.account.limits:
            self._restored.clear()
        if account.config != self.account.config:
            self._memory = {}
        self.account = account
        self._freed.set()
        self.wake()

    def forget(self) -> None:
        """The account was removed; calls that are out may still end."""
        self._learned.forget()

    async def run(self) -> None:
        """Send until canceled; what is out then is finished by `drain`."""
        while True:
            self._woken.clear()
            try:
                if not self._restored.is_set():
                    await self._restore()
                wait_s = await self._send_due()
            except (StoreError, LedgerClosedError) as error:
                log.warning("lane_waits", account=self.account.spec.id, error=str(error))
                wait_s = UNABLE_WAIT_S
            except Exception:
                # A lane that ended would never be woken again, and its account's cancels wait for good.
                log.exception("lane_failed", account=self.account.spec.id)
                wait_s = UNABLE_WAIT_S
            try:
                async with asyncio.timeout(wait_s):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def drain(self, timeout_s: float) -> None:
        """Wait for the calls that are out. What is not done in time is found again at the next start."""
        self._closing = True
        self._freed.set()
        if self._calling:
            await asyncio.wait(self._calling, timeout=timeout_s)
        await self._learned.close()

    def status(self) -> LaneStatus:
        """How the lane stands now."""
        pause = self._tools.ledger.pauses.of_account(self.account.spec.id)
        return status_of(self._rate, pause, len(self._calling), time.monotonic(), datetime.now(UTC))

    def expected(self, deadlines: Sequence[datetime]) -> list[datetime] | None:
        """When cancels with these deadlines, the most urgent first, will be sent; None where nobody can tell."""
        now, clock, rate = time.monotonic(), datetime.now(UTC), self._rate
        if self.paused:
            return None
        latency_s = self.latency_s
        together, concurrency = self.account.handler.cancel_batch_max, self.account.limits.concurrency
        earliest, by_limit = max(rate.breaker.free_at(now), rate.hold_until), rate.meter.start_times(now, latency_s)

        def turn(ahead: int) -> float:
            calls = ahead // together
            return max(by_limit(calls), now + calls // concurrency * latency_s, earliest)

        starts = schedule_starts(turn, [now + (each - clock).total_seconds() for each in deadlines])
        return [clock + timedelta(seconds=start - now) for start in starts]

    # -- What an attempt asks of its lane (`RateGate`) ----------------------------------------------

    async def acquire_next(self) -> None:
        """See `RateGate.acquire_next`."""
        self._end_call()
        try:
            await self._take_a_place()
        except BaseException:
            self._rate.meter.start(time.monotonic())  # the attempt's own end gives it back
            raise

    @property
    def down(self) -> bool:
        """See `RateGate.down`."""
        return self._rate.breaker.is_open

    def note_answer(self, order: int) -> None:
        """See `RateGate.note_answer`."""
        self._answered = [*[each for each in self._answered if each[0] != order][-1:], (order, datetime.now(UTC))]

    def others_answered_at(self, order: int) -> datetime | None:
        """See `RateGate.others_answered_at`."""
        return max((at for pk, at in self._answered if pk != order), default=None)

    def note_outcome(self, outcome: CancelOutcome, after_s: float | None) -> None:
        """See `RateGate.note_outcome`."""
        self._rate.record_response(outcome is CancelOutcome.THROTTLED, after_s, time.monotonic(), _chance())
        self._learned.note(self._rate)

    def hold(self, wait_s: float) -> None:
        """See `RateGate.hold`."""
        self._rate.hold(wait_s, time.monotonic())
        self._learned.note(self._rate)

    async def converse(self, make: Callable[[BaseConfig, Context], Flow[T]]) -> T:
        """Carry a flow out that is about no order, within the account's limit and whatever else is under way.

        Raises `CallFailedError`, and what the flow raises.
        """
        await self._restored.wait()
        await self._take_a_place()
        account, number = self.account, self._tools.ids.next()
        conversation, began = Conversation(), datetime.now(UTC)
        attempt = Attempt(number, NO_ORDER, account.spec.id, "", JobKind.REGISTRATION, None, began)
        outcome, detail = "failed", ""

        async def permit(_: HttpRequest) -> None:
            if conversation.exchanges:
                await self.acquire_next()
            made = replace(attempt, calls=len(conversation.exchanges) + 1)
            await self._tools.ledger.record_attempt(made)

        context = Context(began, uuid4().hex, self._memory)
        try:
            flow = make(account.config, context)
            result: T = await converse(flow, self._tools.session, conversation, permit)
            outcome = "succeeded"
        except Exception as error:
            detail = self._tools.redactor.clean(str(error))
            raise
        else:
            return result
        finally:
            self.hold(context.hold_s)
            self._end_call()
            self._freed.set()
            self.wake()
            calls = max(1, len(conversation.exchanges))
            ended = attempt.ended(datetime.now(UTC), uptime(), outcome, calls=calls, detail=detail)
            await self._tools.ledger.record_attempt(ended)

    # -- Sending ----------------------------------------------------------------------------------

    async def _restore(self) -> None:
        """Count under the limits as they are now, from the calls that are on record.

        Their answers are taken to have come as late as possible. A call that ended while we looked may be
        counted twice, and none is forgotten.
        """
        limits, meter, ends = self.account.limits, meter_of(self.account.limits), self._ends
        now, clock = time.monotonic(), datetime.now(UTC)
        calls = await self._tools.store.calls_within(self.account.spec.id, meter.period_s, clock, uptime())
        meter.restore([now - age_s for age_s, count in calls for _ in range(count)] + [now] * (self._ends - ends))
        for _ in range(self._rate.meter.running):
            meter.start(time.monotonic())
        self._rate.set_limits(limits, meter)
        await self._learned.load(self._rate)
        self._took_s.extend(await self._tools.store.latencies_s(self.account.spec.id, LATENCIES))
        self._measure_latency()
        if limits == self.account.limits:
            self._restored.set()
        self._freed.set()

    async def _send_due(self) -> float | None:
        """Send what may be sent; returns how long there is nothing to do, None: until woken."""
        room = self.account.limits.concurrency - len(self._calling)
        if self.paused or room <= 0:
            return None
        account, clock = self.account.spec.id, datetime.now(UTC)
        widest = max(self._batch_max(kind) for kind in (JobKind.CANCEL, JobKind.PROBE))
        held = self._tools.ledger.pauses.held_policies
        most = max(room, TRIAL_CHOICE if self._rate.breaker.is_open else 0) * widest + len(self._busy)
        jobs = await self._tools.store.jobs(account, clock, most, held)
        if not self._restored.is_set():
            return 0.0  # the limits have changed meanwhile
        jobs = [(pk, job) for pk, job in jobs if pk not in self._busy]
        fresh = shared_calls([each for each in jobs if not each[1].failures], self._batch_max, self._retry_alone)
        retries = shared_calls([each for each in jobs if each[1].failures], self._batch_max, self._retry_alone)
        begun = False
        while len(self._calling) < self.account.limits.concurrency:
            batch = self._next(fresh, retries)
            if batch is None:
                break
            wait_s = self._rate.wait_s(time.monotonic())
            if wait_s != 0:
                return wait_s
            (retries if batch in retries else fresh).remove(batch)
            self._begin(batch)
            begun = True
        if len(self._calling) >= self.account.limits.concurrency:
            return None
        if begun:
            return 0.0
        due = await self._tools.store.next_due(account, clock, held)
        wait_s = None if due is None else max(0.0, (due - datetime.now(UTC)).total_seconds())
        budget_s = self._rate.budget_wait_s(time.monotonic()) if retries else None
        waits = (wait_s, budget_s, await self._poll(clock))
        return min((each for each in waits if each is not None), default=None)

    def _next(self, fresh: Sequence[SharedCall], retries: Sequence[SharedCall]) -> SharedCall | None:
        """The call that goes first; None where none may go for the time being."""
        if retries and self._rate.may_retry_now(bool(fresh), time.monotonic()):
            return retries[self._rate.choose_retry([[pk for pk, _ in each] for each in retries])]
        return fresh[self._rate.choose_fresh(len(fresh), _chance())] if fresh else None

    def _batch_max(self, kind: JobKind) -> int:
        handler = self.account.handler
        return handler.cancel_batch_max if kind is JobKind.CANCEL else handler.probe_batch_max

    async def _poll(self, clock: datetime) -> float | None:
        """Ask about orders that were not heard of, with what cancels leave of the limit; returns when to look again."""
        polling = self.account.spec.polling
        if polling is None or self.account.handler.probe is None:
            return None
        now, rate = time.monotonic(), self._rate
        if rate.wait_s(now) != 0 or rate.meter.used(now) >= polling.share * rate.limit.current:
            return self.polls.look_again_s(polling)
        jobs = await self.polls.due(self.account, clock, self._batch_max(JobKind.PROBE), self._busy)
        if not jobs:
            return self.polls.look_again_s(polling)
        self._begin(jobs)
        return 0.0 if len(self._calling) < self.account.limits.concurrency else None

    def _begin(self, batch: SharedCall) -> None:
        numbers, began = {pk for pk, _ in batch}, time.monotonic()
        budget = self._rate.start(numbers, any(job.failures for _, job in batch), began, _chance())
        self._busy.update(numbers)
        task = asyncio.create_task(self._send(batch, began, budget))
        self._calling.add(task)
        task.add_done_callback(self._calling.discard)

    async def _send(self, batch: SharedCall, began: float, budget: RetryBudget | None) -> None:
        sent, account = Sent(0, ok=True), self.account
        try:
            sent = await AttemptRunner(batch, self, self._tools, self._memory).run()
            if sent.calls and batch[0][1].kind is JobKind.CANCEL:
                self._took_s.append(time.monotonic() - began)
                self._measure_latency()
            if sent.calls and sent.ok is False:
                await self._look_into(batch, account, sent)
        except (StoreError, LedgerClosedError) as error:
            log.warning("attempt_not_recorded", account=self.account.spec.id, orders=len(batch), error=str(error))
            sent = Sent(1, ok=None)
        except Exception:
            # Not even that it died could be recorded: what is left of it is found by its lease (`Timers`).
            log.exception("attempt_lost", account=self.account.spec.id, orders=len(batch))
            sent = Sent(1, ok=None)
        finally:
            numbers = {pk for pk, _ in batch}
            self._ended(numbers, sent, began, budget)
            self._busy -= numbers
            self._retry_alone = (self._retry_alone - numbers) | sent.retry_alone
            current = asyncio.current_task()
            if current is not None:
                self._calling.discard(current)
            self._freed.set()
            self.wake()

    async def _look_into(self, batch: SharedCall, account: Account, sent: Sent) -> None:
        """Log why a call failed. Where only a person can help, pause the account; before its next call leaves."""
        orders, kind, now = {pk for pk, _ in batch}, batch[0][1].kind, time.monotonic()
        reason = self._failures.failed(orders, kind, sent.detail, sent.unreachable, now)
        if reason is not None and account.config == self.account.config and not self.paused:
            scope = ACCOUNT_SCOPE + account.spec.id
            await self._tools.ledger.pause(Pause(scope, reason, datetime.now(UTC), BY_ITSELF))

    def _ended(self, orders: AbstractSet[int], sent: Sent, began: float, budget: RetryBudget | None) -> None:
        """Learn from what became of a call."""
        now, rate = time.monotonic(), self._rate
        if sent.held_back or not sent.calls:
            rate.withdraw(budget, began)
            return
        self._end_call()
        if sent.ok is None:
            rate.outcome_unknown(budget)
        elif sent.ok:
            self._failures.succeeded(closed=rate.succeeded(budget, now))
        else:
            reached = sent.unreachable is None or sent.unreachable.got_response
            if rate.failed(budget, orders, reached, now, _chance()):
                self._failures.breaker_opened(rate.breaker.reason)
        self._learned.note(rate)

    def _measure_latency(self) -> None:
        if self._took_s:
            self.latency_s = median(self._took_s)

    async def _take_a_place(self) -> None:
        """Wait for a place for one more call. Raises `HeldBackError` if the process ends meanwhile."""
        while True:
            now = time.monotonic()
            # Where the limits have just changed, nobody knows before the calls are counted under the new ones.
            free = self._rate.free_at(now) if self._restored.is_set() else None
            if free is not None and free <= now:
                break
            if self._closing:
                raise HeldBackError
            self._freed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if free is None else free - now):
                    await self._freed.wait()
        self._rate.meter.start(now)

    def _end_call(self) -> None:
        self._ends += 1
        self._rate.meter.end(time.monotonic())


def _chance() -> float:
    return random.random()  # noqa: S311 - jitter
