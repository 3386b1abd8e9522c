"""Backtests: run one after the other, each on a pool of processes of its own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from multiprocessing import active_children, get_context
from typing import Any

import structlog

from app.config.models import PolicySpec
from app.config.resolve import Account, policy_of
from app.runtime import ids
from app.runtime.ids import Ids
from app.store import Backtest, Store, StoreError
from app.store.backtest_runs import CANCELED, FAILED, QUEUED, RUNNING, BacktestRun
from app.store.opening import Database, holding_snapshot
from app.workers.backtest_process import Share, Task, begin_process, examine, plan

SAVED_S = 1.0
"""How often it is stored how far a run is."""
SILENT_S = 15.0
"""A run of which nothing was stored for so long has ended with its server."""
DONE = "done"
ENDED = frozenset({DONE, FAILED, CANCELED})
KEPT = 50
"""How many runs are remembered; the reports of all are in the store."""
PROCESSES_MAX = 4

log = structlog.get_logger()


@dataclass(slots=True)
class Run:
    """One backtest."""

    id: str
    policy: str
    since: datetime
    until: datetime
    by: str
    state: str = QUEUED
    """queued, running, done, failed or canceled."""
    done: int = 0
    """Orders that were simulated."""
    orders: int = 0
    """Orders in all."""
    report: dict[str, Any] | None = None
    failure: str = ""


class Backtests:
    """Runs backtests over the database's log. The store has how far each is, for other nodes to show and to cancel."""

    def __init__(self, store: Store, database: Database, ids: Ids) -> None:
        self._store, self._database, self._ids = store, database, ids
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self.runs: dict[str, Run] = {}

    async def start(
        self, spec: PolicySpec, accounts: Sequence[Account], since: datetime, until: datetime, by: str, listed: int
    ) -> Run:
        """Start a backtest, or queue it behind those that were started before; the run tells how far it is."""
        number = self._ids.next()
        run = Run(ids.show(ids.BACKTEST, number), spec.id, since, until, by)
        await self._store.save_backtest_run(_row(run, number))
        self.runs[run.id] = run
        for old in list(self.runs)[:-KEPT]:
            if self.runs[old].state in ENDED:
                del self.runs[old]
        task = Task(
            self._database,
            spec.model_dump(mode="json"),
            tuple(account.spec.model_dump(mode="json", exclude={"config"}, exclude_unset=True) for account in accounts),
            {account.spec.id: account.view.no_cancel for account in accounts},
            since,
            until,
            listed,
        )
        working = asyncio.create_task(self._run(run, number, task, policy_of(spec).condition_hash))
        for begun in (working, asyncio.create_task(self._follow(run, number, working))):
            self._tasks.add(begun)
            begun.add_done_callback(self._tasks.discard)
        return run

    async def _follow(self, run: Run, number: int, working: asyncio.Task[None]) -> None:
        """Store how far a run is until it has ended, and end it if it was canceled on any node."""
        while not working.done():
            await asyncio.wait([working], timeout=SAVED_S)
            if working.done() and run.state == DONE:
                break
            try:
                if not await self._store.save_backtest_run(_row(run, number)) and not working.done():
                    run.state = CANCELED
                    working.cancel()
            except StoreError as error:
                log.warning("backtest_progress_not_saved", backtest=run.id, error=str(error))

    async def stop(self) -> None:
        """End the backtest that is running, and those that are queued."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for run in self.runs.values():
            if run.state == FAILED:
                with suppress(StoreError):
                    await self._store.delete_backtest_run(ids.read(ids.BACKTEST, run.id))

    async def _run(self, run: Run, number: int, task: Task, condition_hash: str) -> None:
        async with self._turn:
            run.state = RUNNING
            try:
                async with holding_snapshot(task.database) as snapshot:
                    of_snapshot = replace(task, snapshot=snapshot)
                    run.report = await _in_processes(of_snapshot, partial(_note_progress, run))
                backtest = Backtest(number, run.policy, condition_hash, datetime.now(UTC), run.by, run.report)
                await self._store.save_backtest(backtest)
                run.state = DONE
                await self._store.delete_backtest_run(number)
            except asyncio.CancelledError:
                if run.state != CANCELED:
                    run.state, run.failure = FAILED, "The server stopped."
                raise
            except Exception as error:
                log.exception("backtest_failed", policy=run.policy)
                run.state, run.failure = FAILED, str(error)


def _row(run: Run, number: int) -> BacktestRun:
    counted = run.done, run.orders, run.failure
    return BacktestRun(number, run.policy, run.since, run.until, run.by, run.state, *counted, datetime.now(UTC))


def _note_progress(run: Run, done: int, orders: int) -> None:
    run.done, run.orders = done, orders


async def run_backtest(task: Task, pool: Executor, progress: Callable[[int, int], None]) -> dict[str, Any]:
    """Run a backtest on `pool` and return its report; `progress` is called with (orders done, orders in all)."""
    submit = partial(asyncio.get_running_loop().run_in_executor, pool)
    total, shares, report = await submit(plan, task)

    async def examined(share: Share) -> None:
        report.merge(await submit(examine, task, share))
        progress(report.orders, total)

    await asyncio.gather(*map(examined, shares))
    # A summary of a million decisions takes a second, which the server's event loop must not.
    return await submit(report.summary)


async def _in_processes(task: Task, progress: Callable[[int, int], None]) -> dict[str, Any]:
    processes = min(os.cpu_count() or 1, PROCESSES_MAX)
    pool = ProcessPoolExecutor(processes, get_context("spawn"), begin_process)
    try:
        return await run_backtest(task, pool, progress)
    except BrokenProcessPool as error:
        raise RuntimeError("One of its processes was killed; perhaps memory ran out.") from error
    finally:
        # Whatever they are doing: their work is done, or nobody wants it any more. No other part of the server starts
        # processes with multiprocessing.
        for process in active_children():
            process.kill()
        await asyncio.to_thread(pool.shutdown, cancel_futures=True)
