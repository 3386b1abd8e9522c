"""Lists of events: by the search index as far as it is filled, the newest from the log itself.

Both give the same rows, so that no answer is stale. What the index finds is verified against the log. Every statement
is bounded: by a part of the index, or by the rows that it looks at. When the time budget is spent between two of them,
the list says where to resume.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from time import monotonic

import structlog

from app.core.event import Event
from app.store import codec, pieces
from app.store.decoding import read_events
from app.store.filters import ALL_EVENTS, EventFilter
from app.store.id_bounds import END
from app.store.protocol import StoreError
from app.store.records import Rows, SearchResult, Window
from app.store.searching import search
from app.store.sqlite.connection import Connections, Queries
from app.store.sqlite.index import IndexFile
from app.store.sqlite.index.file import read_state
from app.store.sqlite.read.event_filter import event_conditions
from app.store.sqlite.read.event_index import EventSearch
from app.store.sqlite.statements import marks
from app.store.use import Use
from app.store.where import Where
from app.store.windows import direction, in_order

CANDIDATES_MAX = 2000
"""Events of an order that one statement verifies at most."""

log = structlog.get_logger()


class EventListQueries(Queries):
    """The part of `Reader` about lists of events."""

    _index: IndexFile | None = None

    async def events(self, window: Window, wanted: EventFilter = ALL_EVENTS) -> SearchResult[tuple[int, Event]]:
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
        if wanted.policy is not None:
            where, within = event_conditions(wanted), Where()
            where.add("receipt = ?", wanted.receipt)
            within.add("policy_decisions.policy = ?", wanted.policy)
            joined = "policy_decisions", "position", columns, where, window
            return await search(self._db, *joined, within=within, join="JOIN events ON events.seq = position")
        if not wanted.of_whole_log:
            within = Where(receipt=wanted.receipt)
            return await search(self._db, "events", "seq", columns, event_conditions(wanted), window, within=within)
        if self._index is not None and event_conditions(wanted):
            try:
                return await _Search(self._db, self._index, wanted, window, columns).run()
            except StoreError as error:
                log.warning("search_index_unusable", error=str(error))
        return await search(self._db, "events", "seq", columns, event_conditions(wanted), window)

    async def _of_order(self, wanted: EventFilter, window: Window, columns: str) -> tuple[Rows, int | None]:
        """Rows of one order, of which the index on orders gives the positions."""
        of_order = Where(order_pk=wanted.order_pk)
        of_order.beyond("seq", window)
        sql = f"SELECT seq FROM events {of_order} ORDER BY seq {direction(window)}"
        positions = [seq for (seq,) in await self._db.fetch(sql, of_order.values)]
        where = event_conditions(wanted)
        where.add("EXISTS (SELECT 1 FROM policy_decisions WHERE policy = ? AND position = seq)", wanted.policy)
        where.add("receipt = ?", wanted.receipt)
        rows: Rows = []
        began, start, size = monotonic(), 0, max(window.limit, 64)
        while start < len(positions) and len(rows) < window.limit:
            if start and monotonic() - began >= pieces.SEARCH_S:
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
    """One list: what is indexed by the index, the rest from the log."""

    def __init__(self, db: Connections, index: IndexFile, wanted: EventFilter, window: Window, columns: str) -> None:
        self._db, self._index, self._wanted, self._window = db, index, wanted, window
        self._columns = columns
        self._rows: Rows = []
        self._ends_at = monotonic() + pieces.SEARCH_S

    async def run(self) -> tuple[Rows, int | None]:
        """(rows, position to resume from)."""
        newer = self._window.newer
        filled_to = (await self._index.read(read_state)).filled_to
        steps = [self._in_index, self._in_log] if newer else [self._in_log, self._in_index]
        resume: int | None = None
        for step in steps:
            resume = await step(filled_to)
            if resume is not None or self._is_full:
                break
        return in_order(self._rows, self._window), None if self._is_full else resume

    @property
    def _is_full(self) -> bool:
        return len(self._rows) >= self._window.limit

    async def _in_log(self, filled_to: int) -> int | None:
        """Search what is not indexed yet. Returns the position to resume from if the budget was spent."""
        position = self._window.position
        if self._window.newer:
            position = max(position, filled_to)
        elif position is not None and position <= filled_to + 1:
            return None
        window = replace(self._window, position=position, limit=self._window.limit - len(self._rows))
        bounds = (filled_to + 1, END)
        where = event_conditions(self._wanted)
        rows, resume = await search(self._db, "events", "seq", self._columns, where, window, bounds=bounds)
        self._rows += in_order(rows, window)
        return resume

    async def _in_index(self, filled_to: int) -> int | None:
        """Search what is indexed, slice by slice. Returns the position to resume from if the budget was spent."""
        part = EventSearch(self._wanted, self._columns, newer=self._window.newer)
        position = self._window.position
        while True:
            window = replace(self._window, position=position, limit=self._window.limit - len(self._rows))
            part_of_list = await self._index.read(partial(part.read, window=window, filled_to=filled_to))
            self._rows += part_of_list.rows
            position = part_of_list.resume
            if position is None or self._is_full or monotonic() >= self._ends_at:
                return position
