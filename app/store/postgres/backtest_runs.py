"""Backtests that are not done, on PostgreSQL."""

from __future__ import annotations

from datetime import datetime

from app.store import codec
from app.store.backtest_runs import CANCELED, COLUMNS, KEPT, QUEUED, RUNNING, BacktestRun, read_run, run_row
from app.store.postgres.connection import Session
from app.store.postgres.writes import Writes
from app.store.use import Use

_SAVE = f"""INSERT INTO @backtest_runs AS stored ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
            ON CONFLICT (id) DO UPDATE SET state = excluded.state, done = excluded.done, orders = excluded.orders,
            failure = excluded.failure, updated_at = excluded.updated_at WHERE stored.state <> '{CANCELED}'"""


class BacktestRuns(Writes):
    """The part of `Store` that keeps backtests that are not done."""

    async def backtest_run(self, id: int) -> BacktestRun | None:
        rows = await self._db.fetch(f"SELECT {COLUMNS} FROM @backtest_runs WHERE id = $1", id, use=Use.LOOKUPS)
        return read_run(tuple(rows[0])) if rows else None

    async def save_backtest_run(self, run: BacktestRun) -> bool:
        async def work(db: Session) -> bool:
            if run.state == QUEUED:
                old = codec.micros(run.updated_at - KEPT)
                await db.run("DELETE FROM @backtest_runs WHERE updated_at < $1", old)
            return await db.run(_SAVE, *run_row(run)) > 0

        return await self._write(work)

    async def cancel_backtest_run(self, id: int, at: datetime) -> bool:
        sql = f"""UPDATE @backtest_runs SET state = '{CANCELED}', updated_at = $2
                  WHERE id = $1 AND state IN ('{QUEUED}', '{RUNNING}')"""
        return await self._write(lambda db: db.run(sql, id, codec.micros(at))) > 0

    async def delete_backtest_run(self, id: int) -> None:
        await self._write(lambda db: db.run("DELETE FROM @backtest_runs WHERE id = $1", id))
