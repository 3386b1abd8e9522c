"""Backtests that are not done, on SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from app.store import codec
from app.store.backtest_runs import CANCELED, COLUMNS, KEPT, QUEUED, RUNNING, BacktestRun, read_run, run_row
from app.store.sqlite.connection import Queries
from app.store.sqlite.statements import marks
from app.store.use import Use

T = TypeVar("T")
_SAVE = f"""INSERT INTO backtest_runs ({COLUMNS}) VALUES ({{marks}}) ON CONFLICT (id) DO UPDATE
            SET state = excluded.state, done = excluded.done, orders = excluded.orders, failure = excluded.failure,
            updated_at = excluded.updated_at WHERE backtest_runs.state <> '{CANCELED}'"""


class BacktestRuns(Queries):
    """The part of the store that keeps backtests that are not done."""

    async def backtest_run(self, id: int) -> BacktestRun | None:
        rows = await self._db.fetch(f"SELECT {COLUMNS} FROM backtest_runs WHERE id = ?", (id,), Use.LOOKUPS)
        return read_run(rows[0]) if rows else None

    async def save_backtest_run(self, run: BacktestRun) -> bool:
        row = run_row(run)

        def work(db: sqlite3.Connection) -> bool:
            if run.state == QUEUED:
                db.execute("DELETE FROM backtest_runs WHERE updated_at < ?", (codec.micros(run.updated_at - KEPT),))
            return db.execute(_SAVE.format(marks=marks(row)), row).rowcount > 0

        return await self._write(work)

    async def cancel_backtest_run(self, id: int, at: datetime) -> bool:
        sql = f"""UPDATE backtest_runs SET state = '{CANCELED}', updated_at = ?
                  WHERE id = ? AND state IN ('{QUEUED}', '{RUNNING}')"""
        return await self._write(lambda db: db.execute(sql, (codec.micros(at), id)).rowcount > 0)

    async def delete_backtest_run(self, id: int) -> None:
        await self._write(lambda db: db.execute("DELETE FROM backtest_runs WHERE id = ?", (id,)).rowcount)

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        raise NotImplementedError
