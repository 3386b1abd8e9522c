"""The ledger: everything that happens is recorded here, in one transaction with everything that follows from it.

Callers execute commands and wait. All requests that wait when a writer is free are served by one commit (group
commit): under load one `fsync` serves many, and an idle ledger adds no delay. There are as many writers as the store
has: one on SQLite.

A commit looks up the orders that it touches (locked), drops events that are in the log already, lets each command
decide in its order's unit of work, writes everything, and ends the transaction. Only then do callers get their
results, so a result means: on disk, and applied.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from time import monotonic
from typing import Any, TypeVar

import structlog

from app.contract import Source
from app.core.attempt import Attempt
from app.core.commands import Command
from app.core.erasure import EraseOrder
from app.core.event import Event, order_key
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
from app.engine.request import LedgerClosedError, LedgerFullError, Request
from app.engine.writer import UnforeseenPauseError, Writer
from app.runtime import metrics, tracing
from app.runtime.ids import Ids
from app.runtime.log import LogLimiter
from app.store import NO_LOCKS, Locks, Receipt, Store, StoreError, StoreUnavailable

QUEUE_MAX = 4096
UNAVAILABLE_LOG_S = 10.0
"""How often an unavailable store is logged at most: under load every commit would log it."""

log = structlog.get_logger()

R = TypeVar("R")
T = TypeVar("T")


def _ignore(_committed: Committed) -> None:
    return None


def _no_version() -> int:
    return 0


async def _nothing_to_reload() -> None:
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
        configuration_version: Callable[[], int] = _no_version,
        reload: Callable[[], Awaitable[None]] = _nothing_to_reload,
    ) -> None:
        """Make a ledger of `store`.

        Args:
            store: where everything is kept.
            accounts: gives what decisions need to know of an account.
            ids: draws the ids of orders and cancellations.
            accounts_of: gives the accounts that each policy applies to.
            latency_s: gives how long an account's calls have recently taken, in seconds.
            router: gives who receives which messages.
            on_commit: called after every commit, when callers have their results. It must not wait.
            configuration_version: gives the version of the configuration that `accounts` and the others give; 0: that
                cannot be outdated.
            reload: loads the configuration anew, as it was found to be outdated.
        """
        self._store, self._ids = store, ids
        self._accounts, self._accounts_of = accounts, accounts_of
        self._latency_s, self._router, self._on_commit = latency_s, router, on_commit
        self._configuration_version, self._reload = configuration_version, reload
        self._writers = [Writer(self) for _ in range(store.writers)]
        """Requests about an order that wait at the same time are recorded by one of them, in turn."""
        self._closed = False
        self._commit_log = CommitLog()
        self.hot = HotOrders(store)
        """Orders that commits need not look up."""
        self._unavailable_log = LogLimiter(UNAVAILABLE_LOG_S)
        self.pauses = Pauses()
        """What may not be sent now, as read last: no decision rests on it where others write."""
        self._pauses_version = 0
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
        return sum(len(writer.queue) for writer in self._writers)

    @property
    def unfinished(self) -> int:
        """How many requests wait or are being recorded."""
        return sum(len(writer.queue) + writer.recording for writer in self._writers)

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

        if not commands:
            await self._settle()
            return []
        return await self._submit(commands, decide, patient=patient)

    async def _settle(self) -> None:
        """Return when all that waits now is recorded, by whichever writer."""

        async def nothing(_commit: Commit) -> None:
            return None

        await asyncio.gather(*(self._enqueue((), nothing, patient=True, writer=writer) for writer in self._writers))

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
                # Once, as it may be decided several times before it is committed.
                is_whole = receipt.expunged_at is None
                if receipt.status == "duplicate" and is_whole and commit.is_erased(commands):
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
        await self._add(lambda commit: commit.pause(pause, source), pauses=True)

    async def resume(self, resumption: Pause) -> None:
        """End the pause of a scope; `reason`, `since` and `by` describe the resumption."""
        await self._add(lambda commit: commit.resume(resumption), pauses=True)

    async def run(self) -> None:
        """Serve until `close`."""
        await asyncio.gather(*(writer.run(self._note_turn) for writer in self._writers))

    def close(self) -> None:
        """Take no more requests; `run` returns when the waiting ones have been recorded."""
        self._closed = True
        for writer in self._writers:
            writer.close()

    async def _add(self, change: Callable[[Commit], None], *, patient: bool = True, pauses: bool = False) -> None:
        async def apply(commit: Commit) -> None:
            change(commit)

        await self._submit((), apply, patient=patient, pauses=pauses)

    async def _submit(self, commands: Sequence[Command[Any]], work: Callable[[Commit], Awaitable[T]], **how: Any) -> T:
        if tracing.on:
            with tracing.span("commit"):
                return await self._enqueue(commands, work, **how)
        return await self._enqueue(commands, work, **how)

    async def _enqueue(
        self,
        commands: Sequence[Command[Any]],
        work: Callable[[Commit], Awaitable[T]],
        *,
        patient: bool,
        alone: bool = False,
        pauses: bool = False,
        writer: Writer | None = None,
    ) -> T:
        if self._closed:
            raise LedgerClosedError("Rescind is shutting down; nothing more is recorded")
        if not patient and self.waiting >= QUEUE_MAX:
            raise LedgerFullError(f"{self.waiting} requests wait to be recorded; try again in a moment")
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        uses_limits = not self._store.single_writer and self._uses_limits(commands)
        order = order_key(commands[0].account, commands[0].order) if commands and len(self._writers) > 1 else 0
        request = Request(commands, work, done, order=order, alone=alone, pauses=pauses, uses_limits=uses_limits)
        (writer or self._writer_of(order)).add(request)
        return await done

    def _writer_of(self, order: int) -> Writer:
        """The writer that has requests about the order, so that they are recorded in turn; else one with room."""
        writers = self._writers
        if len(writers) == 1 or not order:
            return writers[0]
        having = next((writer for writer in writers if writer.has(order)), None)
        if having is not None:
            return having
        free = next((writer for writer in writers if not writer.is_full), None)
        return free or min(writers, key=lambda writer: len(writer.queue))

    def _uses_limits(self, commands: Sequence[Command[Any]]) -> bool:
        """Whether it is for these commands that policies with limits act."""
        accounts = {command.account for command in commands if command.uses_limits}
        with suppress(KeyError):  # an account that was removed has no policies
            return any(self._accounts(account).index.limited for account in accounts)
        return False

    def _locks(self, requests: Sequence[Request[Any]]) -> Locks:
        if self._store.single_writer:
            return NO_LOCKS
        commands = (command for request in requests for command in request.commands)
        return Locks(
            self._configuration_version(),
            frozenset(command.account for command in commands if command.is_claim),
            limits=requests[0].uses_limits,
            pauses=any(request.pauses for request in requests),
        )

    async def _commit(self, requests: Sequence[Request[Any]]) -> Committed:
        metrics.COMMITS.observe(len(requests))
        began, locks = monotonic(), self._locks(requests)
        async with self._store.transaction(locks) as transaction:
            read = self.pauses if transaction.pauses is None else transaction.pauses
            pauses, accounts_of, router = Pauses(read), self._accounts_of(), self._router()
            limits = LimitWatch(self._limits.near_at)
            commit = Commit(self._accounts, self._ids, pauses, self.hot, accounts_of, self._latency_s, router, limits)
            try:
                await commit.look_up(transaction, [command for request in requests for command in request.commands])
                for request in requests:
                    commit.trace = request.trace
                    await request.apply(commit)
                changes = await commit.finish()
                if (changes.pauses or changes.resumes) and not (locks.pauses or self._store.single_writer):
                    raise UnforeseenPauseError
            finally:
                commit.release()
            await commit.write(transaction)
        commit.keep_hot()
        self._take_over(commit, transaction.pauses_version)
        metrics.COMMIT_SECONDS.observe(monotonic() - began)
        self._commit_log.add(changes)
        if commit.traces:
            trace_changes(changes, commit.traces)
        return Committed.of(changes)

    def _take_over(self, commit: Commit, pauses_version: int) -> None:
        """Take over what a commit knew at its end; another one, at the same time, may have known more."""
        near = commit.limits.near_at.items()
        self._limits = LimitWatch(
            {**self._limits.near_at, **{limit: max(at, self._limits.near_at.get(limit, at)) for limit, at in near}}
        )
        version = pauses_version + bool(commit.changes.pauses or commit.changes.resumes)
        if version >= self._pauses_version or not pauses_version:
            self.pauses, self._pauses_version = commit.pauses, version

    def _note_turn(self) -> None:
        self.turns += 1

    async def commit(self, requests: list[Request[Any]]) -> Committed:
        """Commit what `requests` ask for, for a writer."""
        return await self._commit(requests)

    async def reload(self) -> None:
        """Load the configuration anew, for a writer."""
        await self._reload()

    def done(self, requests: Sequence[Request[Any]], committed: Committed) -> None:
        """Give the callers their results, for a writer."""
        for request in requests:
            request.complete()
        self.recorded += len(requests)
        self._on_commit(committed)

    def turn_away(self, requests: Sequence[Request[Any]], error: StoreError) -> None:
        """Turn callers away, for a writer: nothing of theirs was recorded."""
        self.failures += 1
        metrics.UNAVAILABLE.inc()
        if self._unavailable_log.admit() is not None:
            log.error("store_unavailable", turned_away=len(requests), error=str(error))
        for request in requests:
            request.fail(StoreUnavailable(str(error)))


def _chance() -> float:
    return random.random()  # noqa: S311 - jitter
