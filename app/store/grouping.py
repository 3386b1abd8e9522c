"""Lists merged from the groups of rows that the first columns of an index make.

Where the first columns of an index have few values (a state, a phase), the rows of each combination of them are a
group, in the order of what comes next. A list whose filter leaves several groups merges these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.store.filters import Group
from app.store.pieces import Statements
from app.store.records import Rows, Window
from app.store.where import Where
from app.store.windows import direction, in_order


class Grouping(Protocol):
    """An index with first columns of few values, after which it is ordered by a key."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The first columns."""

    async def groups(
        self, db: Statements, maximum: int, wanted: Callable[[Group], bool], first: Group = ()
    ) -> list[Group] | None:
        """The wanted groups that have rows; None if there are more than `maximum`, wanted or not.

        One look into the index for each. With `first`, only groups that begin so.
        """

    async def merged(self, db: Statements, columns: str, groups: Sequence[Group], where: Where, window: Window) -> Rows:
        """Rows of (key, columns) of these groups from the window's position, in the order of the list."""

    async def counts(self, db: Statements, groups: Sequence[Group], maximum: int) -> list[int]:
        """How many rows each of these groups has, counted up to `maximum`."""


@dataclass(frozen=True, slots=True)
class Parts:
    """How the rows of several groups are read together."""

    source: str
    """The table, and the index if it is named."""
    key: str
    within: str
    """The condition of a group, with a question mark for each of its columns."""
    limited: bool = False
    """Whether each group is read up to the limit by itself: then no planner takes them together and sorts them."""

    async def merged(self, db: Statements, columns: str, groups: Sequence[Group], where: Where, window: Window) -> Rows:
        """See `Grouping.merged`."""
        if not groups:
            return []
        also = str(where).replace("WHERE", "AND", 1)
        past = Where()
        past.beyond(self.key, window)
        beyond = str(past).replace("WHERE", "AND", 1)
        part = f"SELECT {self.key}, {columns} FROM {self.source} WHERE {self.within} {beyond} {also}"
        by = f"ORDER BY {self.key} {direction(window)} LIMIT ?"
        limit = [window.limit] if self.limited else []
        if self.limited:
            part = f"({part} {by})"
        together = " UNION ALL ".join([part] * len(groups))
        sql = f"SELECT * FROM ({together}) AS merged {by}" if self.limited else f"{together} {by}"
        values = [value for group in groups for value in (*group, *past.values, *where.values, *limit)]
        return in_order([tuple(row) for row in await db.execute_fetchall(sql, (*values, window.limit))], window)
