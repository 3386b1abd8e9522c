"""A backtest as a process of its own, beside the server: it reads the log and writes nothing.

It is told on standard input what to do, and answers line by line in JSON: `{"done": …, "orders": …}` as it goes on,
`{"report": …}` at the end. It is nice to the server: it runs at a lower priority. Orders are independent of each other,
so a long log is worked on by several processes; what is in memory at a time is a page of orders for each.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import aiosqlite
import msgspec
from msgspec import Struct

from app.config.models import AccountSpec, PolicySpec
from app.config.resolve import policy_of, view_of
from app.core.aggregate import is_fact
from app.core.backtest.report import Report
from app.core.backtest.run import Simulation, shadow
from app.core.event import Event
from app.core.folding import Replay
from app.core.policy.duplicates import fingerprint
from app.core.policy.model import Policy
from app.core.unit_of_work import AccountView
from app.store import Reader
from app.store.sqlite import SqliteReader

PAGE = 500
SHARE = 4000
"""Orders that a process works on in one go."""
SPREAD_MIN = 4
"""So few shares are done before other processes have started."""
PROCESSES_MAX = 4
_LAST = (1 << 63) - 1
NICE = 10


class Task(Struct):
    """What a backtest is told."""

    database: str
    policy: dict[str, Any]
    accounts: list[dict[str, Any]]
    """Without their credentials."""
    since: datetime
    until: datetime
    listed: int = 1000


@dataclass(frozen=True, slots=True)
class Share:
    """A part of the orders: those numbered above `after`, up to and with `until`, but for `grouped`."""

    after: int
    until: int
    grouped: frozenset[int] = frozenset()


async def backtest(
    reader: Reader, task: Task, tell: Callable[[int, int], None], spread_by: Spread | None = None
) -> dict[str, Any]:
    """Run the policy over the log; `tell` is called with (orders done, orders in all).

    `spread_by` has the shares worked on by other processes.
    """
    policy, views = _ready(task)
    accounts = list(views)
    total = await reader.count_orders(accounts)
    report = Report(policy.limits, task.listed)
    groups = await _groups(reader, views) if policy.reads_duplicates else {}
    shares = [
        Share(after, until, frozenset(pk for pk in groups if after < pk <= until))
        for after, until in pairwise([0, *await reader.every_nth_order(accounts, SHARE), _LAST])
    ]
    if spread_by is None:
        for share in shares:
            report.merge(await examine(reader, task, share))
            tell(report.orders, total)
    else:
        async for part in spread_by(task, shares):
            report.merge(part)
            tell(report.orders, total)
    for together in _together(groups):
        _simulate(report, task, policy, views, await reader.history_together(together))
    return report.summary()


async def examine(reader: Reader, task: Task, share: Share) -> Report:
    """What the policy would have decided on a share of the orders."""
    policy, views = _ready(task)
    report = Report(policy.limits, task.listed)
    async for page in _pages(reader, list(views), share):
        report.orders += len(page)
        for pk, events in page:
            if pk not in share.grouped:
                _simulate(report, task, policy, views, [(pk, event) for event in events])
    return report


def _ready(task: Task) -> tuple[Policy, dict[str, AccountView]]:
    policy = policy_of(PolicySpec.model_validate(task.policy))
    return shadow(policy, [view_of(AccountSpec.model_validate(each)) for each in task.accounts])


def _simulate(
    report: Report, task: Task, policy: Policy, views: dict[str, AccountView], log: Sequence[tuple[int, Event]]
) -> None:
    simulation = Simulation(policy, views, task.since, task.until)
    for decided in simulation.run(log):
        report.add(decided)
    for span in simulation.spans:
        report.add_span(*span)
    report.events += len(log)


async def _pages(reader: Reader, accounts: Sequence[str], share: Share) -> AsyncIterator[list[tuple[int, list[Event]]]]:
    after = share.after
    while page := await reader.histories(accounts, after, share.until, PAGE):
        yield page
        after = page[-1][0]


async def _groups(reader: Reader, views: dict[str, AccountView]) -> dict[int, int]:
    """Orders that were at any time the same as another: number → the number that stands for its group."""
    first: dict[tuple[str, int], int] = {}
    parent: dict[int, int] = {}

    def root(pk: int) -> int:
        while parent[pk] != pk:
            parent[pk] = pk = parent[parent[pk]]
        return pk

    async for page in _pages(reader, list(views), Share(0, _LAST)):
        for pk, events in page:
            account = views[events[0].account] if events else None
            for found in _fingerprints(events, account.rules.duplicate_keys if account else ()):
                other = first.setdefault((events[0].account, found), pk)
                if other != pk:
                    parent.setdefault(pk, pk)
                    parent.setdefault(other, other)
                    parent[root(pk)] = root(other)
    return {pk: root(pk) for pk in list(parent)}


def _fingerprints(events: Sequence[Event], keys: Sequence[str]) -> set[int]:
    """All that an order had at some time, as it became known."""
    found: set[int | None] = set()
    replayed: Replay | None = None
    for _, together in groupby(filter(is_fact, events), lambda event: event.receipt or event.id):
        for event in together:
            if replayed is None:
                replayed = Replay(event)
            else:
                replayed.add(event)
        if replayed is not None:
            found.add(fingerprint(replayed.aggregate.order, keys))
    return {each for each in found if each is not None}


def _together(groups: dict[int, int]) -> list[list[int]]:
    """The members of each group."""
    members: dict[int, list[int]] = {}
    for pk, root in groups.items():
        members.setdefault(root, []).append(pk)
    return list(members.values())


Spread = Callable[[Task, Sequence[Share]], AsyncIterator[Report]]


async def spread(task: Task, shares: Sequence[Share]) -> AsyncIterator[Report]:
    """Have a few processes work on the shares."""
    if len(shares) < SPREAD_MIN:
        async with _reading(task) as reader:
            for share in shares:
                yield await examine(reader, task, share)
        return
    processes = min(os.cpu_count() or 1, PROCESSES_MAX)
    with ProcessPoolExecutor(processes, get_context("spawn"), _begin_process) as pool:
        loop = asyncio.get_running_loop()
        working = [loop.run_in_executor(pool, _examine_share, task, share) for share in shares]
        for done in asyncio.as_completed(working):
            yield await done


def _begin_process() -> None:
    os.nice(NICE)
    # Nothing here makes cycles, and looking for them is a fifth of the time.
    gc.disable()


def _examine_share(task: Task, share: Share) -> Report:
    async def work() -> Report:
        async with _reading(task) as reader:
            return await examine(reader, task, share)

    return asyncio.run(work())


@asynccontextmanager
async def _reading(task: Task) -> AsyncIterator[Reader]:
    uri = Path(task.database).absolute().as_uri()  # noqa: ASYNC240 - reads no file
    db = await aiosqlite.connect(f"{uri}?mode=ro", uri=True, isolation_level=None)
    try:
        yield SqliteReader([db])
    finally:
        await db.close()


async def _main() -> None:
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    async with _reading(task) as reader:
        report = await backtest(reader, task, _tell, spread)
    _write({"report": report})


def _tell(done: int, orders: int) -> None:
    _write({"done": done, "orders": orders})


def _write(line: dict[str, Any]) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    _begin_process()
    asyncio.run(_main())
