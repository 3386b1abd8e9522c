"""Counts of events by facet: from the search index's daily counts where these can tell, else of the newest events."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog

from app.store import codec
from app.store.index_protocol import Facets
from app.store.protocol import StoreError
from app.store.records import Window
from app.store.sqlite.connection import Rows
from app.store.sqlite.index import IndexFile
from app.store.sqlite.index.file import read_state
from app.store.sqlite.index.schema import MICROS_PER_DAY
from app.store.sqlite.read.event_filter import EventFilter
from app.store.sqlite.read.event_lists import EventListQueries
from app.store.sqlite.read.search import END, Where, search

COUNTED_MAX = 2000
"""Events that are counted one by one."""
ACCOUNT_DAYS_MAX = 30_000
"""Accounts times days that are added up for the facet of accounts."""
_COLUMNS = "account, type, source, received_at"
_FIELDS = ("type", "account", "source", "day")

log = structlog.get_logger()


class EventFacetQueries(EventListQueries):
    """The part of `Reader` about counts of events."""

    async def event_facets(
        self,
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
    ) -> Facets:
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
        if self._index is not None and _has_counts(wanted):
            try:
                return await self._from_counts(self._index, wanted)
            except StoreError as error:
                log.warning("search_index_unusable", error=str(error))
        rows, resume = await self._event_rows(wanted, Window(COUNTED_MAX + 1), _COLUMNS)
        counts = _count(rows[:COUNTED_MAX])
        return Facets(min(len(rows), COUNTED_MAX), counts, resume is None and len(rows) <= COUNTED_MAX)

    async def _from_counts(self, index: IndexFile, wanted: EventFilter) -> Facets:
        filled_to, counts, complete = await index.read(lambda db: _indexed(db, wanted))
        where, window = wanted.where(), Window(COUNTED_MAX + 1)
        rows, resume = await search(self._db, "events", "seq", _COLUMNS, where, window, bounds=(filled_to + 1, END))
        for field, more in _count(rows[:COUNTED_MAX]).items():
            counts[field].update(more)
        complete = complete and resume is None and len(rows) <= COUNTED_MAX
        return Facets(counts["type"].total(), counts, complete)


def _has_counts(wanted: EventFilter) -> bool:
    """Whether daily counts can tell: days are whole, and nothing is asked that they do not distinguish."""
    edges = [codec.micros(edge) for edge in (wanted.since, wanted.until) if edge is not None]
    by_type = wanted.text is None and not wanted.looks_into_decisions
    return wanted.by_index and by_type and all(edge % MICROS_PER_DAY == 0 for edge in edges)


def _indexed(db: sqlite3.Connection, wanted: EventFilter) -> tuple[int, dict[str, Counter[str]], bool]:
    """(how far the index is, counts of what is indexed, whether they are whole)."""
    filled_to = read_state(db).filled_to
    terms = {id: (field, value) for id, field, value in db.execute("SELECT * FROM terms")}
    accounts = [id for id, (field, _) in terms.items() if field == "account"]
    one = 0 if wanted.account is None else next((id for id in accounts if terms[id][1] == wanted.account), -1)
    counts = {field: Counter[str]() for field in _FIELDS}
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


def _count(rows: Rows) -> dict[str, Counter[str]]:
    """The counts of rows of (position, columns)."""
    counts = {field: Counter[str]() for field in _FIELDS}
    for _, account, type, source, received_at in rows:
        counts["account"][account] += 1
        counts["type"][type] += 1
        counts["source"][source] += 1
        counts["day"][f"{codec.moment(received_at):%Y-%m-%d}"] += 1
    return counts
