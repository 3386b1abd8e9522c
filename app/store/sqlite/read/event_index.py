"""Lists of events by the search index, as functions on the thread of a connection that has index and log.

A search goes part by part in the direction of the list: words give candidates, which are verified against the log, in
batches whose size follows how long the last one took. Where a word may be the beginning of others, FTS5 reads all that
begin so, before it gives the first event: so the other words are asked alone, and often have few candidates.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from time import monotonic
from typing import Any

from app.store import codec
from app.store.filters import EventFilter
from app.store.records import Rows, Window
from app.store.sqlite.index.file import IndexState, read_state
from app.store.sqlite.index.schema import BLOCK_BITS, KIND, TERM, bounds
from app.store.sqlite.read.event_filter import event_conditions
from app.store.text import text_query
from app.store.where import Where

CANDIDATES_MIN, CANDIDATES_MAX = 64, 4096
"""Events that one statement verifies."""
BATCH_S = 0.01
"""Target duration of a batch."""
SLICE_S = 0.025
"""How long one search has the connection before another one gets it."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of a list."""

    rows: Rows
    """(position, columns), in the direction of the list."""
    resume: int | None
    """Where to go on; None at the end of what is indexed."""
    filled_to: int


@dataclass(frozen=True, slots=True)
class _Match:
    """The index's query for a filter."""

    exact: str
    """As narrow as the index can tell; empty where all events match."""
    whole: str
    """Without the last word of the text, if that may be the beginning of one; empty if nothing else is left."""


