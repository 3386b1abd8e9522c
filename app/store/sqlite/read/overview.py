"""Queries for the overview of an installation.

They run every second or two while someone watches. Each reads a bounded number of entries of an index; what happened
since a time is found by bisection, as rows are numbered by time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

from app.runtime import ids
from app.store import codec
from app.store.overview import Backlog, ClosingWindow, Waits
from app.store.sqlite.connection import Queries
from app.store.sqlite.statements import marks


def first_since(table: str, column: str, moments: str) -> str:
    """SQL: (moment, seq) of the first row of `table` whose `column` is at each moment of a JSON array or later.

    `column` ascends with `seq`, but for clocks that are set back.
    """
    middle = f"(SELECT {column} FROM {table} WHERE seq >= (low + high) / 2 ORDER BY seq LIMIT 1)"
    return f"""WITH RECURSIVE bisection (moment, low, high) AS (
            SELECT value, coalesce((SELECT min(seq) FROM {table}), 1), coalesce((SELECT max(seq) FROM {table}), 0) + 1
            FROM json_each({moments})
        UNION ALL
            SELECT moment, iif({middle} < moment, (low + high) / 2 + 1, low),
                   iif({middle} < moment, high, (low + high) / 2)
            FROM bisection WHERE low < high)
        SELECT moment, low AS seq FROM bisection WHERE low >= high"""


class OverviewQueries(Queries):
    """`OverviewReader` on SQLite; its methods are described there."""

    async def backlogs(
        self, accounts: Sequence[str], now: datetime, since: datetime, maximum: int
    ) -> dict[str, Backlog]:
        # What is being sent is due again only when its claim has lapsed.
        sql = """SELECT value,
                   (SELECT count(*) FROM (SELECT 1 FROM jobs INDEXED BY jobs_by_account
                                          WHERE account = value AND due_at <= :now LIMIT :maximum)),
                   (SELECT min(due_at) FROM jobs INDEXED BY jobs_by_account WHERE account = value AND due_at <= :now),
                   (SELECT count(*) FROM (SELECT 1 FROM receipts INDEXED BY receipts_by_account
                                          WHERE account = value AND id >= :since LIMIT :maximum))
                 FROM json_each(:accounts)"""
        first = ids.at(codec.micros(since) // 1000)
        values = {"accounts": codec.to_json(accounts), "now": codec.micros(now), "since": first, "maximum": maximum}
        return {
            account: Backlog(due, codec.moment_or_none(oldest), received)
            for account, due, oldest, received in await self._db.fetch(sql, values)
        }

    async def closing_windows(
        self, since: datetime, until: datetime, parts: int, account: str | None, maximum: int
    ) -> tuple[list[int], bool]:
        # A range of the index for each part: grouping the rows of all would take four times as long.
        rows = """SELECT account FROM orders INDEXED BY orders_by_closing
                  WHERE closes_at >= :since + part * :width AND closes_at < :since + (part + 1) * :width
                  LIMIT :maximum"""
        own = f"(SELECT count(*) FROM ({rows}) WHERE account = :account)"
        sql = f"""WITH RECURSIVE numbers(part) AS (
                      SELECT 0 UNION ALL SELECT part + 1 FROM numbers WHERE part + 1 < :parts)
                  SELECT (SELECT count(*) FROM ({rows})), {"NULL" if account is None else own} FROM numbers"""
        values = {
            "since": codec.micros(since),
            "width": (codec.micros(until) - codec.micros(since)) // parts,
            "parts": parts,
            "account": account,
            "maximum": maximum,
        }
        counts = await self._db.fetch(sql, values)
        is_complete = all(read < maximum for read, _ in counts)
        return [read if account is None else found for read, found in counts], is_complete

    async def next_to_close(self, now: datetime, account: str | None, limit: int) -> list[ClosingWindow]:
        own = "" if account is None else "AND account = :account"
        sql = f"""SELECT account, id, closes_at, cancelable, reason FROM orders INDEXED BY orders_by_closing
                  WHERE closes_at > :now {own} ORDER BY closes_at LIMIT :limit"""
        values = {"now": codec.micros(now), "account": account, "limit": limit}
        return [
            ClosingWindow(of, order, codec.moment(closes_at), cancelable, reason or "")
            for of, order, closes_at, cancelable, reason in await self._db.fetch(sql, values)
        ]

    async def cancellations_by_state(
        self, live: Sequence[str], final: Sequence[str], since: datetime, account: str | None, maximum: int
    ) -> dict[str, int]:
        bounds = first_since("cancellations", "requested_at", "json_array(:since)")
        ((_, first),) = await self._db.fetch(bounds, {"since": codec.micros(since)})
        index, own = ("by_state", "") if account is None else ("of_account", "account = ? AND")
        sql = f"""SELECT value, (SELECT count(*) FROM (
                             SELECT 1 FROM cancellations INDEXED BY cancellations_{index}
                             WHERE {own} state = value AND seq >= iif(value IN ({marks(live)}), 0, ?) LIMIT ?))
                  FROM json_each(?)"""
        values = [*([] if account is None else [account]), *live, first, maximum, codec.to_json([*live, *final])]
        return dict(await self._db.fetch(sql, values))

    async def closing_cancels(self, due: datetime, until: datetime, maximum: int) -> dict[str, int]:
        sql = """SELECT account, count(*) FROM (
                     SELECT account, due_at, sending FROM jobs INDEXED BY jobs_by_deadline
                     WHERE deadline IS NOT NULL AND deadline <= :until ORDER BY deadline LIMIT :maximum)
                 WHERE due_at <= :due AND NOT sending GROUP BY account"""
        values = {"due": codec.micros(due), "until": codec.micros(until), "maximum": maximum}
        return dict(await self._db.fetch(sql, values))

    async def waits(self, maximum: int) -> Waits:
        # Cancellations are numbered by when they were requested.
        called = """SELECT min(json_extract(body, '$.last_attempt')) FROM (
                        SELECT body FROM cancellations INDEXED BY cancellations_by_state
                        WHERE state = 'indeterminate' ORDER BY seq LIMIT :maximum)"""
        waiting = """SELECT {columns} FROM cancellations INDEXED BY cancellations_for_approval
                     WHERE state = 'scheduled' AND json_extract(body, '$.waiting') = 'approval' ORDER BY seq"""
        ends = "coalesce(json_extract(body, '$.{}'), '9')"
        expiry = f"min({ends.format('deadline')}, {ends.format('send_by')})"
        sql = f"""SELECT ({called}), ({waiting.format(columns="requested_at")} LIMIT 1),
                    (SELECT min(at) FROM ({waiting.format(columns=f"{expiry} AS at")} LIMIT :maximum))"""
        ((attempt, proposed_at, expires_at),) = await self._db.fetch(sql, {"maximum": maximum})
        return Waits(
            None if attempt is None else ids.drawn_at(ids.read(ids.ATTEMPT, attempt)),
            codec.moment_or_none(proposed_at),
            None if expires_at in (None, "9") else datetime.fromisoformat(expires_at),
        )

    async def events_recorded(self, moments: Sequence[datetime]) -> list[int]:
        sql = f"""SELECT seq FROM ({first_since("events", "received_at", ":moments")})
                  UNION ALL SELECT coalesce(max(seq), 0) + 1 FROM events ORDER BY seq"""
        rows = await self._db.fetch(sql, {"moments": codec.to_json([codec.micros(moment) for moment in moments])})
        return [later - earlier for (earlier,), (later,) in pairwise(rows)]
