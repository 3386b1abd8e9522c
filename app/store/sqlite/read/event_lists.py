"""Lists of events: by the search index as far as it is filled, the newest from the log itself.

Both give the same rows, so that no answer is stale. What the index finds is verified against the log. Every statement
is bounded: by a part of the index, or by the rows that it looks at. When the time budget is spent between two of them,
the list says where to resume.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from time import monotonic
from typing import Any

import aiosqlite
import structlog

from app.core.event import Event
from app.store import codec
from app.store.protocol import StoreError
from app.store.records import SearchResult, Window
from app.store.sqlite.connection import Queries, Rows, Use
from app.store.sqlite.index import IndexFile
from app.store.sqlite.index.file import IndexState, read_state
from app.store.sqlite.index.schema import BLOCK_BITS, KIND, PART_BITS, TERM
from app.store.sqlite.read import search as searches
from app.store.sqlite.read.decoding import read_events
from app.store.sqlite.read.search import END, Where, direction, in_order, search
from app.store.sqlite.statements import marks
from app.store.sqlite.text import text_query

CANDIDATES_MAX = 2000
"""Events that one statement verifies at most."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """What the events of a list have in common."""

    account: str | None = None
    order_pk: int | None = None
    types: Sequence[str] = ()
    source: str | None = None
    policy: str | None = None
    receipt: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None

    def where(self, event: str = "") -> Where:
        """The conditions of the log; `event` is the prefix of its columns."""
        where = Where(**{f"{event}account": self.account, f"{event}source": self.source})
        where.any_of(f"{event}type GLOB ?", self.types)
        where.add(f"{event}received_at >= ?", codec.micros_or_none(self.since))
        where.add(f"{event}received_at < ?", codec.micros_or_none(self.until))
        where.add(f"has_text({event}body, {event}name, ?)", self.text)
        return where

    @property
    def by_index(self) -> bool:
        """Whether the search index serves it, and not one of the log's own indexes."""
        return (self.order_pk, self.policy, self.receipt) == (None, None, None)


class EventListQueries(Queries):
    """The part of `Reader` about lists of events."""

    _index: IndexFile | None = None

    async def events(
        self,
        window: Window,
        *,
        account: str | None = None,
        order_pk: int | None = None,
        types: Sequence[str] = (),
        source: str | None = None,
        policy: str | None = None,
        receipt: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        text: str | None = None,
    ) -> SearchResult[tuple[int, Event]]:
        wanted = EventFilter(
            account=account,
            order_pk=order_pk,
            types=types,
            source=source,
            policy=policy,
            receipt=receipt,
            since=since,
            until=until,
            text=text,
        )
        rows, resume = await self._event_rows(wanted, window, codec.EVENT_COLUMNS)
        page = SearchResult(await read_events(rows), resume)
        if resume is not None:
            sql = "SELECT received_at FROM events WHERE seq >= ? ORDER BY seq LIMIT 1"
            page.searched_until = next((codec.moment(at) for (at,) in await self._db.fetch(sql, (resume,))), None)
        return page

    async def _event_rows(self, wanted: EventFilter, window: Window, columns: str) -> tuple[Rows, int | None]:
        """(rows of (position, columns), position to resume from if the time budget was spent)."""
        if wanted.order_pk is not None:
            return await self._of_order(wanted, window, columns)
        if not wanted.by_index:
            within = Where(policy=wanted.policy, receipt=wanted.receipt)
            return await search(self._db, "events", "seq", columns, wanted.where(), window, within=within)
        if self._index is not None and wanted.where():
            try:
                return await _Search(self, self._index, wanted, window, columns).run()
            except StoreError as error:
                log.warning("search_index_unusable", error=str(error))
        return await search(self._db, "events", "seq", columns, wanted.where(), window)

    async def _of_order(self, wanted: EventFilter, window: Window, columns: str) -> tuple[Rows, int | None]:
        """Rows of one order, of which the index on orders gives the positions."""
        of_order = Where(order_pk=wanted.order_pk)
        of_order.beyond("seq", window)
        sql = f"SELECT seq FROM events {of_order} ORDER BY seq {direction(window)}"
        positions = [seq for (seq,) in await self._db.fetch(sql, of_order.values)]
        where = wanted.where()
        where.add("policy = ?", wanted.policy)
        where.add("receipt = ?", wanted.receipt)
        rows: Rows = []
        began, start, size = monotonic(), 0, max(window.limit, 64)
        while start < len(positions) and len(rows) < window.limit:
            if start and monotonic() - began >= searches.SEARCH_S:
                return in_order(rows, window), positions[start - 1]
            part = positions[start : start + size]
            rows += await self._verified(where, part, replace(window, limit=window.limit - len(rows)), columns)
            start, size = start + len(part), min(size * 2, CANDIDATES_MAX)
        return in_order(rows, window), None

    async def _verified(self, where: Where, positions: Sequence[int], window: Window, columns: str) -> Rows:
        """The rows at these positions that fulfil the conditions."""
        also = f"{where} AND" if where else "WHERE"
        sql = f"""SELECT seq, {columns} FROM events {also} seq IN ({marks(positions)})
                  ORDER BY seq {direction(window)} LIMIT ?"""
        return await self._db.fetch(sql, (*where.values, *positions, window.limit), Use.SEARCHES)


