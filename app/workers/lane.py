"""A lane: the sequence in which one account's jobs are sent, with one limiter and one breaker.

Every account has a lane of its own, so a slow or failing provider holds up nobody else. A lane
claims a job only when it may be sent at once: the claim is the fence, and between that commit and
the call there is nothing to wait for.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import aiohttp
import msgspec
import structlog

from app import ids, metrics
from app.contract import CancelOutcome, CancelRequest, CancelResult, Context, Facts, ProbeUnavailable
from app.core.answer import Answered, Probed
from app.core.case import Job, JobKind
from app.core.entry import Claim, Granted
from app.core.pacing import AdaptiveLimit, Breaker, RetrySchedule, SlidingWindow, bounded
from app.http_client import EXCERPT, CallFailedError, Conversation, converse
from app.ledger import Ledger, LedgerClosedError, Submission
from app.resources import Account
from app.secrets import Redactor
from app.store import Attempt, Store, StoreError

LEASE_S = 120.0
STORE_RETRY_S = 1.0
THROTTLED = RetrySchedule(first_s=1.0, cap_s=60.0)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Tools:
    """What every lane works with."""

    store: Store
    ledger: Ledger
    session: aiohttp.ClientSession
    redactor: Redactor
    ids: ids.Ids


class LaneStatus(msgspec.Struct, frozen=True):
    """How an account's lane stands."""

    state: str
    """sending, idle, paused, throttled, breaker_open or rate_limited."""
    reason: str
    until: datetime | None
    running: int
    limit: int
    """Calls in a window, as configured or as learned from the provider's denials."""
    used: int


