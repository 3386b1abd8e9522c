"""Queries for cancellations and the jobs that send them."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from app.core.aggregate import Job
from app.core.cancellation import Cancellation
from app.store import codec
from app.store.sqlite.connection import Queries
from app.store.sqlite.statements import marks
from app.store.use import Use

EXAMINED_MAX = 10_000
"""Rows that are examined to count what waits for a person."""


class JobQueries(Queries):
    """The part of `Reader` about cancellations, jobs and timers."""

    async def cancellation(self, id: str) -> Cancellation | None:
        rows = await self._db.fetch("SELECT body FROM cancellations WHERE id = ?", (id,), use=Use.LOOKUPS)
        return codec.read_cancellation(rows[0][0]) if rows else None

    async def batch_states(self, batch: str, accounts: Collection[str] | None = None) -> dict[str, int]:
        own = "" if accounts is None else f"AND account IN ({marks(accounts)})"
        sql = f"SELECT state, count(*) FROM cancellations WHERE batch = ? {own} GROUP BY state"
        return dict(await self._db.fetch(sql, (batch, *(accounts or ())), use=Use.LOOKUPS))

    async def jobs(
        self, account: str, due: datetime, limit: int, held_policies: Collection[str] | None = ()
    ) -> list[tuple[int, Job]]:
        waiting = f"account = ? AND due_at <= ? AND NOT sending{_not_held(held_policies)}"

        def page(failed: int, none: int, order: str) -> str:
            # By the index and up to the limit: many may have failed, and many may be due much later.
            return f"""SELECT * FROM (SELECT {codec.JOB_COLUMNS} FROM jobs INDEXED BY jobs_by_urgency
                       WHERE {waiting} AND (failures > 0) = {failed} AND (urgent_by IS NULL) = {none}{order}
                       LIMIT ?)"""

        fresh, retries = (
            f"""SELECT * FROM ({page(failed, 0, " ORDER BY urgent_by, due_at")}
                UNION ALL {page(failed, 1, " AND urgent_by IS NULL ORDER BY due_at")} LIMIT ?)"""
            for failed in (0, 1)
        )
        page_values = (account, codec.micros(due), *(held_policies or ()), limit)
        values = (*page_values, *page_values, limit) * 2
        return [
            codec.read_job(row) for row in await self._db.fetch(f"{fresh} UNION ALL {retries}", values, use=Use.WORK)
        ]

    async def deadlines(self, account: str, until: datetime, limit: int) -> list[datetime]:
        sql = """SELECT urgent_by FROM jobs WHERE account = ? AND (failures > 0) = 0 AND (urgent_by IS NULL) = 0
                 AND urgent_by <= ? AND NOT sending ORDER BY urgent_by LIMIT ?"""
        return [
            codec.moment(urgent_by)
            for (urgent_by,) in await self._db.fetch(sql, (account, codec.micros(until), limit), use=Use.LOOKUPS)
        ]

    async def next_due(
        self, account: str, after: datetime, held_policies: Collection[str] | None = ()
    ) -> datetime | None:
        sql = f"SELECT min(due_at) FROM jobs WHERE account = ? AND due_at > ? AND NOT sending{_not_held(held_policies)}"
        values = (account, codec.micros(after), *(held_policies or ()))
        return codec.moment_or_none((await self._db.fetch(sql, values, use=Use.WORK))[0][0])

    async def accounts_with_cancellations(self) -> set[str]:
        return {
            account
            for (account,) in await self._db.fetch(
                "SELECT DISTINCT account FROM jobs WHERE cancellation IS NOT NULL", use=Use.WORK
            )
        }

    async def overdue(self, now: datetime, limit: int, *, latest: bool = False) -> list[tuple[str, str]]:
        direction = "DESC" if latest else "ASC"
        # Each side by its index and up to the limit: much may be overdue at once.
        sql = f"""SELECT account, name FROM (
                      SELECT * FROM (SELECT account, name, deadline AS at FROM jobs WHERE deadline <= :now
                                     ORDER BY deadline {direction} LIMIT :limit)
                      UNION ALL
                      SELECT * FROM (SELECT account, id, next_check_at FROM orders WHERE next_check_at <= :now
                                     ORDER BY next_check_at {direction} LIMIT :limit))
                  GROUP BY account, name ORDER BY min(at) {direction}, account, name LIMIT :limit"""
        rows = await self._db.fetch(sql, {"now": codec.micros(now), "limit": limit}, use=Use.WORK)
        return [(account, name) for account, name in rows]

    async def next_deadline(self) -> datetime | None:
        sql = """SELECT min(at) FROM (
                     SELECT min(deadline) AS at FROM jobs WHERE deadline IS NOT NULL
                     UNION ALL SELECT min(next_check_at) FROM orders WHERE next_check_at IS NOT NULL)"""
        return codec.moment_or_none((await self._db.fetch(sql, use=Use.WORK))[0][0])

    async def interrupted_calls(self, accounts: Collection[str] | None = None) -> list[tuple[str, str]]:
        rows = await self._db.fetch("SELECT account, name FROM jobs WHERE sending", use=Use.WORK)
        return [(account, name) for account, name in rows if accounts is None or account in accounts]

    async def lapsed_claims(self, now: datetime, limit: int) -> list[tuple[int, str, str]]:
        sql = "SELECT order_pk, account, name FROM jobs WHERE sending AND due_at <= ? ORDER BY due_at LIMIT ?"
        rows = await self._db.fetch(sql, (codec.micros(now), limit), Use.WORK)
        return [(pk, account, name) for pk, account, name in rows]

    async def queued_probes(self, account: str, maximum: int) -> tuple[int, datetime | None]:
        probes = "FROM jobs WHERE account = :account AND kind = 'probe' AND cancellation IS NULL"
        sql = f"""SELECT (SELECT count(*) FROM (SELECT 1 {probes} LIMIT :maximum)),
                         (SELECT due_at {probes} ORDER BY due_at DESC LIMIT 1)"""
        ((count, last),) = await self._db.fetch(sql, {"account": account, "maximum": maximum})
        return count, codec.moment_or_none(last)

    async def counts_for_review(self, maximum: int, account: str | None = None) -> dict[str, int]:
        # Each by an index: SQLite uses a partial one only if the query repeats its condition literally.
        waiting = "coalesce(json_extract(body, '$.waiting'), 'send_slot')"
        sources = {
            "quarantined": "receipts WHERE status = 'quarantined' ORDER BY id DESC",
            "approvals": """cancellations INDEXED BY cancellations_for_approval
                            WHERE state = 'scheduled' AND json_extract(body, '$.waiting') = 'approval'""",
            "indeterminate": f"""(SELECT * FROM cancellations WHERE state = 'indeterminate' LIMIT {EXAMINED_MAX})
                                 WHERE {waiting} = 'webhook'""",
        }
        own = "" if account is None else "WHERE account = :account"
        examined = ":maximum" if account is None else EXAMINED_MAX
        rows = (f"SELECT 1 FROM (SELECT account FROM {source} LIMIT {examined}) {own}" for source in sources.values())
        counts = ", ".join(f"(SELECT count(*) FROM ({each} LIMIT :maximum))" for each in rows)
        (row,) = await self._db.fetch(f"SELECT {counts}", {"maximum": maximum, "account": account})
        return dict(zip(sources, row, strict=True))


def _not_held(held_policies: Collection[str] | None) -> str:
    """SQL condition: no job of a held policy; with None, no job of any policy."""
    if held_policies is None:
        return " AND policy IS NULL"
    return f" AND (policy IS NULL OR policy NOT IN ({marks(held_policies)}))" if held_policies else ""
