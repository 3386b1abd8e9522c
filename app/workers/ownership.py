"""Ownership: what this node does, of all that only one node may do at a time.

Every node reckons by rendezvous hashing which live node should own a subject, so all agree without asking each other,
and a node that comes or goes moves only its share. A node takes what should be its own and has no owner, and gives up
what should not be, once nothing of it is under way. What it owns is in its hands until its lease ends.
"""

from __future__ import annotations

import asyncio
import math
import platform
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Protocol

import structlog

from app import __version__
from app.runtime.ids import Ids
from app.runtime.time_slice import TimeSlice
from app.store import Store, StoreError, StoreFenced
from app.store.node_protocol import ACCOUNT, CLAIM_S, HEARTBEAT_S, NODES, LiveNode, NodeChanges, Renewal

LOOK_S = 1.0
COMPARE_S = 15.0
"""How often what is worked on is compared with what the store says."""
BEAT_MIN_S = 0.05
OFFSET_MAX_S = 1.0
"""A node whose clock differs by more from the database's is not ready."""

log = structlog.get_logger()


class Work(Protocol):
    """What is done with subjects."""

    def wanted(self) -> Collection[str]:
        """All that somebody must own."""

    async def recover(self, accounts: Collection[str] | None, delay: timedelta) -> Collection[str]:
        """Record calls that a former owner of these accounts (None: of any) had under way as ended, after so long.

        Returns the accounts that had any.
        """

    async def start(self, subjects: Collection[str]) -> None:
        """Begin to work on these."""

    async def finish(self, subject: str) -> None:
        """Begin nothing more for this one, and wait for what is under way."""

    def drop(self, subjects: Collection[str]) -> None:
        """Stop at once: these are another node's, or gone."""


def chosen(subject: str, nodes: Iterable[LiveNode]) -> int:
    """The epoch of the node that should own a subject; 0 without nodes."""
    text = subject.encode()

    def weight(node: LiveNode) -> bytes:
        return blake2b(text, digest_size=8, key=node.epoch.to_bytes(8, "big")).digest()

    return max(nodes, key=weight).epoch if nodes else 0


async def _ignore(_changes: NodeChanges) -> None:
    return None


