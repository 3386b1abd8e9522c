"""Backtests at work: each in a process of its own, one after the other."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

from app.config.models import AccountSpec, PolicySpec
from app.config.resolve import policy_of
from app.runtime import ids
from app.runtime.ids import Ids
from app.store import Backtest, Store
from app.workers.backtest_process import Task

KEPT = 50
"""How many runs are remembered; the reports of all are in the store."""
LINE_MAX = 64 << 20
STDERR_MAX = 2000

log = structlog.get_logger()


@dataclass(slots=True)
class Run:
    """One backtest."""

    id: str
    policy: str
    since: datetime
    until: datetime
    by: str
    state: str = "queued"
    """queued, running, done or failed."""
    done: int = 0
    """Orders."""
    orders: int = 0
    report: dict[str, Any] | None = None
    failure: str = ""


class Backtests:
    """Runs backtests over the database's log."""

    def __init__(self, store: Store, database: str, ids: Ids) -> None:
        self._store, self._database, self._ids = store, database, ids
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self.runs: dict[str, Run] = {}

    def start(
        self, spec: PolicySpec, accounts: Sequence[AccountSpec], since: datetime, until: datetime, by: str, listed: int
    ) -> Run:
        """Begin a backtest; it is followed by its run."""
        number = self._ids.next()
        run = Run(ids.show(ids.BACKTEST, number), spec.id, since, until, by)
        self.runs[run.id] = run
        for old in list(self.runs)[:-KEPT]:
            if self.runs[old].state in ("done", "failed"):
                del self.runs[old]
        task = Task(
            self._database, spec.model_dump(mode="json"), [_without_secrets(each) for each in accounts], since, until
        )
        task.listed = listed
        working = asyncio.create_task(self._run(run, number, task, policy_of(spec).condition_hash))
        self._tasks.add(working)
        working.add_done_callback(self._tasks.discard)
        return run

    async def stop(self) -> None:
        """End what runs."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, run: Run, number: int, task: Task, condition_hash: str) -> None:
        async with self._turn:
            run.state = "running"
            try:
                run.report = await self._follow(run, task)
                backtest = Backtest(number, run.policy, condition_hash, datetime.now(UTC), run.by, run.report)
                await self._store.save_backtest(backtest)
                run.state = "done"
            except asyncio.CancelledError:
                run.state, run.failure = "failed", "The server stopped."
                raise
            except Exception as error:
                log.exception("backtest_failed", policy=run.policy)
                run.state, run.failure = "failed", str(error)

    async def _follow(self, run: Run, task: Task) -> dict[str, Any]:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app.workers.backtest_process"),
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            limit=LINE_MAX,
            start_new_session=True,
        )
        try:
            assert process.stdin is not None and process.stdout is not None and process.stderr is not None  # noqa: PT018, S101 - all are pipes
            with suppress(ConnectionError, RuntimeError):  # it has ended already, and says below why
                process.stdin.write(msgspec.json.encode(task))
                process.stdin.close()
            async for line in process.stdout:
                told: Mapping[str, Any] = msgspec.json.decode(line)
                if "report" in told:
                    report: dict[str, Any] = told["report"]
                    return report
                run.done, run.orders = told["done"], told["orders"]
            said = (await process.stderr.read()).decode(errors="replace").strip()
            raise RuntimeError(f"The backtest ended without a report: {said[-STDERR_MAX:] or 'it was killed'}")
        finally:
            with suppress(ProcessLookupError):
                # With all that it has started: they are a session of their own.
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


def _without_secrets(account: AccountSpec) -> dict[str, Any]:
    return account.model_dump(mode="json", exclude={"config"}, exclude_unset=True)
