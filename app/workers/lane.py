"""A lane: the sequence in which one account's jobs are sent, with one limiter and one breaker.

Every account has its own lane, so a slow or failing provider delays no other account. A lane claims a job only when it
may leave at once: the claim is the fence. If a connection must be made first, which takes time, the fence is checked
again once it is established (`AttemptRunner`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import structlog

from app.config.resolve import Account
from app.contract import BaseConfig, Context, Flow, HttpRequest
from app.core.aggregate import JobKind
from app.core.attempt import Attempt
from app.core.lane.pacing import schedule_starts
from app.core.lane.rate_control import RetryBudget
from app.core.lane.shared_call import SharedCall, shared_calls
from app.core.pauses import ACCOUNT_SCOPE, BY_ITSELF, Pause
from app.engine.commit import NO_ORDER
from app.engine.request import LedgerClosedError
from app.runtime.http_client import CallFailedError, Conversation, converse
from app.runtime.redaction import Redactor
from app.runtime.uptime import uptime
from app.store import StoreError
from app.store.node_protocol import CLAIM_LEASE_S
from app.workers.attempt import AttemptRunner
from app.workers.call_failures import CallFailures
from app.workers.flow_memory import DurableMemory, FlowMemory
from app.workers.lane_notices import LaneNotices
from app.workers.lane_status import LaneStatus, status_of
from app.workers.lane_tools import Tools
from app.workers.polling import Polls
from app.workers.rate_gate import WAIT_MAX_S, RateGate, chance, require_lease
from app.workers.result import Sent

UNABLE_WAIT_S = 1.0
"""Wait after an error before looking for work again."""
TRIAL_CHOICE = 64
"""The trial of an open breaker is chosen from so many calls."""

log = structlog.get_logger()

T = TypeVar("T")


class Lane:
    """Sends one account's jobs."""

    def __init__(self, account: Account, tools: Tools) -> None:
        self._tools = tools
        self.gate = RateGate(account, tools.store)
        self._failures = CallFailures(account.spec.id)
        self._notices = LaneNotices(account.spec.id, tools.ledger, tools.ids)
        self.polls = Polls(tools.store)
        self._durable = DurableMemory(account.spec.id, tools.store, tools.vault)
        self._memory = FlowMemory(self._durable)
        self._calling: set[asyncio.Task[None]] = set()
        self._conversing: set[asyncio.Future[None]] = set()
        """Flows under way that are about no order."""
        self._busy: set[int] = set()
        """Numbers of the orders of all calls under way."""
        self._retry_alone: set[int] = set()
        """Numbers of orders whose next call is about no other order."""
        self._woken = asyncio.Event()
        self._claiming = True
        self._has_jobs = False
        """It found due jobs when it looked last."""

    @property
    def account(self) -> Account:
        """The account as it is now."""
        return self.gate.account

    @property
    def latency_s(self) -> float:
        """How long a cancel takes: the median of the latest."""
        return self.gate.latency_s

    @property
    def paused(self) -> bool:
        """Whether sending for the account is paused."""
        return self._tools.ledger.pauses.of_account(self.account.spec.id) is not None

    def is_busy(self, order: int) -> bool:
        """Whether an attempt for the order of this number is under way."""
        return order in self._busy

    def wake(self) -> None:
        """There may be work."""
        self._woken.set()

    def look_again(self) -> None:
        """There are due jobs, perhaps made by another node: no news to a lane that has jobs and waits."""
        if not self._has_jobs:
            self.wake()

    def update(self, account: Account) -> None:
        """The account has a new version."""
        if account.config != self.account.config:
            self._memory = FlowMemory(self._durable)
        self.gate.update(account)
        self.wake()

    def stop_claiming(self) -> None:
        """Begin no further call; those under way go on."""
        self._claiming = False

    def forget(self) -> None:
        """The account was removed; calls under way may still end."""
        self.gate.memory.forget()
        self._durable.forget()

    async def run(self) -> None:
        """Send until canceled; `drain` finishes the calls under way."""
        while True:
            self._woken.clear()
            try:
                if not self.gate.restored.is_set():
                    await self._durable.load()
                    await self.gate.restore()
                lease = self._tools.store.lease
                granted = lease is not None and lease.left_s >= CLAIM_LEASE_S  # else no claim would be
                wait_s = await self._send_due() if granted else UNABLE_WAIT_S
            except (StoreError, LedgerClosedError) as error:
                log.warning("lane_waits", account=self.account.spec.id, error=str(error))
                wait_s = UNABLE_WAIT_S
            except Exception:
                # If the lane ended, the account's cancels would wait for ever.
                log.exception("lane_failed", account=self.account.spec.id)
                wait_s = UNABLE_WAIT_S
            try:
                async with asyncio.timeout(wait_s):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def finish(self) -> None:
        """Begin no further call, and wait until those under way have ended and are on record."""
        self._claiming = False
        self.gate.close()
        while under_way := [*self._calling, *self._conversing]:
            await asyncio.wait(under_way)
        await self._save()

    async def drain(self, timeout_s: float) -> None:
        """Wait for the calls under way. The next start recovers those that do not end in time."""
        self.gate.close()
        if under_way := [*self._calling, *self._conversing]:
            await asyncio.wait(under_way, timeout=timeout_s)
        await self._save()

    async def _save(self) -> None:
        """Write what is only in memory: also a refresh token that could not be stored when it came."""
        with suppress(CallFailedError):  # it is in the log
            await self._durable.save()
        await self.gate.memory.close()

    def status(self) -> LaneStatus:
        """The lane's current status."""
        pause = self._tools.ledger.pauses.of_account(self.account.spec.id)
        return status_of(self.gate.rate, pause, len(self._calling), time.monotonic(), datetime.now(UTC))

    def expected(self, deadlines: Sequence[datetime]) -> list[datetime] | None:
        """Expected send times of cancels with these deadlines, the most urgent first; None while paused."""
        now, clock, rate, latency_s = time.monotonic(), datetime.now(UTC), self.gate.rate, self.gate.latency_s
        if self.paused:
            return None
        batch_max, concurrency = self.account.handler.cancel_batch_max, self.account.limits.concurrency
        earliest, by_limit = max(rate.breaker.free_at(now), rate.hold_until), rate.meter.start_times(now, latency_s)

        def start_time(ahead: int) -> float:
            calls = ahead // batch_max
            return max(by_limit(calls), now + calls // concurrency * latency_s, earliest)

        starts = schedule_starts(start_time, [now + (deadline - clock).total_seconds() for deadline in deadlines])
        return [clock + timedelta(seconds=start - now) for start in starts]

    @contextmanager
    def conversing(self) -> Iterator[None]:
        """Let `finish` and `drain` wait for flows that belong together, also between two of them.

        Raises `HeldBackError` once one of these has begun.
        """
        self.gate.require_open()
        with self._conversation():
            yield

    @contextmanager
    def _conversation(self) -> Iterator[None]:
        """One flow: it may begin late only where others are still waited for, which it may belong to."""
        if not self._conversing:
            self.gate.require_open()
        ended = asyncio.get_running_loop().create_future()
        self._conversing.add(ended)
        try:
            yield
        finally:
            self._conversing.discard(ended)
            ended.set_result(None)

    async def converse(self, make: Callable[[BaseConfig, Context], Flow[T]]) -> T:
        """Carry out a flow that is about no order, within the account's limit.

        No call of it begins when `WAIT_MAX_S` are over.

        Raises `CallFailedError`, `HeldBackError`, and what the flow raises.
        """
        with self._conversation():
            return await self._converse(make)

    async def _converse(self, make: Callable[[BaseConfig, Context], Flow[T]]) -> T:
        latest = time.monotonic() + WAIT_MAX_S
        await self.gate.acquire(latest)
        account, number = self.account, self._tools.ids.next()
        began, memory = datetime.now(UTC), self._memory
        context = memory.context(began)
        conversation = Conversation(concealed=context.concealed)
        attempt = Attempt(number, NO_ORDER, account.spec.id, "", JobKind.REGISTRATION, None, began)
        outcome, detail = "failed", ""

        async def permit(_: HttpRequest) -> None:
            if conversation.exchanges:
                await self.gate.acquire_next(latest)
            await self._tools.ledger.record_attempt(replace(attempt, calls=len(conversation.exchanges) + 1))

        async def fence(_request: HttpRequest, _waited: bool) -> None:
            require_lease(self._tools.store)

        try:
            flow, session = make(account.config, context), self._tools.session
            save = self._durable.save
            result: T = await converse(flow, session, conversation, permit, fence, shared=memory.shared, save=save)
            outcome = "succeeded"
        except Exception as error:
            detail = self._tools.redactor.clean(Redactor(context.concealed).clean(str(error)))
            raise
        else:
            return result
        finally:
            self.gate.hold(context.hold_s)
            calls = conversation.calls
            if calls:
                self.gate.end_call()
            else:
                self.gate.rate.meter.withdraw()
            self.gate.wake()
            self.wake()
            record = attempt.ended(datetime.now(UTC), uptime(), outcome, calls=calls, detail=detail)
            try:
                await self._tools.ledger.record_attempt(record)
            except (StoreError, LedgerClosedError) as error:
                # Not raised: the flow's result may be what the provider shows once.
                log.warning("attempt_not_recorded", account=account.spec.id, orders=0, error=str(error))

    # -- Sending ----------------------------------------------------------------------------------

    async def _send_due(self) -> float | None:
        """Send what may leave now. Returns how long to wait before the next look; None: until woken."""
        room = self.account.limits.concurrency - len(self._calling)
        if not self._claiming or self.paused or room <= 0:
            return None
        account, clock = self.account.spec.id, datetime.now(UTC)
        batch_max = max(self._batch_max(kind) for kind in (JobKind.CANCEL, JobKind.PROBE))
        held = self._tools.ledger.pauses.held_policies
        limit = max(room, TRIAL_CHOICE if self.gate.rate.breaker.is_open else 0) * batch_max + len(self._busy)
        jobs = await self._tools.store.jobs(account, clock, limit, held)
        if not self.gate.restored.is_set():
            return 0.0  # the limits have changed
        jobs = [(pk, job) for pk, job in jobs if pk not in self._busy]
        self._has_jobs = bool(jobs)
        fresh = shared_calls([(pk, job) for pk, job in jobs if not job.failures], self._batch_max, self._retry_alone)
        retries = shared_calls([(pk, job) for pk, job in jobs if job.failures], self._batch_max, self._retry_alone)
        begun = False
        while self._claiming and len(self._calling) < self.account.limits.concurrency:
            call = self._next(fresh, retries)
            if call is None:
                break
            wait_s = self.gate.rate.wait_s(time.monotonic())
            if wait_s != 0:
                return wait_s
            (retries if call in retries else fresh).remove(call)
            self._begin(call)
            begun = True
        if len(self._calling) >= self.account.limits.concurrency:
            return None
        if begun:
            return 0.0
        due = await self._tools.store.next_due(account, clock, held)
        wait_s = None if due is None else max(0.0, (due - datetime.now(UTC)).total_seconds())
        budget_s = self.gate.rate.budget_wait_s(time.monotonic()) if retries else None
        waits = (wait_s, budget_s, await self._poll(clock))
        return min((wait for wait in waits if wait is not None), default=None)

    def _next(self, fresh: Sequence[SharedCall], retries: Sequence[SharedCall]) -> SharedCall | None:
        """The call that goes first; None if none may leave now."""
        if retries and self.gate.rate.may_retry_now(bool(fresh), time.monotonic()):
            return retries[self.gate.rate.choose_retry([[pk for pk, _ in call] for call in retries])]
        return fresh[self.gate.rate.choose_fresh(len(fresh), chance())] if fresh else None

    def _batch_max(self, kind: JobKind) -> int:
        handler = self.account.handler
        return handler.cancel_batch_max if kind is JobKind.CANCEL else handler.probe_batch_max

    async def _poll(self, clock: datetime) -> float | None:
        """Probe quiet orders with what cancels leave of the limit. Returns how long to wait before the next look."""
        polling = self.account.spec.polling
        if polling is None or self.account.handler.probe is None:
            return None
        now, rate = time.monotonic(), self.gate.rate
        if rate.wait_s(now) != 0 or rate.meter.used(now) >= polling.share * rate.limit.current:
            return self.polls.look_again_s(polling)
        jobs = await self.polls.due(self.account, clock, self._batch_max(JobKind.PROBE), self._busy)
        if not jobs or not self._claiming:
            return self.polls.look_again_s(polling)
        self._begin(jobs)
        return 0.0 if len(self._calling) < self.account.limits.concurrency else None

    def _begin(self, call: SharedCall) -> None:
        numbers, began = {pk for pk, _ in call}, time.monotonic()
        budget = self.gate.rate.start(numbers, any(job.failures for _, job in call), began, chance())
        self._busy.update(numbers)
        task = asyncio.create_task(self._send(call, began, budget))
        self._calling.add(task)
        task.add_done_callback(self._calling.discard)

    async def _send(self, call: SharedCall, began: float, budget: RetryBudget | None) -> None:
        sent, account = Sent(0, ok=True), self.account
        try:
            sent = await AttemptRunner(call, self.gate, self._tools, account, self._memory).run()
            if sent.calls and call[0][1].kind is JobKind.CANCEL:
                self.gate.note_latencies(time.monotonic() - began)
            if sent.calls and sent.ok is False:
                await self._handle_failure(call, account, sent)
        except (StoreError, LedgerClosedError) as error:
            log.warning("attempt_not_recorded", account=self.account.spec.id, orders=len(call), error=str(error))
            sent = Sent(1, ok=None)
        except Exception:
            # Not even its failure could be recorded: `Timers` find its expired claim.
            log.exception("attempt_lost", account=self.account.spec.id, orders=len(call))
            sent = Sent(1, ok=None)
        finally:
            numbers = {pk for pk, _ in call}
            self._ended(numbers, sent, began, budget)
            self._busy -= numbers
            self._retry_alone = (self._retry_alone - numbers) | sent.retry_alone
            current = asyncio.current_task()
            if current is not None:
                self._calling.discard(current)
            self.gate.wake()
            self.wake()
        await self._notices.record()

    async def _handle_failure(self, call: SharedCall, account: Account, sent: Sent) -> None:
        """Log why a call failed. If only a person can help, pause the account before its next call leaves."""
        orders, kind, now = {pk for pk, _ in call}, call[0][1].kind, time.monotonic()
        reason = self._failures.failed(orders, kind, sent.detail, sent.unreachable, now)
        if reason is not None and account.config == self.account.config and not self.paused:
            scope = ACCOUNT_SCOPE + account.spec.id
            await self._tools.ledger.pause(Pause(scope, reason, datetime.now(UTC), BY_ITSELF))

    def _ended(self, orders: AbstractSet[int], sent: Sent, began: float, budget: RetryBudget | None) -> None:
        """Learn from the outcome of a call."""
        now, rate = time.monotonic(), self.gate.rate
        if sent.held_back or not sent.calls:
            rate.withdraw(budget, began)
            return
        self.gate.end_call()
        if sent.ok is None:
            rate.outcome_unknown(budget)
        elif sent.ok:
            closed = rate.succeeded(budget, now)
            self._failures.succeeded(closed=closed)
            if closed:
                self._notices.breaker_closed()
        else:
            reached = sent.unreachable is None or sent.unreachable.got_response
            if rate.failed(budget, orders, reached, now, chance()):
                self._failures.breaker_opened(rate.breaker.reason)
                self._notices.breaker_opened(rate.breaker.reason)
        self._notices.note_usage(rate, now)
        self.gate.memory.note(rate)