class Ownership:
    """The lease of this node, and what it owns."""

    def __init__(self, store: Store, ids: Ids, work: Work) -> None:
        self._store, self._ids, self._work = store, ids, work
        self.follow: Callable[[NodeChanges], Awaitable[None]] = _ignore
        """Told each second what has changed in a store that nodes share."""
        self.nodes: tuple[LiveNode, ...] = ()
        """All that are alive."""
        self.offset_s = 0.0
        """The database's clock minus this machine's; at least so much, however long the response took."""
        self.owned: set[str] = set()
        """Subjects that are worked on, or will be when the calls of a former owner can be out no more."""
        self.draining = False
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self._waiting: dict[str, asyncio.TimerHandle] = {}
        """Subjects whose former owner may have had a call out a moment ago."""
        self._starting: set[asyncio.Task[None]] = set()
        self._choices: dict[str, int] = {}
        self._chosen_among: tuple[tuple[int, bool], ...] = ()
        self._settling = asyncio.Lock()
        self._woken = asyncio.Event()
        self._fenced = False
        self._stopped = False
        self._next_end_s = math.inf
        self._left = asyncio.Event()
        self._compare_at = 0.0

    @property
    def fault(self) -> str:
        """What keeps the node from working; empty if nothing does."""
        lease = self._store.lease
        if self._fenced or lease is None or lease.left_s <= 0:
            return "the lease of this node has ended"
        if self.draining:
            return "draining"
        if abs(self.offset_s) > OFFSET_MAX_S:
            return f"this machine's clock differs from the database's by {self.offset_s:+.1f} s"
        return ""

    def now(self) -> datetime:
        """The time by the database's clock."""
        return datetime.now(UTC) + timedelta(seconds=self.offset_s)

    def owns(self, subject: str) -> bool:
        """Whether this node works on the subject."""
        return subject in self.owned and subject not in self._waiting

    async def join(self) -> None:
        """Begin the lease. Raises `StoreError`."""
        renewal = await self._store.join(platform.node() or "node", __version__)
        self._ids.take(renewal.lease.number)
        self._ids.follow(renewal.last_id)
        self._note(renewal)
        self._fenced = False

    async def leave(self) -> None:
        """End the lease: nothing is under way any more."""
        await self._store.leave()
        await self._store.wake([NODES])

    def drain(self) -> None:
        """Give everything up, for other nodes to take."""
        self.draining = True
        self.wake()

    def wake(self) -> None:
        """Look at everything now."""
        self._woken.set()

    def look_at_nodes(self) -> None:
        """A node has left."""
        self._left.set()

    async def beat(self) -> None:
        """Prolong the lease until canceled, and see which nodes are alive: also when the next lease may have ended."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(HEARTBEAT_S, self._next_end_s + BEAT_MIN_S)):
                    await self._left.wait()
            self._left.clear()
            self._next_end_s = math.inf
            if self._fenced:
                continue
            try:
                self._note(await self._store.renew(self._ids.last, draining=self.draining))
            except StoreFenced:
                self._lose()
            except StoreError as error:
                log.warning("lease_not_renewed", error=str(error))

    async def run(self) -> None:
        """Take, give up and look, until canceled."""
        while True:
            self._woken.clear()
            try:
                if self._fenced:
                    await self.join()
                    log.warning("joined_anew", **self.describe())
                await self.settle()
                if self._store.lease is not None and self._store.lease.epoch:
                    await self._compare()
                    await self.follow(await self._store.changes())
            except StoreFenced:
                self._lose()
            except StoreError as error:
                log.warning("ownership_waits", error=str(error))
            except Exception:
                log.exception("ownership_failed")
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def settle(self, *, first: bool = False) -> None:
        """Take what should be this node's, and give up what should not. `first`: since the start. Not after `stop`."""
        async with self._settling:
            if self._stopped:  # the resources may still change, by a secret that a provider makes
                return
            wanted = set(self._work.wanted())
            gone = self.owned - wanted
            self._drop(gone)
            mine = await self._choose(wanted)
            for subject in (self.owned & wanted) - mine - self._leaving.keys():
                self._leaving[subject] = asyncio.create_task(self._give_up(subject), name=f"give up {subject}")
            missing = mine - self.owned
            if missing:
                await self._take(missing, first=first)
            elif first:
                await self._work.recover(None, timedelta())
            await self._store.release(gone)

    async def stop(self) -> None:
        """End the tasks that take and give up."""
        self._stopped = True
        for handle in self._waiting.values():
            handle.cancel()
        tasks = [*self._leaving.values(), *self._starting]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def describe(self) -> dict[str, int]:
        """Which node this is, for log lines."""
        lease = self._store.lease
        return {} if lease is None else {"node": lease.number, "epoch": lease.epoch}

    def _note(self, renewal: Renewal) -> None:
        if renewal.nodes != self.nodes:
            self.nodes = renewal.nodes
            self.wake()
        self.offset_s, self._next_end_s = renewal.offset_s, renewal.next_end_s

    async def _compare(self) -> None:
        """Give up what the store says is this node's and is not worked on, and drop what it says is not.

        A commit of which the answer was lost makes such a difference; no other node could take the subject.
        """
        now = asyncio.get_running_loop().time()
        if now < self._compare_at:
            return
        async with self._settling:
            stored = await self._store.owned()
            unknown, lost = stored - self.owned, self.owned - stored - self._leaving.keys()
            if unknown or lost:
                log.warning("ownership_differs", unknown=len(unknown), lost=len(lost), **self.describe())
            self._drop(lost)
            await self._store.release(unknown)
        self._compare_at = now + COMPARE_S

    def _lose(self) -> None:
        """Another node has ended the lease, and works on what was this one's."""
        if not self._fenced:
            self._fenced = True
            log.error("lease_lost", subjects=len(self.owned))
            self._drop(set(self.owned))
            self.wake()

    def _drop(self, subjects: Collection[str]) -> None:
        for subject in subjects:
            if subject in self._waiting:
                self._waiting.pop(subject).cancel()
            if subject in self._leaving:
                self._leaving.pop(subject).cancel()
        self.owned.difference_update(subjects)
        self._work.drop(subjects)

    async def _choose(self, wanted: Collection[str]) -> set[str]:
        """Those that should be this node's."""
        lease = self._store.lease
        if lease is None:
            return set()
        if not lease.epoch:
            return set(wanted)
        able = [node for node in self.nodes if not node.draining and (node.epoch != lease.epoch or not self.draining)]
        among = tuple((node.epoch, node.draining) for node in able)
        if among != self._chosen_among:
            self._choices, self._chosen_among = {}, among
        time_slice = TimeSlice()
        for subject in wanted:
            if subject not in self._choices:
                self._choices[subject] = chosen(subject, able)
                await time_slice.pause()
        return {subject for subject in wanted if self._choices[subject] == lease.epoch}

    async def _take(self, subjects: Collection[str], *, first: bool) -> None:
        taken = await self._store.take(subjects)
        if not taken:
            return
        accounts = {subject.removeprefix(ACCOUNT) for subject in taken if subject.startswith(ACCOUNT)}
        single = self._store.lease is not None and not self._store.lease.epoch
        # A call of the former owner may leave for so long after its claim was committed.
        delay = timedelta() if single else timedelta(seconds=CLAIM_S)
        left = await self._work.recover(None if first and single else accounts, delay) if accounts else ()
        waiting = {ACCOUNT + account for account in left} & taken.keys() if delay else set()
        self.owned.update(taken)
        loop = asyncio.get_running_loop()
        for subject in waiting:
            self._waiting[subject] = loop.call_later(CLAIM_S, self._start_later, subject)
        await self._work.start(taken.keys() - waiting)
        if not single:
            log.info("took", subjects=len(taken), interrupted=len(waiting), **self.describe())

    def _start_later(self, subject: str) -> None:
        self._waiting.pop(subject, None)
        if subject in self.owned and subject not in self._leaving:
            task = asyncio.create_task(self._work.start([subject]))
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)

    async def _give_up(self, subject: str) -> None:
        try:
            await self._work.finish(subject)
            self._work.drop([subject])
            while True:
                try:
                    await self._store.release([subject])
                    break
                except StoreError as error:
                    log.warning("release_waits", subject=subject, error=str(error))
                    await asyncio.sleep(LOOK_S)
            self.owned.discard(subject)
        finally:
            self._leaving.pop(subject, None)
