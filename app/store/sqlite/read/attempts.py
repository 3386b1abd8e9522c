"""Queries for calls to providers."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from app.core.attempt import Attempt, Uptime
from app.core.lane.state import LaneState
from app.core.pauses import Pause
from app.runtime import ids
from app.store import codec
from app.store.attempt_lists import AttemptLists
from app.store.filters import AttemptFilter
from app.store.sqlite.connection import Queries
from app.store.use import Use
from app.store.where import Where

_LOOKED_AT = 1000
"""How many of the latest attempts are searched for cancels: an account may have had millions of probes since."""


class AttemptQueries(AttemptLists, Queries):
    """The part of `Reader` about attempts, lanes and pauses."""

    _attempts = "attempts"

    async def attempts(self, order_pk: int, limit: int) -> list[Attempt]:
        sql = f"SELECT {codec.ATTEMPT_COLUMNS} FROM attempts WHERE order_pk = ? ORDER BY id DESC LIMIT ?"
        return [codec.read_attempt(row) for row in await self._db.fetch(sql, (order_pk, limit))]

    async def attempt(self, id: int) -> Attempt | None:
        sql = f"SELECT {codec.ATTEMPT_COLUMNS} FROM attempts WHERE id = ?"
        rows = await self._db.fetch(sql, (id,), Use.LOOKUPS)
        return codec.read_attempt(rows[0]) if rows else None

    def _add_order(self, where: Where, wanted: AttemptFilter) -> None:
        where.add("order_pk = (SELECT order_pk FROM cancellations WHERE id = ?)", wanted.cancellation)

    async def latencies_s(self, account: str, limit: int) -> list[float]:
        sql = """SELECT ended_at - started_at FROM (
                     SELECT * FROM attempts WHERE account = ? AND ended_at > 0 ORDER BY ended_at DESC LIMIT ?)
                 WHERE kind = 'cancel' AND outcome <> 'interrupted' AND calls > 0 ORDER BY ended_at DESC LIMIT ?"""
        rows = await self._db.fetch(sql, (account, _LOOKED_AT, limit), Use.WORK)
        return [took / 1e6 for (took,) in reversed(rows)]

    async def unfinished_attempts(self, accounts: Collection[str] | None = None) -> list[Attempt]:
        sql = f"SELECT {codec.ATTEMPT_COLUMNS} FROM attempts WHERE ended_at IS NULL"
        attempts = [codec.read_attempt(row) for row in await self._db.fetch(sql, (), Use.WORK)]
        return [attempt for attempt in attempts if accounts is None or attempt.account in accounts]

    async def calls_within(
        self, account: str, period_s: float, now: datetime, up: Uptime | None
    ) -> list[tuple[float, int]]:
        # UNION, not UNION ALL: an attempt may have ended within it by both clocks.
        sql = """SELECT id, :now - ended_at, iif(boot = :boot, :up - ended_up, NULL), calls FROM attempts
                 WHERE account = :account AND ended_at > :now - :within AND calls > 0
                 UNION
                 SELECT id, :now - ended_at, :up - ended_up, calls FROM attempts
                 WHERE account = :account AND boot = :boot AND ended_up > :up - :within AND calls > 0
                 UNION
                 SELECT id, 0, NULL, calls - 1 FROM attempts
                 WHERE account = :account AND ended_at IS NULL AND calls > 1"""
        clocks = {"now": codec.micros(now), "boot": up and up.boot, "up": up and up.micros}
        rows = await self._db.fetch(sql, {"account": account, "within": int(period_s * 1e6), **clocks}, Use.WORK)
        ages = [(min(age for age in by_clock if age is not None), calls) for _, *by_clock, calls in rows]
        return [(max(0, age) / 1e6, calls) for age, calls in ages]

    async def lane(self, account: str) -> LaneState | None:
        rows = await self._db.fetch("SELECT state FROM lanes WHERE account = ?", (account,))
        return codec.read_lane(rows[0][0]) if rows else None

    async def lanes(self) -> dict[str, LaneState]:
        rows = await self._db.fetch("SELECT account, state FROM lanes", use=Use.WORK)
        return {account: codec.read_lane(state) for account, state in rows}

    async def orders_under_way(self) -> dict[str, int]:
        sql = "SELECT account, count(*) FROM jobs WHERE sending = 1 GROUP BY account"
        return dict(await self._db.fetch(sql, use=Use.WORK))

    async def heard_since(self, account: str, since: datetime) -> bool:
        sql = "SELECT EXISTS (SELECT 1 FROM receipts WHERE account = ? AND id >= ?)"
        rows = await self._db.fetch(sql, (account, ids.at(codec.micros(since) // 1000)), Use.WORK)
        return bool(rows[0][0])

    async def account_secrets(self, account: str) -> bytes | None:
        rows = await self._db.fetch("SELECT sealed FROM account_secrets WHERE account = ?", (account,), Use.WORK)
        return rows[0][0] if rows else None

    async def pauses(self) -> list[Pause]:
        return [
            codec.read_pause(row)
            for row in await self._db.fetch("SELECT scope, reason, since, by FROM pauses", use=Use.WORK)
        ]
