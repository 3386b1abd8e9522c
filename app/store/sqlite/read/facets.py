"""Counts by facet: of the groups of an index up to a number for each, or of the newest rows of a list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import aiosqlite

from app.store.index_protocol import Facets
from app.store.sqlite.connection import Rows
from app.store.sqlite.read.ordered import Group, Grouping

COUNTED_MAX = 2000
"""Rows of a list that are counted one by one."""
VALUES_MAX = 500
"""Groups that are counted."""
STEPS_MAX = 200_000
"""Entries of an index that are counted at most."""
GROUP_MAX = 5_000
"""The same for one group."""


async def count_groups(
    db: aiosqlite.Connection, grouping: Grouping, wanted: Callable[[Group], bool], first: Group = ()
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
    for row in rows[:COUNTED_MAX]:
        for field, value in zip(fields, row[-len(fields) :], strict=True):
            if value is not None:
                counts[field][value] += 1
    complete = complete and len(rows) <= COUNTED_MAX
    more = {} if complete else {field: set(values) for field, values in counts.items()}
    return Facets(min(len(rows), COUNTED_MAX), counts, complete, more)
