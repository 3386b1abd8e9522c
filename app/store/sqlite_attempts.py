"""Questions to SQLite about calls: those that were made, and those that are out."""

from __future__ import annotations

from datetime import datetime

from app.runtime.uptime import Uptime
from app.store import Attempt, codec
from app.store.sqlite_configuration import Use
from app.store.sqlite_decisions import SqliteDecisions

_LOOKED_AT = 1000
"""Among so many attempts the latest cancels are looked for: an account may have had millions of probes since."""


class SqliteAttempts(SqliteDecisions):
    """The part of `Reader` that is about attempts."""

    async def attempts(self, order_pk: int, limit: int) -> list[Attempt]:
        """See `Reader.attempts`."""
        sql = f"SELECT {codec.ATTEMPT_COLUMNS} FROM attempts WHERE order_pk = ? ORDER BY id DESC LIMIT ?"
        return [codec.read_attempt(row) for row in await self._ask(sql, (order_pk, limit))]

    async def latencies_s(self, account: str, limit: int) -> list[float]:
        """See `Reader.latencies_s`."""
        sql = """SELECT ended_at - started_at FROM (
                     SELECT * FROM attempts WHERE account = ? AND ended_at > 0 ORDER BY ended_at DESC LIMIT ?)
                 WHERE kind = 'cancel' AND outcome <> 'interrupted' AND calls > 0 ORDER BY ended_at DESC LIMIT ?"""
        rows = await self._ask(sql, (account, _LOOKED_AT, limit), Use.WORK)
        return [took / 1e6 for (took,) in reversed(rows)]

    async def waiting_probes(self, account: str, most: int) -> tuple[int, datetime | None]:
        """See `Reader.waiting_probes`."""
        wanted = "FROM jobs WHERE account = :account AND kind = 'probe' AND cancellation IS NULL"
        sql = f"""SELECT (SELECT count(*) FROM (SELECT 1 {wanted} LIMIT :most)),
                         (SELECT due_at {wanted} ORDER BY due_at DESC LIMIT 1)"""
        ((count, last),) = await self._ask(sql, {"account": account, "most": most})
        return count, codec.moment_or_none(last)

    async def lapsed(self, now: datetime, limit: int) -> list[tuple[int, str, str]]:
        """See `Reader.lapsed`."""
        sql = "SELECT order_pk, account, name FROM jobs WHERE sending AND due_at <= ? ORDER BY due_at LIMIT ?"
        rows = await self._ask(sql, (codec.micros(now), limit), Use.WORK)
        return [(pk, account, name) for pk, account, name in rows]

    async def unfinished_attempts(self) -> list[Attempt]:
        """See `Reader.unfinished_attempts`."""
        rows = await self._ask(f"SELECT {codec.ATTEMPT_COLUMNS} FROM attempts WHERE ended_at IS NULL", (), Use.WORK)
        return [codec.read_attempt(row) for row in rows]

    async def calls_within(
        self, account: str, span_s: float, now: datetime, up: Uptime | None
    ) -> list[tuple[float, int]]:
        """See `Reader.calls_within`."""
        # UNION ALL would give those twice that ended within the span by both clocks.
        sql = """SELECT id, :now - ended_at, iif(boot = :boot, :up - ended_up, NULL), calls FROM attempts
                 WHERE account = :account AND ended_at > :now - :span AND calls > 0
                 UNION
                 SELECT id, :now - ended_at, :up - ended_up, calls FROM attempts
                 WHERE account = :account AND boot = :boot AND ended_up > :up - :span AND calls > 0
                 UNION
                 SELECT id, 0, NULL, calls - 1 FROM attempts
                 WHERE account = :account AND ended_at IS NULL AND calls > 1"""
        clocks = {"now": codec.micros(now), "boot": up and up.boot, "up": up and up.micros}
        rows = await self._ask(sql, {"account": account, "span": int(span_s * 1e6), **clocks}, Use.WORK)
        found = [(min(age for age in ages if age is not None), calls) for _, *ages, calls in rows]
        return [(max(0, age) / 1e6, calls) for age, calls in found]
