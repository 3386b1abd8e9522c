"""Groups of the rows of an index (`app.store.grouping`) on SQLite."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.store import codec
from app.store.filters import Group
from app.store.grouping import Parts
from app.store.pieces import Statements
from app.store.records import Rows, Window
from app.store.where import Where


@dataclass(frozen=True, slots=True)
class SqliteGrouping:
    """An index with first columns of few values, after which it is ordered by `key`."""

    table: str
    index: str
    columns: tuple[str, ...]
    key: str
    condition: str = "true"
    """That of the index, if it is partial."""

    @property
    def source(self) -> str:
        """The table, read by the index."""
        return f"{self.table} INDEXED BY {self.index}"

    async def groups(
        self, db: Statements, maximum: int, wanted: Callable[[Group], bool], first: Group = ()
    ) -> list[Group] | None:
        given, rest = self.columns[: len(first)], self.columns[len(first) :]
        fixed = "".join(f"{column} = ?{number} AND " for number, column in enumerate(given, 1))
        one = f"SELECT json_array({', '.join(self.columns)}) FROM {self.source} WHERE {fixed}"
        by = f"ORDER BY {', '.join(rest)} LIMIT 1"
        # The next group differs in the last column, else in the one before it, and so on. (For one comparison of all
        # columns at once SQLite reads a whole group.)
        nexts = []
        for number in range(len(self.columns) - 1, len(first) - 1, -1):
            same = "".join(f"{self.columns[n]} IS found ->> {n} AND " for n in range(len(first), number))
            nexts.append(f"({one} {same} {self.columns[number]} > ifnull(found ->> {number}, '') {by})")
        sql = f"""WITH RECURSIVE grouped (found) AS (
                SELECT ({one} {rest[0]} > '' {by})
            UNION ALL
                SELECT coalesce({", ".join([*nexts, "NULL"])}) FROM grouped
                WHERE found IS NOT NULL LIMIT {maximum + 2})
            SELECT found FROM grouped WHERE found IS NOT NULL"""
        found = [tuple(codec.read_json(text)) for (text,) in await db.execute_fetchall(sql, first)]
        return None if len(found) > maximum else [group for group in found if wanted(group)]

    async def merged(self, db: Statements, columns: str, groups: Sequence[Group], where: Where, window: Window) -> Rows:
        within = " AND ".join(f"{column} IS ?" for column in self.columns)
        return await Parts(self.source, self.key, within).merged(db, columns, groups, where, window)

    async def counts(self, db: Statements, groups: Sequence[Group], maximum: int) -> list[int]:
        within = " AND ".join(f"{column} IS value ->> {number}" for number, column in enumerate(self.columns))
        sql = f"""SELECT json_each.key, (
                      SELECT count(*) FROM (SELECT 1 FROM {self.source} WHERE {self.condition} AND {within} LIMIT ?))
                  FROM json_each(?)"""
        counts = dict(tuple(row) for row in await db.execute_fetchall(sql, (maximum, codec.to_json(groups))))
        return [counts[number] for number in range(len(groups))]
