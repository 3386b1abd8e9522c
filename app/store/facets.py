"""Counts by facet: of the groups of an index up to a number for each, or of the newest rows of a list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from app.store import codec
from app.store.filters import Group
from app.store.grouping import Grouping
from app.store.index_protocol import Facets
from app.store.pieces import Statements
from app.store.records import Rows, Window

COUNTED_MAX = 2000
"""Rows of a list that are counted one by one."""
VALUES_MAX = 500
"""Groups that are counted."""
GROUPS_MAX = 100
"""Groups that one statement merges."""
STEPS_MAX = 200_000
"""Entries of an index that are counted at most."""
GROUP_MAX = 5_000
"""The same for one group."""


EVENT_COUNTED = "account, type, source, received_at"
EVENT_FIELDS = ("type", "account", "source", "day")
"""What events are counted by; the day is that of receipt, in UTC."""


def counted_window() -> Window:
    """The rows of a list that are counted one by one, and one more."""
    return Window(COUNTED_MAX + 1)


async def count_groups(
    db: Statements, grouping: Grouping, wanted: Callable[[Group], bool], first: Group = ()
) -> Facets | None:
    """The wanted groups by the value of each column; None if there are too many groups."""
    groups = await grouping.groups(db, VALUES_MAX, wanted, first)
    if groups is None:
        return None
    maximum = min(GROUP_MAX, STEPS_MAX // max(len(groups), 1))
    counts: dict[str, Counter[str]] = {column: Counter() for column in grouping.columns}
    more: dict[str, set[str]] = {column: set() for column in grouping.columns}
    for group, count in zip(groups, await grouping.counts(db, groups, maximum + 1), strict=True):
        for column, value in zip(grouping.columns, group, strict=True):
            if value is not None:
                counts[column][value] += min(count, maximum)
                if count > maximum:
                    more[column].add(value)
    return Facets(counts[grouping.columns[0]].total(), counts, not any(more.values()), more)


def count_rows(fields: Sequence[str], rows: Rows, *, complete: bool = True) -> Facets:
    """The first rows of a list, as (position, fields): one more than are counted tells that there are more."""
    counts: dict[str, Counter[str]] = {field: Counter() for field in fields}
    rows, are_all = counted_rows(rows)
    for row in rows:
        for field, value in zip(fields, row[-len(fields) :], strict=True):
            if value is not None:
                counts[field][value] += 1
    complete = complete and are_all
    more = {} if complete else {field: set(values) for field, values in counts.items()}
    return Facets(len(rows), counts, complete, more)


def counted_rows(rows: Rows) -> tuple[Rows, bool]:
    """(the rows that are counted; whether these are all)."""
    return rows[:COUNTED_MAX], len(rows) <= COUNTED_MAX


def count_events(rows: Rows) -> dict[str, Counter[str]]:
    """The counts of rows of (position, `EVENT_COUNTED`)."""
    counts = {field: Counter[str]() for field in EVENT_FIELDS}
    for _, account, type, source, received_at in rows:
        counts["account"][account] += 1
        counts["type"][type] += 1
        counts["source"][source] += 1
        counts["day"][f"{codec.moment(received_at):%Y-%m-%d}"] += 1
    return counts
