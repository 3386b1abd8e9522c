"""Counts of events by facet: from the search index's daily counts where these can tell, else of the newest events."""

from __future__ import annotations

import sqlite3
from collections import Counter
from datetime import UTC, datetime

import structlog

from app.store import codec
from app.store.facets import EVENT_COUNTED, EVENT_FIELDS, count_events, counted_rows, counted_window
from app.store.filters import ALL_EVENTS, EventFilter
from app.store.id_bounds import END
from app.store.index_protocol import Facets
from app.store.protocol import StoreError
from app.store.searching import search
from app.store.sqlite.index import IndexFile
from app.store.sqlite.index.file import read_state
from app.store.sqlite.index.schema import MICROS_PER_DAY
from app.store.sqlite.read.event_filter import event_conditions
from app.store.sqlite.read.event_lists import EventListQueries
from app.store.where import Where

ACCOUNT_DAYS_MAX = 30_000
"""Accounts times days that are added up for the facet of accounts."""

log = structlog.get_logger()


class EventFacetQueries(EventListQueries):
    """The part of `Reader` about counts of events."""

    async def event_facets(self, wanted: EventFilter = ALL_EVENTS) -> Facets:
        if self._index is not None and _has_counts(wanted):
            try:
                return await self._from_counts(self._index, wanted)
            except StoreError as error:
                log.warning("search_index_unusable", error=str(error))
        rows, resume = await self._event_rows(wanted, counted_window(), EVENT_COUNTED)
        rows, complete = counted_rows(rows)
        return Facets(len(rows), count_events(rows), complete and resume is None)

    async def _from_counts(self, index: IndexFile, wanted: EventFilter) -> Facets:
        filled_to, counts, complete = await index.read(lambda db: _indexed(db, wanted))
        where, window = event_conditions(wanted), counted_window()
        rows, resume = await search(
            self._db, "events", "seq", EVENT_COUNTED, where, window, bounds=(filled_to + 1, END)
        )
        counted, are_all = counted_rows(rows)
        for field, more in count_events(counted).items():
            counts[field].update(more)
        complete = complete and resume is None and are_all
        return Facets(counts["type"].total(), counts, complete)


def _has_counts(wanted: EventFilter) -> bool:
    """Whether daily counts can tell: days are whole, and nothing is asked that they do not distinguish."""
    edges = [codec.micros(edge) for edge in (wanted.since, wanted.until) if edge is not None]
    by_type = wanted.text is None and not wanted.looks_into_decisions
    return wanted.of_whole_log and by_type and all(edge % MICROS_PER_DAY == 0 for edge in edges)


def _indexed(db: sqlite3.Connection, wanted: EventFilter) -> tuple[int, dict[str, Counter[str]], bool]:
    """(how far the index is, counts of what is indexed, whether they are whole)."""
    filled_to = read_state(db).filled_to
    terms = {id: (field, value) for id, field, value in db.execute("SELECT * FROM terms")}
    accounts = [id for id, (field, _) in terms.items() if field == "account"]
    one = 0 if wanted.account is None else next((id for id in accounts if terms[id][1] == wanted.account), -1)
    counts = {field: Counter[str]() for field in EVENT_FIELDS}
    by_day = {}
    for field in ("type", "source", "day"):
        where = Where(account=one)
        if _is_total(wanted) and field != "day":
            where.add("day = ?", -1)
        else:
            where.add("day >= ?", _day(wanted.since) or 0)
            where.add("day < ?", _day(wanted.until))
        _add_kinds(where, wanted)
        sql = f"SELECT {field}, sum(n) FROM counts {where} GROUP BY 1"
        for value, n in db.execute(sql, where.values):
            if field == "day":
                by_day[value] = n
            else:
                counts[field][terms[value][1]] = n
    counts["day"].update({f"{datetime.fromtimestamp(day * 86400, UTC):%Y-%m-%d}": n for day, n in by_day.items()})
    days = [-1] if _is_total(wanted) else list(by_day)
    if wanted.account is not None:
        if total := counts["type"].total():
            counts["account"][wanted.account] = total
        return filled_to, counts, True
    if len(accounts) * len(days) > ACCOUNT_DAYS_MAX:
        return filled_to, counts, False
    where = Where()
    if wanted.types or wanted.source is not None:
        _add_kinds(where, wanted)
    else:
        where.add("counts.type = ?", 0)
        where.add("counts.source = ?", 0)
    sql = f"""SELECT value, (SELECT sum(n) FROM json_each(?) AS days CROSS JOIN counts
                             {where} AND counts.account = terms.id AND counts.day = days.value) AS total
              FROM terms WHERE field = 'account' AND total > 0"""
    for account, n in db.execute(sql, (codec.to_json(days), *where.values)):
        counts["account"][account] = n
    return filled_to, counts, True


def _is_total(wanted: EventFilter) -> bool:
    """Whether all days are meant."""
    return (wanted.since, wanted.until) == (None, None)


def _day(edge: datetime | None) -> int | None:
    return None if edge is None else codec.micros(edge) // MICROS_PER_DAY


def _add_kinds(where: Where, wanted: EventFilter) -> None:
    """Conditions on types and sources, by number; never of the rows that stand for all."""
    where.add("counts.type > ?", 0)
    if wanted.types:
        globs = " OR ".join(["value GLOB ?"] * len(wanted.types))
        where.all_of(f"counts.type IN (SELECT id FROM terms WHERE field = 'type' AND ({globs}))", wanted.types)
    where.add("counts.source = (SELECT id FROM terms WHERE field = 'source' AND value = ?)", wanted.source)
