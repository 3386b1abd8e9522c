"""The one door: everything that happens is recorded here, in one transaction with all that follows from it.

Callers hand in *submissions* and wait. Whoever waits when the writer is free is served together by
one commit (group commit): under load one `fsync` serves many, when idle nobody waits for company.

A batch is: look up the orders it touches (locked), take out what is in the log already, let each
entry decide on its order's case, write everything, commit. Only then are the callers answered, so
an answer means: on disk, and applied.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain, zip_longest
from time import monotonic
from typing import Any

import structlog

from app.contract import Source
from app.core.aggregate import POLICY_PREFIX
from app.core.attempt import Attempt
from app.core.commands import Command
from app.core.event import Event
from app.core.pauses import BY_ITSELF, Pause, Pauses
from app.core.policy.model import Outcome
from app.core.unit_of_work import AccountView
from app.engine.commit import Commit
from app.engine.linking import ClashesError
from app.runtime import metrics
from app.runtime.ids import Ids
from app.runtime.log import LogLimiter
from app.runtime.time_slice import TimeSlice
from app.store import Receipt, Store, StoreUnavailable

QUEUE_MAX = 4096
BATCH_MAX = 256
ENTRIES_MAX = 1024
"""No submission joins a batch that holds so many entries: those who wait with a large one wait for all of it."""
FAILURE_LOG_S = 60.0
UNAVAILABLE_LOG_S = 10.0
"""How often an unavailable store is logged at most: under load every commit would log it."""

log = structlog.get_logger()


class LedgerFullError(Exception):
    """More is waiting to be recorded than may; try again in a moment."""


class LedgerClosedError(Exception):
    """The process is ending; nothing more is recorded."""


@dataclass(slots=True)
class Recorded:
    """What came of a submission, on disk."""

    results: list[Any] = field(default_factory=list)
    """What each entry's `decide` returned."""
    new_events: int = 0


@dataclass(slots=True)
class Submission:
    """What one caller wants recorded together."""

    entries: Sequence[Command] = ()
    receipt: Receipt | None = None
    """Stored with the entries it brought; its status becomes `duplicate` if none was new."""
    reprocessed: Receipt | None = None
    """A receipt that is stored already, with its new status and reason."""
    attempts: Sequence[Attempt] = ()
    """Begun, all by one call (each stored only if its claim is granted), or ended; each belongs to the entry in the
    same place, if any."""
    notice: Event | None = None
    """An event about an account as a whole."""
    pause: Pause | None = None
    resume: Pause | None = None
    """Ends the pause of its scope; `reason`, `since` and `by` speak of the resumption."""


@dataclass(frozen=True, slots=True)
class Committed:
    """What a transaction changed, for those who act on it."""

    accounts: frozenset[str]
    """Accounts whose jobs changed."""
    pauses: bool
    """Something was paused or resumed."""
    next_check_at: datetime | None = None
    """When time alone will bring something about, the earliest of what is new."""


_Waiting = tuple[Submission, asyncio.Future[Recorded]]


