"""Writes of the traffic of endpoints: additions to what is stored, as any number of nodes write about one endpoint.

They are counts for people, and not exact: what is added while the connection breaks may be added twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from app.store import codec
from app.store.postgres.connection import Session
from app.store.postgres.writes import Writes
from app.store.traffic import (
    REFUSALS_KEPT,
    STATE_COLUMNS,
    EndpointCount,
    EndpointRefusal,
    EndpointRun,
    EndpointState,
    count_row,
    read_state,
    refusal_row,
    run_row,
)

_COUNT = """INSERT INTO @endpoint_counts AS stored VALUES ($1, $2, $3, $4, $5, $6)
            ON CONFLICT (account, endpoint, status, cause) DO UPDATE
            SET count = stored.count + excluded.count, last_at = greatest(stored.last_at, excluded.last_at)"""
_REFUSAL = "INSERT INTO @endpoint_refusals VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING"
_OLD_REFUSALS = f"""DELETE FROM @endpoint_refusals WHERE account = $1 AND endpoint = $2 AND id <= (
                      SELECT id FROM @endpoint_refusals WHERE account = $1 AND endpoint = $2
                      ORDER BY id DESC LIMIT 1 OFFSET {REFUSALS_KEPT})"""
# An authentic request ends the run of refusals before it, and the silence.
_STATES = f"""INSERT INTO @endpoint_states AS stored (account, endpoint, authentic_at, refused_run, refused_since)
              SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[])
              ON CONFLICT (account, endpoint) DO UPDATE SET
                refused_run = excluded.refused_run
                  + CASE WHEN excluded.authentic_at IS NULL THEN stored.refused_run ELSE 0 END,
                refused_since = CASE WHEN excluded.authentic_at IS NULL
                  THEN coalesce(stored.refused_since, excluded.refused_since) ELSE excluded.refused_since END,
                failing_at = CASE WHEN excluded.authentic_at IS NULL THEN stored.failing_at END,
                silent_at = CASE WHEN excluded.authentic_at IS NULL THEN stored.silent_at END,
                authentic_at = greatest(stored.authentic_at, excluded.authentic_at)
              RETURNING {STATE_COLUMNS}"""
_MARK = """INSERT INTO @endpoint_states (account, endpoint, refused_run, {column}) VALUES ($1, $2, 0, $3)
           ON CONFLICT (account, endpoint) DO UPDATE SET {column} = excluded.{column}"""
_TABLES = ("endpoint_counts", "endpoint_refusals", "endpoint_states")


class TrafficWrites(Writes):
    """The part of `Store` that writes the traffic of endpoints."""

    async def add_traffic(
        self, counts: Sequence[EndpointCount], runs: Sequence[EndpointRun], refusals: Sequence[EndpointRefusal]
    ) -> list[EndpointState]:
        # All rows in the order of their keys: another node writes the same ones, and must not wait crosswise.
        counted = sorted(map(count_row, counts))
        refused = sorted(map(refusal_row, refusals))
        states = sorted(map(run_row, runs), key=lambda row: row[:2])

        async def work(db: Session) -> list[EndpointState]:
            await db.run_many(_COUNT, counted)
            await db.run_many(_REFUSAL, refused)
            await db.run_many(_OLD_REFUSALS, sorted({row[:2] for row in refused}))
            columns = zip(*states, strict=True)
            return [read_state(row) for row in await db.fetch(_STATES, *columns)] if states else []

        return await self._write(work)

    async def mark_failing(self, account: str, endpoint: str, at: datetime) -> None:
        await self._mark("failing_at", account, endpoint, at)

    async def mark_silent(self, account: str, endpoint: str, at: datetime) -> None:
        await self._mark("silent_at", account, endpoint, at)

    async def delete_refusals(self, before: int) -> None:
        await self._write(lambda db: db.run("DELETE FROM @endpoint_refusals WHERE id < $1", before))

    async def _mark(self, column: str, account: str, endpoint: str, at: datetime) -> None:
        sql, since = _MARK.format(column=column), codec.micros(at)
        await self._write(lambda db: db.run(sql, account, endpoint, since))


async def remove_traffic(db: Session, endpoints: Iterable[str]) -> None:
    """Forget endpoints that were removed: a later one of the same id is another."""
    removed = list(endpoints)
    for table in _TABLES if removed else ():
        await db.run(f"DELETE FROM @{table} WHERE endpoint = ANY($1::text[])", removed)
