"""Queries for cancellations, jobs and timers."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from app.core.aggregate import Job
from app.core.cancellation import Cancellation
from app.store import codec
from app.store.postgres.read.owned import OWNED, OwnedQueries
from app.store.use import Use

EXAMINED_MAX = 10_000
"""Rows that are examined to count what waits for a person."""
_NOT_HELD = "(policy IS NULL OR policy <> ALL({}::text[]))"
"""No job of a held policy; with null, no job of any policy."""


def _due_page(failures: str, urgent: str) -> str:
    # By an index and up to the limit: many may have failed, and many may be due much later.
    return f"""(SELECT {codec.JOB_COLUMNS} FROM @jobs WHERE account = $1 AND due_at <= $2 AND sending = 0
        AND {_NOT_HELD.format("$3")} AND {failures} AND urgent_by {urgent} ORDER BY urgent_by, due_at LIMIT $4)"""


def _due_part(failures: str) -> str:
    return f"""(SELECT * FROM ({_due_page(failures, "IS NOT NULL")}
        UNION ALL {_due_page(failures, "IS NULL")}) AS part ORDER BY urgent_by, due_at LIMIT $4)"""


_DUE = f"""SELECT {codec.JOB_COLUMNS} FROM (SELECT 0 AS part_, part.* FROM {_due_part("failures = 0")} AS part
    UNION ALL SELECT 1, part.* FROM {_due_part("failures > 0")} AS part) AS due ORDER BY part_, urgent_by, due_at"""


class JobQueries(OwnedQueries):
    """The part of `Reader` about cancellations, jobs and timers."""

    async def cancellation(self, id: str) -> Cancellation | None:
        rows = await self._db.fetch("SELECT body FROM @cancellations WHERE id = $1", id, use=Use.LOOKUPS)
        return codec.read_cancellation(rows[0][0]) if rows else None

    async def batch_states(self, batch: str, accounts: Collection[str] | None = None) -> dict[str, int]:
        sql = """SELECT state, count(*) FROM @cancellations
                 WHERE batch = $1 AND ($2::text[] IS NULL OR account = ANY($2)) GROUP BY state"""
        own = None if accounts is None else list(accounts)
        return dict(map(tuple, await self._db.fetch(sql, batch, own, use=Use.LOOKUPS)))

    async def jobs(
        self, account: str, due: datetime, limit: int, held_policies: Collection[str] | None = ()
    ) -> list[tuple[int, Job]]:
        rows = await self._db.fetch(_DUE, account, codec.micros(due), _list_or_none(held_policies), limit, use=Use.WORK)
        return [codec.read_job(tuple(row)) for row in rows]

    async def deadlines(self, account: str, until: datetime, limit: int) -> list[datetime]:
        sql = """SELECT urgent_by FROM @jobs WHERE account = $1 AND failures = 0 AND urgent_by <= $2 AND sending = 0
                 ORDER BY urgent_by LIMIT $3"""
        rows = await self._db.fetch(sql, account, codec.micros(until), limit, use=Use.LOOKUPS)
        return [codec.moment(urgent_by) for (urgent_by,) in rows]

    async def next_due(
        self, account: str, after: datetime, held_policies: Collection[str] | None = ()
    ) -> datetime | None:
        sql = f"""SELECT due_at FROM @jobs WHERE account = $1 AND due_at > $2 AND sending = 0
                  AND {_NOT_HELD.format("$3")} ORDER BY due_at LIMIT 1"""
        rows = await self._db.fetch(sql, account, codec.micros(after), _list_or_none(held_policies), use=Use.WORK)
        return codec.moment(rows[0][0]) if rows else None

    async def accounts_with_cancellations(self) -> set[str]:
        sql = "SELECT DISTINCT account FROM @jobs WHERE cancellation IS NOT NULL"
        return {account for (account,) in await self._db.fetch(sql, use=Use.WORK)}

    async def overdue(self, now: datetime, limit: int, *, latest: bool = False) -> list[tuple[str, str]]:
        way = "DESC" if latest else "ASC"
        # Each side by its index and up to the limit: much may be overdue at once.
        sql = f"""SELECT account, name FROM (
                      (SELECT account, name, deadline AS at FROM @jobs WHERE deadline <= $2 AND {OWNED}
                       ORDER BY deadline {way} LIMIT $3)
                      UNION ALL
                      (SELECT account, id, next_check_at FROM @orders WHERE next_check_at <= $2 AND {OWNED}
                       ORDER BY next_check_at {way} LIMIT $3)) AS due
                  GROUP BY account, name ORDER BY min(at) {way}, account, name LIMIT $3"""
        rows = await self._db.fetch(sql, self.epoch, codec.micros(now), limit, use=Use.WORK)
        return [(account, name) for account, name in rows]

    async def next_deadline(self) -> datetime | None:
        sql = f"""SELECT least(
                     (SELECT deadline FROM @jobs WHERE deadline IS NOT NULL AND {OWNED} ORDER BY deadline LIMIT 1),
                     (SELECT next_check_at FROM @orders WHERE next_check_at IS NOT NULL AND {OWNED}
                      ORDER BY next_check_at LIMIT 1),
                     (SELECT min(at) FROM @pending_rechecks WHERE {OWNED}))"""
        return codec.moment_or_none((await self._db.fetch(sql, self.epoch, use=Use.WORK))[0][0])

    async def interrupted_calls(self, accounts: Collection[str] | None = None) -> list[tuple[str, str]]:
        sql = f"""SELECT account, name FROM @jobs WHERE sending = 1
                  AND ($2::text[] IS NULL AND {OWNED} OR account = ANY($2))"""
        rows = await self._db.fetch(sql, self.epoch, _list_or_none(accounts), use=Use.WORK)
        return [(account, name) for account, name in rows]

    async def lapsed_claims(self, now: datetime, limit: int) -> list[tuple[int, str, str]]:
        sql = f"""SELECT order_pk, account, name FROM @jobs WHERE sending = 1 AND due_at <= $2 AND {OWNED}
                  ORDER BY due_at LIMIT $3"""
        rows = await self._db.fetch(sql, self.epoch, codec.micros(now), limit, use=Use.WORK)
        return [(pk, account, name) for pk, account, name in rows]

    async def queued_probes(self, account: str, maximum: int) -> tuple[int, datetime | None]:
        probes = "FROM @jobs WHERE account = $1 AND kind = 'probe' AND cancellation IS NULL"
        sql = f"""SELECT (SELECT count(*) FROM (SELECT 1 {probes} LIMIT $2) AS queued),
                         (SELECT due_at {probes} ORDER BY due_at DESC LIMIT 1)"""
        ((count, last),) = await self._db.fetch(sql, account, maximum)
        return count, codec.moment_or_none(last)

    async def counts_for_review(self, maximum: int, account: str | None = None) -> dict[str, int]:
        # Each by an index, and in a bounded number of its entries.
        waiting = "state = 'indeterminate' LIMIT {0}) AS latest WHERE coalesce(waiting, 'send_slot') = 'webhook'"
        sources = {
            "quarantined": "@receipts WHERE status = 'quarantined' ORDER BY id DESC",
            "approvals": "@cancellations WHERE state = 'scheduled' AND waiting = 'approval' ORDER BY seq DESC",
            "indeterminate": f"(SELECT * FROM @cancellations WHERE {waiting.format(EXAMINED_MAX)}",
        }
        examined = "$1" if account is None else str(EXAMINED_MAX)
        counts = ", ".join(
            f"""(SELECT count(*) FROM (SELECT 1 FROM (SELECT account FROM {source} LIMIT {examined}) AS examined
                 WHERE $2::text IS NULL OR account = $2 LIMIT $1) AS counted)"""
            for source in sources.values()
        )
        (row,) = await self._db.fetch(f"SELECT {counts}", maximum, account)
        return dict(zip(sources, row, strict=True))


def _list_or_none(values: Collection[str] | None) -> list[str] | None:
    return None if values is None else list(values)
