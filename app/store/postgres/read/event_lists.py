"""Lists of events on PostgreSQL, from the log: in the order of one of its indexes, in pieces, within a time budget.

What is committed at the same time may appear out of turn: lists are no way to follow the log.
"""

from __future__ import annotations

from dataclasses import replace
from time import monotonic

from app.core.event import Event
from app.store import codec, pieces
from app.store.decoding import read_events
from app.store.facets import EVENT_COUNTED, count_events, counted_rows, counted_window
from app.store.filters import ALL_EVENTS, EventFilter
from app.store.index_protocol import Facets
from app.store.postgres.columns import EVENT_COLUMNS
from app.store.postgres.lists import ListQueries
from app.store.postgres.read.event_filter import event_check, event_conditions
from app.store.postgres.read.events import of_order
from app.store.records import Rows, SearchResult, Window
from app.store.searching import search
from app.store.text import text_query
from app.store.use import Use
from app.store.where import Where
from app.store.windows import direction, in_order

CANDIDATES_MAX = 2000
"""Events of an order that one statement reads at most."""
_DECISIONS = "(SELECT policy, position, account AS of_account FROM @policy_decisions) AS decided"
_OF_POLICY = "JOIN @events AS events ON events.seq = decided.position AND events.account = of_account"


class EventListQueries(ListQueries):
    """The part of `Reader` about lists of events."""

    async def events(self, window: Window, wanted: EventFilter = ALL_EVENTS) -> SearchResult[tuple[int, Event]]:
        rows, resume = await self._event_rows(wanted, window, _of_events(EVENT_COLUMNS))
        page = SearchResult(await read_events(rows), resume)
        if resume is not None:
            sql = "SELECT received_at FROM @events WHERE seq >= ? ORDER BY seq LIMIT 1"
            page.searched_until = next((codec.moment(at) for (at,) in await self._lists.fetch(sql, (resume,))), None)
        return page

    async def event_facets(self, wanted: EventFilter = ALL_EVENTS) -> Facets:
        rows, resume = await self._event_rows(wanted, counted_window(), _of_events(EVENT_COUNTED))
        rows, are_all = counted_rows(rows)
        return Facets(len(rows), count_events(rows), are_all and resume is None)

    async def _event_rows(self, wanted: EventFilter, window: Window, columns: str) -> tuple[Rows, int | None]:
        """(rows of (position, columns), position to resume from if the time budget was spent)."""
        if wanted.text is not None and text_query(wanted.text) is None:
            return [], None
        where, within, table, key, join = event_conditions(wanted), Where(), "@events AS events", "events.seq", ""
        if wanted.order_pk:
            return await self._events_of_order(wanted, window, columns)
        if wanted.policy is not None:
            table, key, join = _DECISIONS, "decided.position", _OF_POLICY
            within.add("decided.policy = ?", wanted.policy)
            where.add("receipt = ?", wanted.receipt)
            where.add("order_pk = ?", wanted.order_pk)
        elif wanted.order_pk is not None:
            within.all_of("order_pk = 0", [])  # written so, it is known to be one partition before it is run
            where.add("receipt = ?", wanted.receipt)
        elif wanted.receipt is not None:
            within.add("receipt = ?", wanted.receipt)
        else:
            within, where = Where(account=wanted.account), event_conditions(replace(wanted, account=None))
        check = event_check(wanted)
        return await search(self._lists, table, key, columns, where, window, within=within, join=join, check=check)

    async def _events_of_order(self, wanted: EventFilter, window: Window, columns: str) -> tuple[Rows, int | None]:
        """Rows of one order, of which the key gives the positions."""
        positions_of = Where()
        positions_of.all_of(of_order("?"), [wanted.order_pk, wanted.order_pk])
        positions_of.beyond("seq", window)
        sql = f"SELECT seq FROM @events {positions_of} ORDER BY seq {direction(window)}"  # sorted, by no index
        positions = [seq for (seq,) in await self._lists.fetch(sql, positions_of.values)]
        where, check = event_conditions(wanted), event_check(wanted)
        where.add("order_pk = ?", wanted.order_pk)
        where.add("receipt = ?", wanted.receipt)
        where.add("EXISTS (SELECT 1 FROM @policy_decisions WHERE policy = ? AND position = seq)", wanted.policy)
        by = f"seq {direction(window)}"
        rows: Rows = []
        began, start, size = monotonic(), 0, max(window.limit, 64)
        while start < len(positions) and len(rows) < window.limit:
            if start and monotonic() - began >= pieces.SEARCH_S:
                return in_order(rows, window), positions[start - 1]
            part = positions[start : start + size]
            select, rest = f"SELECT seq, {columns}", f"FROM @events AS events {where} AND seq = ANY(?::bigint[])"
            values = (*where.values, part)
            async with self._lists.snapshot(Use.SEARCHES) as db:
                if check is None:
                    found = await db.execute_fetchall(f"{select} {rest} ORDER BY {by}", values)
                    rows += [tuple(row) for row in found]
                else:
                    found, reached = await check.read(db, select, by, rest, values, 1)
                    rows += found
                    part = part if reached is None else part[: part.index(reached[0]) + 1]
            start, size = start + len(part), min(size * 2, CANDIDATES_MAX)
        return in_order(rows[: window.limit], window), None


def _of_events(columns: str) -> str:
    """The columns, of the events alone where these are joined."""
    return ", ".join(f"events.{column}" for column in columns.split(", "))
