"""Queries for the overview of an installation, on PostgreSQL: each reads a bounded number of entries of an index."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

import msgspec
from msgspec import Struct

from app.runtime import ids
from app.store import codec
from app.store.overview import Backlog, ClosingWindow, Waits
from app.store.postgres.lists import ListQueries


def first_since(table: str, column: str) -> str:
    """SQL: (moment, seq) of the first row of `table` whose `column` is at each moment of an array or later.

    `column` ascends with `seq`, but for clocks that are set back, and for what was written at once.
    """
    return f"""WITH RECURSIVE bisection (moment, low, high) AS (
            SELECT given.moment, coalesce((SELECT min(seq) FROM {table}), 1),
                   coalesce((SELECT max(seq) FROM {table}), 0) + 1
            FROM unnest(?::bigint[]) AS given (moment)
        UNION ALL
            SELECT moment, CASE WHEN middle.value < moment THEN (low + high) / 2 + 1 ELSE low END,
                   CASE WHEN middle.value < moment THEN high ELSE (low + high) / 2 END
            FROM bisection LEFT JOIN LATERAL (
                SELECT {column} AS value FROM {table} WHERE seq >= (low + high) / 2 ORDER BY seq LIMIT 1
            ) AS middle ON true WHERE low < high)
        SELECT moment, low AS seq FROM bisection WHERE low >= high"""


class _Wait(Struct):
    """What the overview asks of a cancellation."""

    requested_at: datetime
    last_attempt: str = ""
    deadline: datetime | None = None
    send_by: datetime | None = None


_read_wait = msgspec.json.Decoder(_Wait).decode


class OverviewQueries(ListQueries):
    """`OverviewReader` on PostgreSQL; its methods are described there."""

    async def backlogs(
        self, accounts: Sequence[str], now: datetime, since: datetime, maximum: int
    ) -> dict[str, Backlog]:
        # What is being sent is due again only when its claim has lapsed.
        sql = """SELECT wanted.account,
                   (SELECT count(*) FROM (SELECT 1 FROM @jobs AS jobs WHERE jobs.account = wanted.account
                                          AND due_at <= bounds.now LIMIT ?) AS due),
                   (SELECT min(due_at) FROM @jobs AS jobs WHERE jobs.account = wanted.account
                    AND due_at <= bounds.now),
                   (SELECT count(*) FROM (SELECT 1 FROM @receipts AS receipts WHERE receipts.account = wanted.account
                                          AND id >= ? LIMIT ?) AS received)
                 FROM unnest(?::text[]) AS wanted (account), (SELECT ?::bigint AS now) AS bounds"""
        first = ids.at(codec.micros(since) // 1000)
        rows = await self._lists.fetch(sql, (maximum, first, maximum, list(accounts), codec.micros(now)))
        return {
            account: Backlog(due, codec.moment_or_none(oldest), received) for account, due, oldest, received in rows
        }

    async def closing_windows(
        self, since: datetime, until: datetime, parts: int, account: str | None, maximum: int
    ) -> tuple[list[int], bool]:
        start, width = codec.micros(since), (codec.micros(until) - codec.micros(since)) // parts
        sql = """SELECT counted.number, counted.own FROM unnest(?::bigint[]) WITH ORDINALITY AS part (since, place),
                     LATERAL (SELECT count(*) AS number, count(*) FILTER (WHERE account = ?::text) AS own FROM (
                         SELECT account FROM @orders WHERE closes_at IS NOT NULL AND closes_at >= part.since
                         AND closes_at < part.since + ?::bigint LIMIT ?) AS closing) AS counted
                 ORDER BY part.place"""
        starts = [start + part * width for part in range(parts)]
        counts = await self._lists.fetch(sql, (starts, account, width, maximum))
        is_complete = all(number < maximum for number, _ in counts)
        return [number if account is None else own for number, own in counts], is_complete

    async def next_to_close(self, now: datetime, account: str | None, limit: int) -> list[ClosingWindow]:
        own, values = ("", []) if account is None else ("AND account = ?", [account])
        sql = f"""SELECT account, id, closes_at, cancelable, reason FROM @orders
                  WHERE closes_at IS NOT NULL AND closes_at > ? {own} ORDER BY closes_at LIMIT ?"""
        return [
            ClosingWindow(of, order, codec.moment(closes_at), cancelable, reason or "")
            for of, order, closes_at, cancelable, reason in await self._lists.fetch(
                sql, (codec.micros(now), *values, limit)
            )
        ]

    async def cancellations_by_state(
        self, live: Sequence[str], final: Sequence[str], since: datetime, account: str | None, maximum: int
    ) -> dict[str, int]:
        bounds = first_since("@cancellations", "requested_at")
        ((_, first),) = await self._lists.fetch(bounds, ([codec.micros(since)],))
        own, values = ("", []) if account is None else ("account = ? AND", [account])
        sql = f"""SELECT wanted.state, (SELECT count(*) FROM (
                      SELECT 1 FROM @cancellations AS cancellations
                      WHERE {own} cancellations.state = wanted.state AND seq >= wanted.first LIMIT ?) AS counted)
                  FROM unnest(?::text[], ?::bigint[]) AS wanted (state, first)"""
        starts = [0] * len(live) + [first] * len(final)
        return dict(await self._lists.fetch(sql, (*values, maximum, [*live, *final], starts)))

    async def closing_cancels(self, due: datetime, until: datetime, maximum: int) -> dict[str, int]:
        sql = """SELECT account, count(*) FROM (
                     SELECT account, due_at, sending FROM @jobs
                     WHERE deadline IS NOT NULL AND deadline <= ? ORDER BY deadline LIMIT ?) AS closing
                 WHERE due_at <= ? AND sending = 0 GROUP BY account"""
        return dict(await self._lists.fetch(sql, (codec.micros(until), maximum, codec.micros(due))))

    async def waits(self, maximum: int) -> Waits:
        # What is asked of a body is read here: JSON functions would fail on `\u0000`.
        sql = "SELECT body FROM @cancellations WHERE state = 'indeterminate' ORDER BY seq LIMIT ?"
        unsure = [_read_wait(body) for (body,) in await self._lists.fetch(sql, (maximum,))]
        sql = """SELECT body FROM @cancellations WHERE state = 'scheduled' AND waiting = 'approval'
                 ORDER BY seq LIMIT ?"""
        proposed = [_read_wait(body) for (body,) in await self._lists.fetch(sql, (maximum,))]
        attempts = [row.last_attempt for row in unsure if row.last_attempt]
        expiries = [end for row in proposed for end in (row.deadline, row.send_by) if end is not None]
        return Waits(
            ids.drawn_at(ids.read(ids.ATTEMPT, min(attempts))) if attempts else None,
            proposed[0].requested_at if proposed else None,
            min(expiries, default=None),
        )

    async def events_recorded(self, moments: Sequence[datetime]) -> list[int]:
        # Positions are counted: few of them are never used.
        given = [codec.micros(moment) for moment in moments]
        found = await self._lists.fetch(first_since("@events", "received_at"), (given,))
        ((end,),) = await self._lists.fetch("SELECT coalesce(max(seq), 0) + 1 FROM @events")
        return [later - earlier for earlier, later in pairwise(sorted([*(seq for _, seq in found), end]))]
