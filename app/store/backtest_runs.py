"""What a store keeps of backtests that are not done, so that every node can show and cancel them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

from app.store import codec

COLUMNS = "id, policy, since, until, by, state, done, orders, failure, updated_at"
KEPT = timedelta(days=7)
"""Runs that ended without a report are kept so long."""
QUEUED, RUNNING, FAILED, CANCELED = "queued", "running", "failed", "canceled"


class BacktestRun(NamedTuple):
    """A backtest that is queued or under way, or ended without a report."""

    id: int
    policy: str
    since: datetime
    until: datetime
    by: str
    state: str
    """queued, running, failed or canceled."""
    done: int
    """Orders that were simulated."""
    orders: int
    """Orders in all."""
    failure: str
    updated_at: datetime


def run_row(run: BacktestRun) -> tuple[Any, ...]:
    """The `COLUMNS` of a run."""
    times = {name: codec.micros(getattr(run, name)) for name in ("since", "until", "updated_at")}
    return tuple({**run._asdict(), **times}.values())


def read_run(row: Sequence[Any]) -> BacktestRun:
    """A run from its `COLUMNS`."""
    run = BacktestRun(*row)
    return run._replace(since=codec.moment(row[2]), until=codec.moment(row[3]), updated_at=codec.moment(row[9]))


class BacktestRunStore(Protocol):
    """Backtests that are not done."""

    async def backtest_run(self, id: int) -> BacktestRun | None: ...

    async def save_backtest_run(self, run: BacktestRun) -> bool:
        """Store how far a run is; False if it was canceled, and stays so. Old runs are deleted with a new one."""

    async def cancel_backtest_run(self, id: int, at: datetime) -> bool:
        """Cancel a run that is queued or running; False if there is no such run."""

    async def delete_backtest_run(self, id: int) -> None:
        """Forget a run, whose report is stored."""
