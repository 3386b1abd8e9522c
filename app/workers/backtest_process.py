"""What the processes of a backtest do: they read the log, simulate orders, and write nothing.

Orders are independent of each other but for duplicates, so that the log is divided into shares of some thousand orders,
and duplicates are simulated together. In memory at a time is one page of orders for each process.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from bisect import bisect_left
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby, pairwise
from multiprocessing import parent_process
from threading import Thread
from typing import Any

from app.config.models import AccountSpec, PolicySpec
from app.config.resolve import policy_of, view_of
from app.core.aggregate import is_fact
from app.core.backtest.report import Report
from app.core.backtest.run import Simulation, in_shadow
from app.core.event import Event
from app.core.folding import Replay
from app.core.policy.duplicates import fingerprint
from app.core.policy.model import Policy
from app.core.unit_of_work import AccountView
from app.store import Reader
from app.store.opening import Database, reading_alone

PAGE = 500
"""Orders that are read at once."""
NICE = 10
"""Processes of backtests run at a lower priority than the server."""
_LAST = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Task:
    """A backtest to run."""

    database: Database
    policy: dict[str, Any]
    accounts: tuple[dict[str, Any], ...]
    """Without their configuration, which holds credentials."""
    no_cancel: dict[str, str | None]
    """Account → why it cancels nothing, where its provider offers no cancel."""
    since: datetime
    until: datetime
    listed: int = 1000
    """How many decisions the report lists, the earliest."""
    snapshot: str = ""
    """What all its processes read (`holding_snapshot`)."""
    share: int = 4000
    """How many orders a process works on in one go."""

    def prepared(self) -> tuple[Policy, dict[str, AccountView]]:
        """The policy in shadow mode, and its accounts."""
        views = [view_of(AccountSpec.model_validate(account)) for account in self.accounts]
        views = [replace(view, no_cancel=self.no_cancel.get(view.id)) for view in views]
        return in_shadow(policy_of(PolicySpec.model_validate(self.policy)), views)


@dataclass(slots=True)
class Share:
    """A part of the orders: those numbered above `after`, up to and with `until`."""

    after: int
    until: int
    groups: list[list[int]] = field(default_factory=list)
    """Duplicates, to be simulated together: a group is in the share of its first order."""
    grouped: set[int] = field(default_factory=set)
    """Orders of this range that are in a group, of whichever share."""


def begin_process() -> None:
    """Prepare a process: it leaves Ctrl-C to the server, and ends when the server has ended, however that ended."""
    os.nice(NICE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Nothing here makes cycles, and looking for them is a fifth of the time.
    gc.disable()
    Thread(target=_end_with_server, daemon=True).start()


def _end_with_server() -> None:
    server = parent_process()
    if server is not None:
        server.join()
        os._exit(1)


def plan(task: Task) -> tuple[int, list[Share], Report]:
    """How many orders there are, the shares into which they are divided, and a report that is still empty."""
    return asyncio.run(_plan(task))


def examine(task: Task, share: Share) -> Report:
    """What the policy would have decided on a share of the orders."""
    return asyncio.run(_examine(task, share))


async def _plan(task: Task) -> tuple[int, list[Share], Report]:
    policy, views = task.prepared()
    accounts = list(views)
    async with _reading(task) as reader:
        total = await reader.count_orders(accounts)
        limits = pairwise([0, *await reader.every_nth_order(accounts, task.share), _LAST])
        shares = [Share(after, until) for after, until in limits]
        groups = await _groups(reader, views) if policy.reads_duplicates else []
    ends = [share.until for share in shares]
    for group in groups:
        shares[bisect_left(ends, min(group))].groups.append(group)
        for pk in group:
            shares[bisect_left(ends, pk)].grouped.add(pk)
    return total, shares, Report(policy.limits, task.listed)


async def _examine(task: Task, share: Share) -> Report:
    policy, views = task.prepared()
    report = Report(policy.limits, task.listed)

    def simulate(log: Sequence[tuple[int, Event]]) -> None:
        simulation = Simulation(policy, views, task.since, task.until)
        for decision in simulation.run(log):
            report.add(decision)
        for opened, closed in simulation.open_times:
            report.add_open_time(opened, closed)
        report.events += len(log)

    async with _reading(task) as reader:
        async for page in _pages(reader, list(views), share):
            report.orders += len(page)
            for pk, events in page:
                if pk not in share.grouped:
                    simulate([(pk, event) for event in events])
        for group in share.groups:
            simulate(await reader.history_together(group))
    return report


async def _pages(reader: Reader, accounts: Sequence[str], share: Share) -> AsyncIterator[list[tuple[int, list[Event]]]]:
    after = share.after
    while page := await reader.histories(accounts, after, share.until, PAGE):
        yield page
        after = page[-1][0]


async def _groups(reader: Reader, views: dict[str, AccountView]) -> list[list[int]]:
    """The numbers of orders that were duplicates of each other at any time, also by way of others."""
    first: dict[tuple[str, int], int] = {}
    parent: dict[int, int] = {}

    def root(pk: int) -> int:
        while parent[pk] != pk:
            parent[pk] = pk = parent[parent[pk]]
        return pk

    async for page in _pages(reader, list(views), Share(0, _LAST)):
        for pk, events in page:
            account = views[events[0].account] if events else None
            for mark in _fingerprints(events, account.rules.duplicate_keys if account else ()):
                other = first.setdefault((events[0].account, mark), pk)
                if other != pk:
                    parent.setdefault(pk, pk)
                    parent.setdefault(other, other)
                    parent[root(pk)] = root(other)
    groups: dict[int, list[int]] = {}
    for pk in list(parent):
        groups.setdefault(root(pk), []).append(pk)
    return list(groups.values())


def _fingerprints(events: Sequence[Event], keys: Sequence[str]) -> set[int]:
    """All fingerprints that an order has had, as its events became known."""
    marks: set[int | None] = set()
    replayed: Replay | None = None
    for _, together in groupby(filter(is_fact, events), lambda event: event.receipt or event.id):
        for event in together:
            if replayed is None:
                replayed = Replay(event)
            else:
                replayed.add(event)
        if replayed is not None:
            marks.add(fingerprint(replayed.aggregate.order, keys))
    return {mark for mark in marks if mark is not None}


def _reading(task: Task) -> AbstractAsyncContextManager[Reader]:
    return reading_alone(task.database, task.snapshot)
