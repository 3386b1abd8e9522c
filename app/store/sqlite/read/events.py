"""Queries for the log of events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from app.core.event import Event, split_id
from app.core.policy.decide import FAILING_DECISIONS, FAILURES_MIN
from app.store import codec
from app.store.records import SearchResult
from app.store.sqlite.connection import Queries, Use
from app.store.sqlite.read.search import Where, search
from app.store.sqlite.statements import marks

LOG_PAGE = 2000
ORDER_PAGE = 250
"""Events decoded at once: a few milliseconds of work."""
_NEWEST = 2**63 - 1


class EventQueries(Queries):
    """The part of `Reader` about events, and what policies decided."""

    async def order_events(self, pk: int) -> list[Event]:
        return [event async for page in self.order_pages(pk) for _, event in page]

    async def order_pages(self, pk: int) -> AsyncIterator[list[tuple[int, Event]]]:
        # The index alone gives the positions; sorting rows with their bodies would read all of them for each page.
        positions = [
            seq for (seq,) in await self._db.fetch("SELECT seq FROM events WHERE order_pk = ? ORDER BY seq", (pk,))
        ]
        for start in range(0, len(positions), ORDER_PAGE):
            part = positions[start : start + ORDER_PAGE]
            sql = f"SELECT seq, {codec.EVENT_COLUMNS} FROM events WHERE seq IN ({marks(part)}) ORDER BY seq"
            yield [(seq, codec.read_event(row)) for seq, *row in await self._db.fetch(sql, part)]

    async def event(self, id: str) -> Event | None:
        """See `Reader.event`. Raises ValueError if `id` is not an event's."""
        order, key = split_id(id)
        sql = f"""SELECT {codec.EVENT_COLUMNS} FROM events
                  WHERE key = ? AND order_pk IN (SELECT order_pk FROM names WHERE key = ? UNION SELECT 0)"""
        candidates = [codec.read_event(row) for row in await self._db.fetch(sql, (key, order), use=Use.LOOKUPS)]
        return next((event for event in candidates if event.id == id), None)

    async def events(
        self,
        *,
        account: str | None,
        order_pk: int | None,
        type: str | None,
        since: datetime | None,
        until: datetime | None,
        text: str | None,
        before: int | None,
        limit: int,
    ) -> SearchResult[tuple[int, Event]]:
        where = Where(account=account)
        if type is not None and type.endswith("*"):
            # `+` keeps SQLite from using the index on types: it would sort all rows of these types for each piece.
            where.add("+type >= ?", type[:-1])
            where.add("+type < ?", type[:-1] + "\U0010ffff")
        else:
            where.add("type = ?", type)
        by_index = order_pk is not None or (str(where) == "WHERE type = ?" and [since, until, text] == [None] * 3)
        where.add("received_at >= ?", codec.micros_or_none(since))
        where.add("received_at < ?", codec.micros_or_none(until))
        where.add("instr(lower(body), lower(?))", text)
        if not by_index:
            rows, resume_before = await search(self._db, "events", "seq", codec.EVENT_COLUMNS, where, before, limit)
        else:
            where.add("order_pk = ?", order_pk)
            where.add("seq < ?", before)
            sql = f"SELECT seq, {codec.EVENT_COLUMNS} FROM events {where} ORDER BY seq DESC LIMIT ?"
            rows, resume_before = await self._db.fetch(sql, (*where.values, limit)), None
        page = SearchResult([(seq, codec.read_event(row)) for seq, *row in rows], resume_before)
        if resume_before is not None:
            sql = "SELECT received_at FROM events WHERE seq >= ? ORDER BY seq LIMIT 1"
            page.searched_until = next(
                (codec.moment(at) for (at,) in await self._db.fetch(sql, (resume_before,))), None
            )
        return page

    async def receipt_events(self, receipt: int, limit: int) -> list[Event]:
        sql = f"SELECT {codec.EVENT_COLUMNS} FROM events WHERE receipt = ? ORDER BY seq LIMIT ?"
        return [codec.read_event(row) for row in await self._db.fetch(sql, (receipt, limit), Use.LOOKUPS)]

    async def log(self) -> AsyncIterator[list[tuple[int, int, Event]]]:
        seq = 0
        sql = f"SELECT seq, order_pk, {codec.EVENT_COLUMNS} FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
        while rows := await self._db.fetch(sql, (seq, LOG_PAGE)):
            yield [(seq, pk, codec.read_event(row)) for seq, pk, *row in rows]
            seq = rows[-1][0]

    async def histories(
        self, accounts: Sequence[str], after: int, until: int, limit: int
    ) -> list[tuple[int, list[Event]]]:
        sql = f"SELECT pk FROM orders WHERE account IN ({marks(accounts)}) AND pk > ? AND pk <= ? ORDER BY pk LIMIT ?"
        rows = await self._db.fetch(sql, (*accounts, after, until, limit))
        histories: dict[int, list[Event]] = {pk: [] for (pk,) in rows}
        if histories:
            sql = f"""SELECT order_pk, {codec.EVENT_COLUMNS} FROM events
                      WHERE order_pk IN ({marks(histories)}) ORDER BY order_pk, seq"""
            for pk, *row in await self._db.fetch(sql, tuple(histories)):
                histories[pk].append(codec.read_event(row))
        return list(histories.items())

    async def history_together(self, pks: Sequence[int]) -> list[tuple[int, Event]]:
        sql = f"SELECT order_pk, {codec.EVENT_COLUMNS} FROM events WHERE order_pk IN ({marks(pks)}) ORDER BY seq"
        return [(pk, codec.read_event(row)) for pk, *row in await self._db.fetch(sql, pks)]

    async def decisions(self, policy: str, before: int | None, limit: int) -> list[tuple[int, Event]]:
        sql = f"""SELECT seq, {codec.EVENT_COLUMNS} FROM events
                  WHERE policy = ? AND seq < ? ORDER BY seq DESC LIMIT ?"""
        rows = await self._db.fetch(sql, (policy, _NEWEST if before is None else before, limit))
        return [(seq, codec.read_event(row)) for seq, *row in rows]

    async def failing_policies(self, policies: Sequence[str]) -> dict[str, Event]:
        # One look-up by index per policy, however long the log is.
        latest = "SELECT type FROM events WHERE policy = policies.value ORDER BY seq DESC LIMIT ?"
        sql = f"""SELECT policies.value FROM json_each(?) AS policies
                  WHERE (SELECT count(*) >= ? AND count(*) = sum(type = 'policy.failed') FROM ({latest}))"""
        rows = await self._db.fetch(sql, (codec.to_json(list(policies)), FAILURES_MIN, FAILING_DECISIONS))
        return {policy: (await self.decisions(policy, None, 1))[0][1] for (policy,) in rows}