class Lane:
    """Sends one account's jobs."""

    def __init__(self, account: Account, tools: Tools) -> None:
        self.account, self._tools = account, tools
        self._window = SlidingWindow(account.limits.requests, account.limits.per_s)
        self._limit = AdaptiveLimit(account.limits)
        self._breaker = Breaker()
        self._hold_until = 0.0
        self._denials = 0
        self._running: dict[int, asyncio.Task[None]] = {}
        self._woken = asyncio.Event()
        self._freed = asyncio.Event()

    def wake(self) -> None:
        """There may be something to do."""
        self._woken.set()

    def take(self, account: Account) -> None:
        """The account has a new version."""
        if account.limits != self.account.limits:
            self._window.limit, self._window.per_s = account.limits.requests, account.limits.per_s
            self._limit = AdaptiveLimit(account.limits)
        self.account = account
        self.wake()

    async def run(self) -> None:
        """Send until canceled; what is out then is finished by `drain`."""
        restored = False
        while True:
            self._woken.clear()
            try:
                if not restored:
                    await self._restore()
                    restored = True
                wait_s = await self._send_due()
            except (StoreError, LedgerClosedError) as error:
                log.warning("lane_waits", account=self.account.spec.id, error=str(error))
                wait_s = 1.0
            try:
                async with asyncio.timeout(wait_s):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def drain(self, timeout_s: float) -> None:
        """Wait for the calls that are out. What is not done in time is found again at the next start."""
        if self._running:
            await asyncio.wait(self._running.values(), timeout=timeout_s)

    def status(self) -> LaneStatus:
        """How the lane stands now."""
        now, clock = time.monotonic(), datetime.now(UTC)
        free, used = self._window.free_at(now), self._window.running + len(self._window.ended)
        paused = self._tools.ledger.pause_of(self.account.spec.id)
        opens = self._breaker.free_at(now)

        def status(state: str, reason: str = "", at: float | None = None) -> LaneStatus:
            until = clock + timedelta(seconds=at - now) if at is not None else None
            return LaneStatus(state, reason, until, len(self._running), self._limit.current, used)

        if paused is not None:
            return status("paused", paused.reason)
        if opens is None or opens > now:
            return status("breaker_open", f"{self._breaker.failures} calls failed in a row", opens)
        if self._hold_until > now:
            return status("throttled", "the provider asked to wait", self._hold_until)
        if free is None or free > now:
            return status("rate_limited", f"{used} of {self._limit.current} calls used in the window", free)
        return status("sending" if self._running else "idle")

    async def _restore(self) -> None:
        """Start with the calls of the process before, as if their answers had come as late as possible."""
        per_s, now, clock = self.account.limits.per_s, time.monotonic(), datetime.now(UTC)
        calls = await self._tools.store.calls_since(self.account.spec.id, clock - timedelta(seconds=per_s))
        for ended_at, count in calls:
            age_s = min(per_s, max(0.0, (clock - ended_at).total_seconds()))
            self._window.restore([now - age_s] * count)

    async def _send_due(self) -> float | None:
        """Send what may be sent; returns how long there is nothing to do, None: until woken."""
        if self._tools.ledger.pause_of(self.account.spec.id) is not None:
            return None
        room = self.account.limits.concurrency - len(self._running)
        if room <= 0:
            return None
        now, clock = time.monotonic(), datetime.now(UTC)
        jobs = await self._tools.store.jobs(self.account.spec.id, clock, room + len(self._running))
        jobs = [(pk, job) for pk, job in jobs if pk not in self._running][:room]
        for pk, job in jobs:
            free = self._free_at(now)
            if free is None or free > now:
                return None if free is None else free - now
            self._window.start()
            self._breaker.start()
            task = asyncio.create_task(self._send(pk, job))
            self._running[pk] = task
        if jobs:
            return 0.0 if len(self._running) < self.account.limits.concurrency else None
        due = await self._tools.store.next_due(self.account.spec.id, clock)
        return None if due is None else max(0.0, (due - datetime.now(UTC)).total_seconds())

    def _free_at(self, now: float) -> float | None:
        window, breaker = self._window.free_at(now), self._breaker.free_at(now)
        if window is None or breaker is None:
            return None
        return max(window, breaker, self._hold_until)

    async def _send(self, pk: int, job: Job) -> None:
        calls, ok = 0, True
        try:
            calls, ok = await self._attempt(pk, job)
        except (StoreError, LedgerClosedError) as error:
            log.warning("attempt_not_recorded", account=job.account, order=job.order, error=str(error))
            calls = 1
        finally:
            now = time.monotonic()
            if calls:
                self._window.end(now)
                self._breaker.ended(ok, now, random.random())  # noqa: S311 - jitter
            else:
                self._window.running -= 1
                self._breaker.withdraw()
            del self._running[pk]
            self._freed.set()
            self.wake()

    async def _attempt(self, pk: int, job: Job) -> tuple[int, bool]:
        """Claim and send one job; returns how many calls were made and whether the provider worked."""
        number, asked_at = self._tools.ids.next(), datetime.now(UTC)
        attempt = Attempt(number, pk, job.account, job.order, job.kind, job.cancellation, asked_at)
        name = ids.show(ids.ATTEMPT, number)
        claim = Claim(job.account, job.order, asked_at, name, job.kind, job.cancellation, LEASE_S)
        recorded = await self._tools.ledger.record(Submission([claim], attempt=attempt))
        granted: Granted | None = recorded.results[0]
        if granted is None:
            return 0, True
        conversation, account = Conversation(), self.account
        if job.kind is JobKind.CANCEL:
            result = await self._cancel(granted, conversation)
            if result.outcome is CancelOutcome.UNAUTHORIZED and self.account.config != account.config:
                # The answer is to credentials that were replaced while the call was out.
                result = msgspec.structs.replace(result, outcome=CancelOutcome.RETRY)
            self._heed(result.outcome, result.after_s)
            entry: Any = Answered(job.account, job.order, datetime.now(UTC), name, str(job.cancellation), result)
            outcome, detail = result.outcome, result.detail
        else:
            found = self._cleaned(await self._probe(granted, conversation))
            if isinstance(found, ProbeUnavailable):
                self._heed(found.outcome, found.after_s)
                said: dict[str, Any] = {"failure": str(found), "outcome": found.outcome, "after_s": found.after_s}
                outcome, detail = found.outcome, str(found)
            else:
                self._heed(CancelOutcome.SUCCEEDED, None)
                said, outcome, detail = {"snapshot": found}, CancelOutcome.SUCCEEDED, ""
            entry = Probed(job.account, job.order, datetime.now(UTC), name, asked_at, **said)
        calls = max(1, len(conversation.exchanges))
        ended = replace(
            attempt,
            ended_at=datetime.now(UTC),
            calls=calls,
            outcome=str(outcome),
            detail=self._tools.redactor.clean(detail),
            exchanges=[self._clean(each) for each in conversation.exchanges],
        )
        metrics.CALLS.labels(job.account, job.kind, outcome).inc()
        await self._settle(Submission([entry], attempt=ended))
        return calls, outcome not in (CancelOutcome.RETRY, CancelOutcome.INDETERMINATE)

    async def _settle(self, submission: Submission) -> None:
        """Record what came of a call, however long the database takes: nobody else knows it."""
        while True:
            try:
                await self._tools.ledger.record(submission)
            except StoreError as error:
                log.warning("answer_waits", account=self.account.spec.id, error=str(error))
                await asyncio.sleep(STORE_RETRY_S)
            except LedgerClosedError:
                raise
            except Exception as error:
                # What the handler read out of it cannot be recorded. That there was a call must be.
                log.exception("answer_unfit", account=self.account.spec.id)
                submission = _without_facts(submission, error)
            else:
                return

    async def _cancel(self, granted: Granted, conversation: Conversation) -> CancelResult:
        known = granted.cancellation
        assert known is not None  # noqa: S101 - a granted cancel has its cancellation
        request = CancelRequest(granted.order, known.reason, known.note)
        try:
            flow = self.account.handler.cancel([request], self.account.config, self._context())
            result: CancelResult = (
                await converse(flow, self._tools.session, conversation, self._permit(conversation))
            )[0]
        except CallFailedError as error:
            outcome = CancelOutcome.INDETERMINATE if error.lost else CancelOutcome.RETRY
            result = CancelResult(outcome, str(error))
        except Exception as error:
            log.exception("handler_failed", account=self.account.spec.id, flow="cancel")
            lost = bool(conversation.exchanges)
            outcome = CancelOutcome.INDETERMINATE if lost else CancelOutcome.RETRY
            result = CancelResult(outcome, f"The handler failed: {type(error).__name__}: {error}")
        return msgspec.structs.replace(result, detail=self._tools.redactor.clean(result.detail))

    async def _probe(self, granted: Granted, conversation: Conversation) -> Facts | ProbeUnavailable:
        probe = self.account.handler.probe
        if probe is None:
            return ProbeUnavailable("The provider cannot be asked how an order stands.")
        try:
            flow = probe([granted.order], self.account.config, self._context())
            return (await converse(flow, self._tools.session, conversation, self._permit(conversation)))[0]
        except CallFailedError as error:
            return ProbeUnavailable(str(error))
        except Exception as error:
            log.exception("handler_failed", account=self.account.spec.id, flow="probe")
            return ProbeUnavailable(f"The handler failed: {type(error).__name__}: {error}")

    def _context(self) -> Context:
        return Context(datetime.now(UTC), uuid4().hex)

    def _permit(self, conversation: Conversation) -> Callable[[], Any]:
        """The first call of a flow has the place that its job took; each further one waits for its own."""

        async def permit() -> None:
            if not conversation.exchanges:
                return
            self._window.end(time.monotonic())
            while (free := self._window.free_at(now := time.monotonic())) is None or free > now:
                self._freed.clear()
                try:
                    async with asyncio.timeout(None if free is None else free - now):
                        await self._freed.wait()
                except TimeoutError:
                    continue
            self._window.start()

        return permit

    def _heed(self, outcome: CancelOutcome, after_s: float | None) -> None:
        """What an answer says about the account as a whole."""
        now = time.monotonic()
        if outcome is not CancelOutcome.THROTTLED:
            self._denials = 0
            self._limit.passed(self._window, now)
            return
        self._denials += 1
        asked_s = bounded(after_s)
        wait_s = THROTTLED.delay_s(self._denials, random.random()) if asked_s is None else asked_s  # noqa: S311
        self._hold_until = max(self._hold_until, now + wait_s)
        if asked_s is None:
            self._limit.denied(self._window, now)

    def _cleaned(self, found: Facts | ProbeUnavailable) -> Facts | ProbeUnavailable:
        if isinstance(found, ProbeUnavailable):
            return ProbeUnavailable(
                self._tools.redactor.clean(str(found)), outcome=found.outcome, after_s=found.after_s
            )
        return found

    def _clean(self, exchange: dict[str, Any]) -> dict[str, Any]:
        """Secrets are taken out before it is cut: a part of one would not be known any more."""
        clean = self._tools.redactor.clean
        return {key: clean(value)[:EXCERPT] if isinstance(value, str) else value for key, value in exchange.items()}


def _without_facts(submission: Submission, error: Exception) -> Submission:
    """The same call, of which only is said that nothing could be made of its answer."""
    detail = f"The answer could not be recorded: {type(error).__name__}"
    (entry,) = submission.entries
    if isinstance(entry, Answered):
        lost = CancelResult(CancelOutcome.INDETERMINATE, detail)
        return replace(submission, entries=[msgspec.structs.replace(entry, result=lost)])
    return replace(submission, entries=[msgspec.structs.replace(entry, snapshot=None, failure=detail)])
