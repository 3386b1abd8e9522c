"""Queries for attempts, lanes and pauses."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from app.core.attempt import Attempt, Uptime
from app.core.lane.state import LaneState
from app.core.pauses import Pause
from app.runtime import ids
from app.store import codec
from app.store.postgres.read.events import of_order
from app.store.postgres.read.owned import OWNED, OwnedQueries
from app.store.use import Use

_LOOKED_AT = 1000
"""How many of the latest attempts are searched for cancels: an account may have had millions of probes since."""
# UNION, not UNION ALL: an attempt may have ended within the period by both clocks.
_WITHIN = """SELECT id, $1 - ended_at, CASE WHEN boot = $4 THEN $5 - ended_up END, calls FROM @attempts
    WHERE account = $2 AND ended_at > $1 - $3 AND calls > 0
    UNION
    SELECT id, $1 - ended_at, $5 - ended_up, calls FROM @attempts
    WHERE account = $2 AND boot = $4 AND ended_up > $5 - $3 AND calls > 0
    UNION
    SELECT id, 0, NULL, calls - 1 FROM @attempts WHERE account = $2 AND ended_at IS NULL AND calls > 1"""
_CALLS_WITHIN = _WITHIN.replace("$1", "$1::bigint").replace("$3", "$3::bigint").replace("$5", "$5::bigint")


class AttemptQueries(OwnedQueries):
    """The part of `Reader` about attempts, lanes and pauses."""

    async def attempts(self, order_pk: int, limit: int) -> list[Attempt]:
        sql = f"SELECT {codec.ATTEMPT_COLUMNS} FROM @attempts WHERE {of_order('$1')} ORDER BY id DESC LIMIT $2"
        return [codec.read_attempt(tuple(row)) for row in await self._db.fetch(sql, order_pk, limit)]

    async def attempt(self, id: int) -> Attempt | None:
        sql = f"SELECT {codec.ATTEMPT_COLUMNS} FROM @attempts WHERE id = $1"
        rows = await self._db.fetch(sql, id, use=Use.LOOKUPS)
        return codec.read_attempt(tuple(rows[0])) if rows else None

    async def latencies_s(self, account: str, limit: int) -> list[float]:
        sql = """SELECT ended_at - started_at FROM (
                     SELECT * FROM @attempts WHERE account = $1 AND ended_at > 0 ORDER BY ended_at DESC LIMIT $2
                 ) AS latest WHERE kind = 'cancel' AND outcome <> 'interrupted' AND calls > 0
                 ORDER BY ended_at DESC LIMIT $3"""
        rows = await self._db.fetch(sql, account, _LOOKED_AT, limit, use=Use.WORK)
        return [took / 1e6 for (took,) in reversed(rows)]

    async def unfinished_attempts(self, accounts: Collection[str] | None = None) -> list[Attempt]:
        sql = f"""SELECT {codec.ATTEMPT_COLUMNS} FROM @attempts WHERE ended_at IS NULL
                  AND ($2::text[] IS NULL AND {OWNED} OR account = ANY($2))"""
        rows = await self._db.fetch(sql, self.epoch, None if accounts is None else list(accounts), use=Use.WORK)
        return [codec.read_attempt(tuple(row)) for row in rows]

    async def calls_within(
        self, account: str, period_s: float, now: datetime, up: Uptime | None
    ) -> list[tuple[float, int]]:
        values = (codec.micros(now), account, int(period_s * 1e6), up and up.boot, up and up.micros)
        rows = await self._db.fetch(_CALLS_WITHIN, *values, use=Use.WORK)
        ages = [(min(age for age in by_clock if age is not None), calls) for _, *by_clock, calls in rows]
        return [(max(0, age) / 1e6, calls) for age, calls in ages]

    async def lane(self, account: str) -> LaneState | None:
        rows = await self._db.fetch("SELECT state FROM @lanes WHERE account = $1", account)
        return codec.read_lane(rows[0][0]) if rows else None

    async def lanes(self) -> dict[str, LaneState]:
        rows = await self._db.fetch("SELECT account, state FROM @lanes", use=Use.WORK)
        return {account: codec.read_lane(state) for account, state in rows}

    async def orders_under_way(self) -> dict[str, int]:
        sql = "SELECT account, count(*) FROM @jobs WHERE sending = 1 GROUP BY account"
        return {row[0]: row[1] for row in await self._db.fetch(sql, use=Use.WORK)}

    async def heard_since(self, account: str, since: datetime) -> bool:
        sql = "SELECT EXISTS (SELECT 1 FROM @receipts WHERE account = $1 AND id >= $2)"
        rows = await self._db.fetch(sql, account, ids.at(codec.micros(since) // 1000), use=Use.WORK)
        return bool(rows[0][0])

    async def pauses(self) -> list[Pause]:
        rows = await self._db.fetch("SELECT scope, reason, since, by FROM @pauses", use=Use.WORK)
        return [codec.read_pause(tuple(row)) for row in rows]