class _Search:
    """One list by the index."""

    def __init__(
        self, queries: EventListQueries, index: IndexFile, wanted: EventFilter, window: Window, columns: str
    ) -> None:
        self._index, self._wanted, self._window = index, wanted, window
        self._columns = columns
        self._db, self._verify = queries._db, queries._verified  # noqa: SLF001 - a part of it
        self._where = wanted.where()
        self._rows: Rows = []
        self._ends_at = monotonic() + searches.SEARCH_S
        self._has_looked = False  # However short the budget, each request gets on.

    async def run(self) -> tuple[Rows, int | None]:
        """(rows, position to resume from)."""
        async with self._index.borrow() as db:
            state = await read_state(db)
            match = await _match(db, self._wanted)
            intervals = await _intervals(db, self._wanted, state.filled_to)
        steps = [self._in_log, self._in_index]
        resume: int | None = None
        for step in steps[::-1] if self._window.newer else steps:
            resume = await step(state, match, intervals)
            if resume is not None or self._is_full:
                break
        return in_order(self._rows, self._window), None if self._is_full else resume

    @property
    def _is_full(self) -> bool:
        return len(self._rows) >= self._window.limit

    @property
    def _rest(self) -> int:
        return self._window.limit - len(self._rows)

    async def _in_log(self, state: IndexState, _match: str | None, _intervals: Sequence[tuple[int, int]]) -> int | None:
        """Search what is not indexed yet. Returns the position to resume from if the budget was spent."""
        position = self._window.position
        if self._window.newer:
            position = max(position, state.filled_to)
        elif position is not None and position <= state.filled_to + 1:
            return None
        window = replace(self._window, position=position, limit=self._rest)
        rows, resume = await search(
            self._db,
            "events",
            "seq",
            self._columns,
            self._where,
            window,
            bounds=(state.filled_to + 1, END),
        )
        self._rows += in_order(rows, window)
        return resume

    async def _in_index(self, state: IndexState, match: str | None, intervals: Sequence[tuple[int, int]]) -> int | None:
        """Search what is indexed, part by part. Returns the position to resume from if the budget was spent."""
        if match == "":
            return None
        newer, position = self._window.newer, self._window.position
        for number, words in state.parts[::-1] if newer else state.parts:
            first, last = number << PART_BITS, min(((number + 1) << PART_BITS) - 1, state.filled_to)
            if position is not None:
                first, last = (max(first, position + 1), last) if newer else (first, min(last, position - 1))
            for low, high in intervals if newer else intervals[::-1]:
                resume = await self._in_interval(words, match, max(low, first), min(high, last))
                if resume is not None or self._is_full:
                    return resume
        return None

    async def _in_interval(self, words: str, match: str | None, low: int, high: int) -> int | None:
        """Verify candidates between two positions, both included."""
        newer, size = self._window.newer, max(self._rest, 64)
        while low <= high and not self._is_full:
            if self._has_looked and monotonic() >= self._ends_at:
                return low - 1 if newer else high + 1
            self._has_looked = True
            candidates = await self._candidates(words, match, low, high, size)
            if candidates:
                window = replace(self._window, limit=self._rest)
                self._rows += await self._verify(self._where, candidates, window, self._columns)
            if len(candidates) < size:
                return None
            low, high = (candidates[-1] + 1, high) if newer else (low, candidates[-1] - 1)
            size = min(size * 4, CANDIDATES_MAX)
        return None

    async def _candidates(self, words: str, match: str | None, low: int, high: int, limit: int) -> list[int]:
        """The first positions in the interval, in the direction of the list, that have the words of `match`."""
        way = direction(self._window)
        if match is None:
            sql = f"SELECT seq FROM log.events WHERE seq BETWEEN ? AND ? ORDER BY seq {way} LIMIT ?"
            values: tuple[Any, ...] = (low, high, limit)
        else:
            sql = f"""SELECT rowid FROM {words} WHERE {words} MATCH ? AND rowid BETWEEN ? AND ?
                      ORDER BY rowid {way} LIMIT ?"""
            values = (match, low, high, limit)
        async with self._index.borrow() as db:
            return [seq for (seq,) in await db.execute_fetchall(sql, values)]