class EventSearch:
    """One list by the index: its slices, and how large its batches are."""

    def __init__(self, wanted: EventFilter, columns: str, *, newer: bool) -> None:
        self._wanted, self._newer = wanted, newer
        self._where = event_conditions(wanted)
        self._size = CANDIDATES_MIN
        self._sql = f"""SELECT seq, {columns} FROM log.events
            {self._where or "WHERE 1"} AND seq IN (SELECT value FROM json_each(?))
            ORDER BY seq {"ASC" if newer else "DESC"} LIMIT ?"""

    def read(self, db: sqlite3.Connection, window: Window, filled_to: int | None) -> Slice:
        """The next slice from the window's position, of what is indexed up to `filled_to`; None: all."""
        state = read_state(db)
        if filled_to is not None:
            state = replace(state, filled_to=filled_to)
        match = _match(db, self._wanted)
        if match is None:
            return Slice([], None, state.filled_to)
        rows: Rows = []
        ends_at = monotonic() + SLICE_S
        for words, low, high in self._intervals(db, state, window.position):
            position: int | None = low - 1 if self._newer else high + 1
            while position is not None:
                if rows and len(rows) >= window.limit:
                    return Slice(rows, None, state.filled_to)
                if monotonic() >= ends_at:
                    return Slice(rows, position, state.filled_to)
                left = (position + 1, high) if self._newer else (low, position - 1)
                more, position = self._batch(db, words, match, *left, window.limit - len(rows))
                rows += more
        return Slice(rows, None, state.filled_to)

    def _batch(
        self, db: sqlite3.Connection, words: str, match: _Match, low: int, high: int, limit: int
    ) -> tuple[Rows, int | None]:
        """(rows between two positions, both included; where to go on, if not at the end)."""
        candidates = self._candidates(db, words, match, low, high)
        if not candidates:
            return [], None
        values = (*self._where.values, codec.to_json(candidates), limit)
        began = monotonic()
        rows = db.execute(self._sql, values).fetchall()
        took_s = monotonic() - began
        resume = candidates[-1] if len(candidates) == self._size else None
        # What finding candidates takes does not grow with their number: it is no reason for a smaller batch.
        if took_s < BATCH_S:
            self._size = min(self._size * 2, CANDIDATES_MAX)
        elif took_s > 2 * BATCH_S:
            self._size = max(self._size // 2, CANDIDATES_MIN)
        return rows, resume

    def _candidates(self, db: sqlite3.Connection, words: str, match: _Match, low: int, high: int) -> list[int]:
        """The first positions that may match, in the direction of the list."""
        way = "ASC" if self._newer else "DESC"
        if not match.exact:
            sql = f"SELECT seq FROM log.events WHERE seq BETWEEN ? AND ? ORDER BY seq {way} LIMIT ?"
            return [seq for (seq,) in db.execute(sql, (low, high, self._size))]
        sql = f"""SELECT rowid FROM {words} WHERE {words} MATCH ? AND rowid BETWEEN ? AND ?
                  ORDER BY rowid {way} LIMIT ?"""
        if match.whole:
            candidates = [seq for (seq,) in db.execute(sql, (match.whole, low, high, self._size))]
            if len(candidates) < self._size or match.whole == match.exact:
                return candidates
        return [seq for (seq,) in db.execute(sql, (match.exact, low, high, self._size))]

    def _intervals(
        self, db: sqlite3.Connection, state: IndexState, position: int | None
    ) -> Iterator[tuple[str, int, int]]:
        """(full-text table, first position, last position) of each interval, in the direction of the list."""
        intervals = _intervals(db, self._wanted, state.filled_to)
        for part, words in state.parts[::-1] if self._newer else state.parts:
            first, last = bounds(part)
            last = min(last, state.filled_to)
            if position is not None:
                first, last = (max(first, position + 1), last) if self._newer else (first, min(last, position - 1))
            for low, high in intervals if self._newer else intervals[::-1]:
                if max(low, first) <= min(high, last):
                    yield words, max(low, first), min(high, last)


def _match(db: sqlite3.Connection, wanted: EventFilter) -> _Match | None:
    """The index's query for a filter; None where no event matches."""
    terms: list[str] = []
    if wanted.account is not None and (wanted.types or wanted.source is not None):
        kinds = Where(**{"account.value": wanted.account, "source.value": wanted.source})
        kinds.any_of("type.value GLOB ?", wanted.stored_types)
        sql = f"""SELECT kind.id FROM kinds AS kind JOIN terms AS account ON account.id = kind.account
                  JOIN terms AS type ON type.id = kind.type JOIN terms AS source ON source.id = kind.source {kinds}"""
        terms.append(_any(KIND, db.execute(sql, kinds.values)))
    else:
        for field, condition, values in (
            ("account", "value = ?", [wanted.account] if wanted.account is not None else []),
            ("type", "value GLOB ?", wanted.stored_types),
            ("source", "value = ?", [wanted.source] if wanted.source is not None else []),
        ):
            if values:
                where = Where(field=field)
                where.any_of(condition, values)
                terms.append(_any(TERM, db.execute(f"SELECT id FROM terms {where}", where.values)))
    if not all(terms):
        return None
    exact = whole = " AND ".join(terms)
    if wanted.text is not None:
        query = text_query(wanted.text)
        if query is None:
            return None
        exact = " AND ".join([*terms, query.match])
        whole = " AND ".join([*terms, query.whole] if query.whole else terms)
    return _Match(exact, whole)


def _any(prefix: str, rows: Iterator[Any]) -> str:
    words = [f'"{prefix}{id}"' for (id,) in rows]
    return f"({' OR '.join(words)})" if words else ""


def _intervals(db: sqlite3.Connection, wanted: EventFilter, filled_to: int) -> Sequence[tuple[int, int]]:
    """Where indexed events of the filter's times may be: positions from and to, both included, by position."""
    blocks = Where()
    blocks.add("last_at >= ?", codec.micros_or_none(wanted.since))
    blocks.add("first_at < ?", codec.micros_or_none(wanted.until))
    if not blocks:
        return [(0, filled_to)]
    ids = [id for (id,) in db.execute(f"SELECT id FROM blocks {blocks} ORDER BY id", blocks.values)]
    if not ids:
        return []
    ends = [id for id, following in pairwise(ids) if following != id + 1]
    starts = [following for id, following in pairwise(ids) if following != id + 1]
    return [
        (start << BLOCK_BITS, ((end + 1) << BLOCK_BITS) - 1)
        for start, end in zip([ids[0], *starts], [*ends, ids[-1]], strict=True)
    ]