class Ledger:
    """Records submissions, in batches, for as long as `run` runs."""

    def __init__(self, store: Store, accounts: Callable[[str], AccountView], ids: Ids) -> None:
        self._store = store
        self._accounts = accounts
        self._ids = ids
        self._queue: deque[_Waiting] = deque()
        self._filled = asyncio.Event()
        self._closed = False
        self._unavailable_log = LogLimiter(UNAVAILABLE_LOG_S)
        self.pauses = Pauses()
        """What may not send now, by scope: the store's, as of the last commit."""
        self.policies: Callable[[], Mapping[str, Sequence[str]]] = dict
        """Gives for every policy the accounts that it speaks of."""
        self.latencies: dict[str, float] = {}
        """Account → how long its calls have taken of late, in seconds; its lane says so."""
        self.heard: dict[str, float] = {}
        """Account → when its latest webhook was recorded, on the monotonic clock, since this process began."""
        self.failures = 0
        """How often the store was unavailable, since this process began."""
        self._failure_log = LogLimiter(FAILURE_LOG_S)
        self.on_commit: list[Callable[[Committed], None]] = []
        """Called after each commit that gave lanes something to do. They must not wait."""

    async def load(self) -> None:
        """Take up what the process before left."""
        self.pauses = Pauses({pause.scope: pause for pause in await self._store.pauses()})

    async def record(self, submission: Submission, *, patient: bool = True) -> Recorded:
        """Record it, and return when it is on disk and applied.

        Args:
            submission: what happened.
            patient: wait even if many are waiting already; those who can be told to come back do not.

        Raises:
            LedgerFullError: too many are waiting, and the caller is not patient.
            LedgerClosedError: the process is ending.
            StoreError: the database could not do it; nothing of the submission is kept. `StoreUnavailable` goes to
                everyone who waits, `StoreConflict` only to whoever caused it.
            NameClashError: it names two orders as one; nothing of the submission is kept.
        """
        if self._closed:
            raise LedgerClosedError("Rescind is shutting down; nothing more is recorded")
        if not patient and len(self._queue) >= QUEUE_MAX:
            raise LedgerFullError(f"{len(self._queue)} submissions are waiting to be recorded; try again in a moment")
        done: asyncio.Future[Recorded] = asyncio.get_running_loop().create_future()
        self._queue.append((submission, done))
        self._filled.set()
        return await done

    async def run(self) -> None:
        """Serve until `close`."""
        while True:
            if not self._queue:
                if self._closed:
                    return
                self._filled.clear()
                await self._filled.wait()
                continue
            await self._serve(self._next())

    def _next(self) -> list[_Waiting]:
        """Those who are served together: all who wait, up to a bound of what they want recorded."""
        waiting: list[_Waiting] = []
        entries = 0
        while self._queue and len(waiting) < BATCH_MAX and entries < ENTRIES_MAX:
            waiting.append(self._queue.popleft())
            entries += len(waiting[-1][0].entries)
        return waiting

    def close(self) -> None:
        """Take nothing more; `run` returns when what is waiting has been recorded."""
        self._closed = True
        self._filled.set()

    @property
    def waiting(self) -> int:
        """How many submissions wait."""
        return len(self._queue)

    async def _serve(self, waiting: list[_Waiting]) -> None:
        parts = [waiting]
        while parts:
            part = parts.pop()
            try:
                recorded, commit = await self._commit([submission for submission, _ in part])
            except ClashesError as clashes:
                rest = _without_refused(part, clashes)
                parts += [rest] if rest else []
            except StoreUnavailable as error:
                # No submission's fault: tried one by one, or batch by batch, each would wait as long for nothing.
                self._turn_away([*part, *chain.from_iterable(parts), *self._queue], error)
                self._queue.clear()
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, it goes to the caller
                if len(part) == 1:
                    _fail(part[0][1], error)
                    continue
                # One may have spoiled it for all: halves find it with few commits, and the others keep their order.
                log.warning("batch_failed", size=len(part), error=repr(error))
                middle = len(part) // 2
                parts += [part[middle:], part[:middle]]
            else:
                self._answer(part, recorded, commit)

    def _answer(self, waiting: Sequence[_Waiting], recorded: Sequence[Recorded], commit: Committed) -> None:
        for (_, done), answer in zip(waiting, recorded, strict=True):
            if not done.done():
                done.set_result(answer)
        if commit.accounts or commit.pauses or commit.next_check_at:
            for listener in self.on_commit:
                listener(commit)

    def _turn_away(self, waiting: Sequence[_Waiting], error: StoreUnavailable) -> None:
        self.failures += 1
        if self._unavailable_log.admit() is not None:
            log.error("store_unavailable", turned_away=len(waiting), error=str(error))
        for _, done in waiting:
            _fail(done, StoreUnavailable(str(error)))

    async def _commit(self, submissions: list[Submission]) -> tuple[list[Recorded], Committed]:
        metrics.BATCHES.observe(len(submissions))
        async with self._store.transaction() as transaction:
            batch = Commit(self._accounts, self._ids, Pauses(self.pauses), self.policies(), self.latencies)
            await batch.look_up(transaction, [entry for each in submissions for entry in each.entries])
            breather = TimeSlice()
            recorded = [await self._apply(batch, each, breather) for each in submissions]
            await batch.settle()
            changes = await batch.changes()
            await transaction.commit(changes)
        self.pauses = batch.pauses
        metrics.EVENTS.inc(len(changes.events))
        for _, cancellation in changes.cancellations:
            metrics.CANCELLATIONS.labels(cancellation.account, cancellation.state).inc()
        for _, event in changes.events:
            if event.type.startswith(POLICY_PREFIX):
                self._count_decision(event)
        for pause in changes.pauses:
            metrics.PAUSES.labels(pause.scope).inc()
            log.warning("paused", scope=pause.scope, reason=pause.reason, by=pause.by)
        accounts = frozenset(write.aggregate.order.account for write in changes.orders if write.job is not None)
        moments = [write.next_check_at for write in changes.orders] + [recheck.at for recheck in changes.rechecks]
        next_check_at = min((each for each in moments if each is not None), default=None)
        return recorded, Committed(accounts, bool(changes.pauses or changes.resumes), next_check_at)

    def _count_decision(self, event: Event) -> None:
        policy, outcome = event.data["policy"], event.data["outcome"]
        metrics.DECISIONS.labels(policy, outcome).inc()
        if outcome == Outcome.FAILED and self._failure_log.admit(policy) is not None:
            # A policy that fails, fails on every order.
            detail = event.data.get("detail", "")
            log.warning("policy_failed", policy=policy, account=event.account, order=event.order, detail=detail)

    async def _apply(self, batch: Commit, submission: Submission, breather: TimeSlice) -> Recorded:
        recorded, chance = Recorded(), random.random()  # noqa: S311 - jitter
        for entry in submission.entries:
            # What came together shares its chance too: what was sent as one call is probed as one.
            result, new = await batch.decide(entry, chance)
            recorded.results.append(result)
            recorded.new_events += new
            await breather.pause()
        if submission.receipt is not None:
            self.heard[submission.receipt.account] = monotonic()
            if submission.entries:
                submission.receipt.status = "accepted" if recorded.new_events else "duplicate"
            batch.receipts.append(submission.receipt)
        if submission.reprocessed is not None:
            batch.reprocessed.append(submission.reprocessed)
        together = False
        for attempt, entry, result in zip_longest(submission.attempts, submission.entries, recorded.results):
            if attempt is None or (entry is not None and attempt.ended_at is None and result is None):
                continue
            # By now two orders may have turned out to be one, with the number of the other.
            stored = attempt if entry is None else replace(attempt, order_pk=batch.number_of(entry))
            # What begins together is one call, and is counted with the first.
            batch.attempts.append(replace(stored, calls=0) if together and stored.ended_at is None else stored)
            together = True
        if submission.notice is not None:
            batch.note(submission.notice)
        if submission.pause is not None:
            by_itself = submission.pause.by == BY_ITSELF
            batch.pause(submission.pause, Source.PROVIDER if by_itself else Source.OPERATOR)
        if submission.resume is not None:
            batch.resume(submission.resume)
        return recorded


def _fail(done: asyncio.Future[Recorded], error: Exception) -> None:
    if not done.done():
        done.set_exception(error)


def _without_refused(waiting: list[_Waiting], clashes: ClashesError) -> list[_Waiting]:
    """Those who wait, but for those whose entries are refused: these are told."""
    rest, start = [], 0
    for submission, done in waiting:
        end = start + len(submission.entries)
        refused = next((clashes.refused[place] for place in range(start, end) if place in clashes.refused), None)
        if refused is None:
            rest.append((submission, done))
        else:
            _fail(done, refused)
        start = end
    return rest
