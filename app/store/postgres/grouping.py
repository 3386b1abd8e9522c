"""Groups of the rows of an index (`app.store.grouping`) on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.store.filters import Group
from app.store.grouping import Parts
from app.store.pieces import Statements
from app.store.records import Rows, Window
from app.store.where import Where


@dataclass(frozen=True, slots=True)
class PostgresGrouping:
    """An index with first columns of few values, after which it is ordered by `key`.

    A column of `nullable` stands in the index as `coalesce(column, '')`: comparisons of rows pass over nulls.
    """

    table: str
    columns: tuple[str, ...]
    key: str
    condition: str = "true"
    """That of the index, if it is partial."""
    nullable: str = ""

    @property
    def _indexed(self) -> tuple[str, ...]:
        return tuple(f"coalesce({column}, '')" if column == self.nullable else column for column in self.columns)

    async def groups(
        self, db: Statements, maximum: int, wanted: Callable[[Group], bool], first: Group = ()
    ) -> list[Group] | None:
        """See `Grouping.groups`: a loose scan, as the planner has none."""
        given, rest = self._indexed[: len(first)], self._indexed[len(first) :]
        fixed = "".join(f"{column} = ? AND " for column in given)
        shown = ", ".join(f"{column} AS value{number}" for number, column in enumerate(self._indexed))
        own, by = ", ".join(rest), ", ".join(rest)
        last = ", ".join(f"grouped.value{number}" for number in range(len(first), len(self.columns)))
        one = f"SELECT {shown} FROM {self.table} WHERE {fixed} {self.condition}"
        sql = f"""WITH RECURSIVE grouped AS (
                (SELECT * FROM ({one} ORDER BY {by} LIMIT 1) AS least)
            UNION ALL
                (SELECT following.* FROM grouped CROSS JOIN LATERAL (
                    {one} AND ({own}) > ({last}) ORDER BY {by} LIMIT 1) AS following))
            SELECT * FROM grouped LIMIT {maximum + 1}"""
        found = [self._shown(tuple(row)) for row in await db.execute_fetchall(sql, (*first, *first))]
        return None if len(found) > maximum else [group for group in found if wanted(group)]

    async def merged(self, db: Statements, columns: str, groups: Sequence[Group], where: Where, window: Window) -> Rows:
        """See `Grouping.merged`."""
        within = " AND ".join(f"{column} = ?" for column in self._indexed)
        parts = Parts(self.table, self.key, f"{self.condition} AND {within}", limited=True)
        return await parts.merged(db, columns, [self._stored(group) for group in groups], where, window)

    async def counts(self, db: Statements, groups: Sequence[Group], maximum: int) -> list[int]:
        """See `Grouping.counts`."""
        names = [f"value{number}" for number in range(len(self.columns))]
        within = " AND ".join(f"{column} = wanted.{name}" for column, name in zip(self._indexed, names, strict=True))
        sql = f"""SELECT (SELECT count(*) FROM (
                      SELECT 1 FROM {self.table} WHERE {self.condition} AND {within} LIMIT ?) AS counted)
                  FROM unnest({", ".join("?::text[]" for _ in names)}) WITH ORDINALITY
                      AS wanted ({", ".join(names)}, number) ORDER BY number"""
        stored = [self._stored(group) for group in groups]
        values = [[group[number] for group in stored] for number in range(len(names))]
        return [number for (number,) in await db.execute_fetchall(sql, (maximum, *values))]

    def _shown(self, stored: Group) -> Group:
        pairs = zip(self.columns, stored, strict=True)
        return tuple(None if column == self.nullable and not value else value for column, value in pairs)

    def _stored(self, group: Group) -> Group:
        return tuple("" if value is None else value for value in group)
