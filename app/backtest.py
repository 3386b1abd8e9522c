"""A backtest as a process of its own, beside the server: it reads the log and writes nothing.

It is told on standard input what to do, and answers line by line in JSON: `{"done": …, "orders": …}` as it goes on,
`{"report": …}` at the end. It is nice to the server: it runs at a lower priority.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import aiosqlite
import msgspec
from msgspec import Struct

from app.contract import Order
from app.core import case as cases
from app.core.backtest import Simulation, shadow
from app.core.backtest_report import Report
from app.core.case import Case, is_fact
from app.core.desk import AccountView
from app.core.event import Event
from app.core.fingerprint import fingerprint
from app.core.policy import Policy
from app.prepared import policy_of, view_of
from app.specs import AccountSpec, PolicySpec
from app.store import Reader
from app.store.sqlite_reader import SqliteReader

PAGE = 500
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


async def backtest(
    reader: Reader, task: Task, policy: Policy, accounts: Sequence[AccountView], tell: Callable[[int, int], None]
) -> dict[str, Any]:
    """Run the policy over the log; `tell` is called with (orders done, orders in all)."""
    made, views = shadow(policy, accounts)
    report = Report(policy.limits, task.listed)
    total, done = await reader.count_orders(list(views)), 0

    def simulate(log: Sequence[tuple[int, Event]]) -> None:
        simulation = Simulation(made, views, task.since, task.until)
        for decided in simulation.run(log):
            report.add(decided)
        for span in simulation.spans:
            report.add_span(*span)
        report.events += len(log)

    groups = await _groups(reader, views) if made.reads_duplicates else {}
    async for page in _pages(reader, list(views)):
        for pk, events in page:
            if pk not in groups:
                simulate([(pk, event) for event in events])
        done += len(page)
        report.orders = done
        tell(done, total)
    for together in _together(groups):
        simulate(await reader.history_together(together))
    return report.summary()


async def _pages(reader: Reader, accounts: Sequence[str]) -> AsyncIterator[list[tuple[int, list[Event]]]]:
    after = 0
    while page := await reader.histories(accounts, after, PAGE):
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

    async for page in _pages(reader, list(views)):
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
    found: set[int] = set()
    case: Case | None = None
    facts: list[Event] = []
    for event in events:
        if not is_fact(event):
            continue
        case = case or Case(Order(account=event.account, id=event.order))
        case, _ = cases.apply(case, event, facts if cases.comes_late(case, event) else None)
        facts.append(event)
        mine = fingerprint(case.order, keys)
        if mine is not None:
            found.add(mine)
    return found


def _together(groups: dict[int, int]) -> list[list[int]]:
    """The members of each group."""
    members: dict[int, list[int]] = {}
    for pk, root in groups.items():
        members.setdefault(root, []).append(pk)
    return list(members.values())


async def _main() -> None:
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    policy = policy_of(PolicySpec.model_validate(task.policy))
    views = [view_of(AccountSpec.model_validate(each)) for each in task.accounts]
    uri = Path(task.database).absolute().as_uri()  # noqa: ASYNC240 - reads no file
    db = await aiosqlite.connect(f"{uri}?mode=ro", uri=True, isolation_level=None)
    try:
        report = await backtest(SqliteReader([db]), task, policy, views, _tell)
    finally:
        await db.close()
    _write({"report": report})


def _tell(done: int, orders: int) -> None:
    _write({"done": done, "orders": orders})


def _write(line: dict[str, Any]) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    os.nice(NICE)
    asyncio.run(_main())