async def _match(db: aiosqlite.Connection, wanted: EventFilter) -> str | None:
    """The index's query for a filter; None where all events match, empty where none does."""
    parts: list[str] = []
    if wanted.account is not None and (wanted.types or wanted.source is not None):
        kinds = Where(**{"account.value": wanted.account, "source.value": wanted.source})
        kinds.any_of("type.value GLOB ?", wanted.types)
        sql = f"""SELECT kind.id FROM kinds AS kind JOIN terms AS account ON account.id = kind.account
                  JOIN terms AS type ON type.id = kind.type JOIN terms AS source ON source.id = kind.source {kinds}"""
        parts.append(_any(KIND, await db.execute_fetchall(sql, kinds.values)))
    else:
        for field, condition, values in (
            ("account", "value = ?", [wanted.account] if wanted.account is not None else []),
            ("type", "value GLOB ?", wanted.types),
            ("source", "value = ?", [wanted.source] if wanted.source is not None else []),
        ):
            if values:
                terms = Where(field=field)
                terms.any_of(condition, values)
                parts.append(_any(TERM, await db.execute_fetchall(f"SELECT id FROM terms {terms}", terms.values)))
    if wanted.text is not None:
        query = text_query(wanted.text)
        parts.append("" if query is None else query.match)
    if not parts:
        return None
    return " AND ".join(parts) if all(parts) else ""


def _any(prefix: str, rows: Any) -> str:
    words = [f'"{prefix}{id}"' for (id,) in rows]
    return f"({' OR '.join(words)})" if words else ""


async def _intervals(db: aiosqlite.Connection, wanted: EventFilter, filled_to: int) -> list[tuple[int, int]]:
    """Where indexed events of the filter's times may be: positions from and to, both included, by position."""
    blocks = Where()
    blocks.add("last_at >= ?", codec.micros_or_none(wanted.since))
    blocks.add("first_at < ?", codec.micros_or_none(wanted.until))
    if not blocks:
        return [(0, filled_to)]
    ids = [id for (id,) in await db.execute_fetchall(f"SELECT id FROM blocks {blocks} ORDER BY id", blocks.values)]
    if not ids:
        return []
    ends = [id for id, following in pairwise(ids) if following != id + 1]
    starts = [following for id, following in pairwise(ids) if following != id + 1]
    return [
        (start << BLOCK_BITS, ((end + 1) << BLOCK_BITS) - 1)
        for start, end in zip([ids[0], *starts], [*ends, ids[-1]], strict=True)
    ]
