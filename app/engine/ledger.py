"""The ledger: everything that happens is recorded here, in one transaction with everything that follows from it.

Callers execute commands and wait. All requests that wait when the writer is free are served by one commit (group
commit): under load one `fsync` serves many, and an idle ledger adds no delay.

A commit looks up the orders that it touches (locked), drops events that are in the log already, lets each command
decide in its order's unit of work, writes everything, and ends the transaction. Only then do callers get their
results, so a result means: on disk, and applied.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from itertools import chain
from time import monotonic
from typing import Any, Generic, TypeVar

import structlog

from app.contract import Source
from app.core.attempt import Attempt
from app.core.commands import Command
from app.core.erasure import EraseOrder
from app.core.event import Event
from app.core.limit_watch import LimitWatch
from app.core.outbound.message import Message
from app.core.outbound.routing import Router
from app.core.pauses import BY_ITSELF, Pause, Pauses
from app.core.unit_of_work import AccountView
from app.engine.commit import Commit, no_latency
from app.engine.commit_log import CommitLog
from app.engine.commit_traces import trace_changes
from app.engine.committed import Committed
from app.engine.erasure import PreparedErasure, prepare
from app.engine.hot_orders import HotOrders
from app.engine.identity import RefusedCommandsError
from app.runtime import metrics, tracing
from app.runtime.ids import Ids
from app.runtime.log import LogLimiter
from app.store import Receipt, Store, StoreUnavailable

QUEUE_MAX = 4096
REQUESTS_MAX = 256
COMMANDS_MAX = 1024
"""No request joins a commit that has this many commands: all who wait with a large request wait for all of it."""
UNAVAILABLE_LOG_S = 10.0
"""How often an unavailable store is logged at most: under load every commit would log it."""

log = structlog.get_logger()

R = TypeVar("R")
T = TypeVar("T")


class LedgerFullError(Exception):
    """Too many requests wait to be recorded; try again in a moment."""


class LedgerClosedError(Exception):
    """The process is ending; nothing more is recorded."""


class Request(Generic[T]):
    """What one caller wants recorded together. `T` is the type of its result."""

    __slots__ = ("_done", "_result", "_work", "alone", "commands", "trace")

    def __init__(
        self,
        commands: Sequence[Command[Any]],
        work: Callable[[Commit], Awaitable[T]],
        done: asyncio.Future[T],
        *,
        alone: bool = False,
    ) -> None:
        self.commands = commands
        self.alone = alone
        """It gets a commit of its own."""
        self.trace = tracing.traceparent() if tracing.on else None
        """The context of the trace that it belongs to."""
        self._work, self._done = work, done

    async def apply(self, commit: Commit) -> None:
        """Decide what it asks for, as a part of `commit`."""
        self._result = await self._work(commit)

    def complete(self) -> None:
        """Give the caller its result: the commit is on disk."""
        if not self._done.done():
            self._done.set_result(self._result)

    def fail(self, error: Exception) -> None:
        """Tell the caller that nothing of it was recorded."""
        if not self._done.done():
            self._done.set_exception(error)


def _ignore(_committed: Committed) -> None:
    return None


class Ledger:
    """Records requests, several in one commit, for as long as `run` runs."""

    def __init__(
        self,
        store: Store,
        accounts: Callable[[str], AccountView],
        ids: Ids,
        *,
        accounts_of: Callable[[], Mapping[str, Sequence[str]]] = dict,
        latency_s: Callable[[str], float] = no_latency,
        router: Callable[[], Router] = Router,
        on_commit: Callable[[Committed], None] = _ignore,
    ) -> None:
        """Make a ledger of `store`.

        Args:
            store: where everything is kept; nobody else may write orders.
            accounts: gives what decisions need to know of an account.
            ids: draws the ids of orders and cancellations.
            accounts_of: gives the accounts that each policy applies to.
            latency_s: gives how long an account's calls have recently taken, in seconds.
            router: gives who receives which messages.
            on_commit: called after every commit, when callers have their results. It must not wait.
        """
        self._store, self._ids = store, ids
        self._accounts, self._accounts_of = accounts, accounts_of
        self._latency_s, self._router, self._on_commit = latency_s, router, on_commit
        self._queue: deque[Request[Any]] = deque()
        self._filled = asyncio.Event()
        self._closed = False
        self._recording = 0
        self._commit_log = CommitLog()
        self.hot = HotOrders(store)
        """Orders that commits need not look up."""
        self._unavailable_log = LogLimiter(UNAVAILABLE_LOG_S)
        self.pauses = Pauses()
        """What may not be sent now: the store's, as of the last commit."""
        self._limits = LimitWatch()
        self.failures = 0
        """How often the store was unavailable, since this process began."""
        self.recorded = 0
        """How many requests were recorded, since this process began."""
        self.turns = 0
        """How many times requests were recorded or turned away, since this process began."""

    async def load(self) -> None:
        """Load what the previous process left."""
        self.pauses = Pauses({pause.scope: pause for pause in await self._store.pauses()})

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._queue)

    @property
    def unfinished(self) -> int:
        """How many requests wait or are being recorded."""
        return len(self._queue) + self._recording

    async def execute(self, command: Command[R], *, patient: bool = True) -> R:
        """Record one command; returns its result when it is on disk and applied.

        Args:
            command: what happened.
            patient: wait even if the queue is full; callers that can come back later do not.

        Raises:
            LedgerFullError: the queue is full, and the caller is not patient.
            LedgerClosedError: the process is ending.
            StoreError: the database could not do it; nothing of the request is kept. `StoreUnavailable` goes to all
                callers, `StoreConflict` only to the one that caused it.
            NameClashError: it names two orders as one; nothing of the request is kept.
        """
        return (await self.execute_all([command], patient=patient))[0]

    async def execute_all(self, commands: Sequence[Command[R]], *, patient: bool = True) -> list[R]:
        """Record commands together, all or none; returns their results in turn. Raises what `execute` does."""

        async def decide(commit: Commit) -> list[R]:
            return await commit.decide_all(commands, _chance())

        return await self._submit(commands, decide, patient=patient)

    async def record_webhook(
        self, receipt: Receipt, commands: Sequence[Command[None]] = (), *, stored: bool = False
    ) -> None:
        """Record a webhook and what it says, together; sets the receipt's status to `duplicate` if nothing was new.

        A receipt that is `stored` already, and read again, keeps its status. Raises what an impatient `execute` does.
        """

        async def record(commit: Commit) -> None:
            before = len(commit.changes.events)
            await commit.decide_all(commands, _chance())
            if commands and not stored:
                receipt.status = "accepted" if len(commit.changes.events) > before else "duplicate"
                if receipt.status == "duplicate" and commit.is_erased(commands):
                    # A webhook that is repeated after the erasure of its order must not bring the data back.
                    receipt.expunge(commands[0].now)
            commit.add_receipt(receipt, stored=stored)

        await self._submit(commands, record, patient=False)

    async def record_attempt(self, attempt: Attempt) -> None:
        """Record an attempt by itself: one more call of it, or its end where no command is about it."""
        await self._add(lambda commit: commit.add_attempt(attempt))

    async def record_notice(self, event: Event) -> None:
        """Record an event about an account as a whole. Raises `LedgerFullError` if the queue is full."""
        await self._add(lambda commit: commit.add_notice(event), patient=False)

    async def send_test(
        self, type: str, now: datetime, *, account: str | None = None, subscription: str | None = None
    ) -> Message | None:
        """Send an example message of a type, marked as a test, and return it; None if nobody receives it.

        Args:
            type: one of `OUTBOUND_TYPES`.
            now: the time of the message.
            account: the account that it says to be about; None: about none.
            subscription: the only one that receives it, whatever it subscribes to. None: all that receive the type
                about the account.
        """

        async def add(commit: Commit) -> Message | None:
            return commit.add_test(type, account, subscription, now)

        return await self._submit((), add, patient=False)

    async def record_alone(self, commands: Sequence[Command[Any]], work: Callable[[Commit], Awaitable[T]]) -> T:
        """Run `work`, which is about the orders of these commands, in a commit of its own; returns its result."""
        return await self._submit(commands, work, patient=True, alone=True)

    async def prepare_erasure(self, command: EraseOrder, by: str) -> PreparedErasure:
        """Work out the erasure of an order beside the commits, as `Commit.erase` takes it."""
        match = await self._store.order(command.account, command.order)
        number = 0 if match is None else match[0]
        mark, rows = await self._store.logged(number)
        return await prepare(number, self._accounts(command.account).handler.personal, mark, rows, by)

    async def pause(self, pause: Pause) -> None:
        """Stop sending for a scope. When this returns, no call is granted any more."""
        source = Source.PROVIDER if pause.by == BY_ITSELF else Source.OPERATOR
        await self._add(lambda commit: commit.pause(pause, source))

    async def resume(self, resumption: Pause) -> None:
        """End the pause of a scope; `reason`, `since` and `by` describe the resumption."""
        await self._add(lambda commit: commit.resume(resumption))

    async def run(self) -> None:
        """Serve until `close`."""
        while True:
            if not self._queue:
                if self._closed:
                    return
                self._filled.clear()
                await self._filled.wait()
                continue
            requests = self._next()
            self._recording = len(requests)
            await self._serve(requests)
            self._recording = 0
            self.turns += 1

    def close(self) -> None:
        """Take no more requests; `run` returns when the waiting ones have been recorded."""
        self._closed = True
        self._filled.set()

    async def _add(self, change: Callable[[Commit], None], *, patient: bool = True) -> None:
        async def apply(commit: Commit) -> None:
            change(commit)

        await self._submit((), apply, patient=patient)

    async def _submit(
        self,
        commands: Sequence[Command[Any]],
        work: Callable[[Commit], Awaitable[T]],
        *,
        patient: bool,
        alone: bool = False,
    ) -> T:
        if tracing.on:
            with tracing.span("commit"):
                return await self._enqueue(commands, work, patient=patient, alone=alone)
        return await self._enqueue(commands, work, patient=patient, alone=alone)

    async def _enqueue(
        self,
        commands: Sequence[Command[Any]],
        work: Callable[[Commit], Awaitable[T]],
        *,
        patient: bool,
        alone: bool,
    ) -> T:
        if self._closed:
            raise LedgerClosedError("Rescind is shutting down; nothing more is recorded")
        if not patient and len(self._queue) >= QUEUE_MAX:
            raise LedgerFullError(f"{len(self._queue)} requests wait to be recorded; try again in a moment")
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.append(Request(commands, work, done, alone=alone))
        self._filled.set()
        return await done

    def _next(self) -> list[Request[Any]]:
        """The requests of the next commit: all that wait, up to a bound of requests and of commands."""
        requests: list[Request[Any]] = []
        commands = 0
        while self._queue and len(requests) < REQUESTS_MAX and commands < COMMANDS_MAX:
            if requests and (self._queue[0].alone or requests[-1].alone):
                break
            requests.append(self._queue.popleft())
            commands += len(requests[-1].commands)
        return requests

    async def _serve(self, requests: list[Request[Any]]) -> None:
        parts = [requests]
        while parts:
            part = parts.pop()
            try:
                committed = await self._commit(part)
            except RefusedCommandsError as error:
                rest = _without_refused(part, error)
                parts += [rest] if rest else []
            except StoreUnavailable as error:
                # No request's fault: tried one by one, each would wait as long for nothing.
                self._turn_away([*part, *chain.from_iterable(parts), *self._queue], error)
                self._queue.clear()
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, it goes to the caller
                if len(part) == 1:
                    part[0].fail(error)
                    continue
                # One request may have failed them all: halving finds it in few commits, and the others keep their turn.
                log.warning("commit_failed", requests=len(part), error=repr(error))
                middle = len(part) // 2
                parts += [part[middle:], part[:middle]]
            else:
                for request in part:
                    request.complete()
                self.recorded += len(part)
                self._on_commit(committed)

    async def _commit(self, requests: Sequence[Request[Any]]) -> Committed:
        metrics.COMMITS.observe(len(requests))
        began = monotonic()
        async with self._store.transaction() as transaction:
            pauses, accounts_of, router = Pauses(self.pauses), self._accounts_of(), self._router()
            limits = LimitWatch(self._limits.near_at)
            commit = Commit(self._accounts, self._ids, pauses, self.hot, accounts_of, self._latency_s, router, limits)
            try:
                await commit.look_up(transaction, [command for request in requests for command in request.commands])
                for request in requests:
                    commit.trace = request.trace
                    await request.apply(commit)
                changes = await commit.finish()
            finally:
                commit.release()
            await commit.write(transaction)
        commit.keep_hot()
        self.pauses, self._limits = commit.pauses, commit.limits
        metrics.COMMIT_SECONDS.observe(monotonic() - began)
        self._commit_log.add(changes)
        if commit.traces:
            trace_changes(changes, commit.traces)
        return Committed.of(changes)

    def _turn_away(self, requests: Sequence[Request[Any]], error: StoreUnavailable) -> None:
        self.failures += 1
        metrics.UNAVAILABLE.inc()
        if self._unavailable_log.admit() is not None:
            log.error("store_unavailable", turned_away=len(requests), error=str(error))
        for request in requests:
            request.fail(StoreUnavailable(str(error)))


def _chance() -> float:
    return random.random()  # noqa: S311 - jitter


def _without_refused(requests: Sequence[Request[Any]], error: RefusedCommandsError) -> list[Request[Any]]:
    """The requests without those that have a refused command, which fail."""
    rest, start = [], 0
    for request in requests:
        end = start + len(request.commands)
        refused = next((error.refused[place] for place in range(start, end) if place in error.refused), None)
        if refused is None:
            rest.append(request)
        else:
            request.fail(refused)
        start = end
    return rest
