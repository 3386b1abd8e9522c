"""What the events of a list have in common, as conditions of the log and as what is checked of its rows."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import msgspec
from msgspec import Struct

from app.core.event_types import POLICY_DECIDED, POLICY_PREFIX
from app.runtime.time_slice import TimeSlice
from app.store.filters import EventFilter
from app.store.postgres.lists import like
from app.store.records import Rows
from app.store.searching import Check
from app.store.text import has_text, text_query
from app.store.where import Where

_LITERAL = "position(? in lower(body)) > 0 OR position(? in lower(name)) > 0 OR octet_length(body) > length(body)"
"""A part of a text that stands in ASCII as it is asked for; other characters may be folded to it."""


class _Decision(Struct, frozen=True):
    outcome: str = ""
    policy: str = ""


class _Data(Struct, frozen=True):
    decisions: tuple[_Decision, ...] = ()


class _Body(Struct):
    data: _Data = _Data()


_read_body = msgspec.json.Decoder(_Body).decode


def event_conditions(wanted: EventFilter) -> Where:
    """The conditions of the log, but for what `EventFilter.of_whole_log` is about, and for what is checked."""
    where = wanted.where()
    if wanted.types:
        where.all_of("type LIKE ANY(?::text[])", [[like(type) for type in wanted.stored_types]])
    query = None if wanted.text is None else text_query(wanted.text)
    for literal in () if query is None else query.literals:
        where.all_of(f"({_LITERAL} OR octet_length(name) > length(name))", [literal, literal])
    return where


def event_check(wanted: EventFilter) -> Check | None:
    """What the database cannot tell: texts by words, and the types of single decisions."""
    if wanted.text is None and not wanted.looks_into_decisions:
        return None
    conditions = list[Callable[[str, str, str], bool]]()
    if wanted.looks_into_decisions:
        conditions.append(lambda kind, _, body: _has_type(wanted, kind, body))
    if wanted.text is not None:
        conditions.append(lambda _, name, body: has_text(body, name, wanted.text or ""))

    async def keep(rows: Rows) -> Rows:
        time_slice, kept = TimeSlice(), list[tuple[Any, ...]]()
        for row in rows:
            type, name, body = row[-3:]
            if all(holds(type, name, body) for holds in conditions):
                kept.append(row[:-3])
            await time_slice.pause()
        return kept

    return Check("type AS checked_type, name AS checked_name, body AS checked", "octet_length(body)", keep)


def _has_type(wanted: EventFilter, type: str, body: str) -> bool:
    """Whether it has one of the types, or a decision in it would have as an event of its own."""
    if any(fnmatchcase(type, glob) for glob in wanted.types):
        return True
    return type == POLICY_DECIDED and any(
        wanted.policy in (None, decision.policy) and fnmatchcase(POLICY_PREFIX + decision.outcome, glob)
        for decision in _read_body(body).data.decisions
        for glob in wanted.types
    )
