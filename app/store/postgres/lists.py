"""Connections for lists: they run the statements that all databases share, and have these planned by the indexes.

A list is read in the order of an index, page by page. The planner would rather sort a table that it takes for small,
and goes on with that plan when the table is not small any more: so what sorts and scans is switched off.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from itertools import count
from typing import Any

from app.store.pieces import Lists
from app.store.postgres.connection import Connections, Queries, Session
from app.store.protocol import StoreContention, StoreInterrupted, StoreUnavailable
from app.store.records import Rows
from app.store.use import Use

STATEMENT_S = 10
"""Time limit of a statement: each is bounded by what it reads."""
# Without `jit = off`, PostgreSQL compiles what has no other plan than one that is switched off: it takes that for dear.
_BEGIN = f"""BEGIN ISOLATION LEVEL {{}} READ ONLY; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off;
    SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL jit = off;
    SET LOCAL statement_timeout = '{STATEMENT_S}s'"""
_PLACEHOLDER = re.compile(r"\?")


@lru_cache(maxsize=1024)
def numbered(sql: str) -> str:
    """The statement with numbered placeholders instead of question marks."""
    numbers = count(1)
    return _PLACEHOLDER.sub(lambda _: f"${next(numbers)}", sql)


class ListStatements:
    """A connection that runs statements of lists."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def execute_fetchall(self, sql: str, values: Iterable[Any] = (), /) -> Rows:
        """All rows that a query gives; it has a question mark for each value."""
        given = tuple(values)
        if any(isinstance(value, str) and "\0" in value for value in given):
            return []  # nothing that is stored has NUL, and PostgreSQL would refuse the query
        return [tuple(row) for row in await self._session.fetch(numbered(sql), *given)]


class ListConnections:
    """The connections that serve lists; to a standby if there is one."""

    def __init__(self, db: Connections) -> None:
        self._db = db

    @asynccontextmanager
    async def borrow(self, use: Use = Use.LISTS) -> AsyncIterator[ListStatements]:
        """A connection for the pieces of a search. Nothing is sorted: an index has each piece in its order."""
        async with self._reading(use, "READ COMMITTED", "SET LOCAL enable_sort = off") as statements:
            yield statements

    @asynccontextmanager
    async def snapshot(self, use: Use = Use.LISTS) -> AsyncIterator[ListStatements]:
        """A connection on which several queries see the same rows."""
        async with self._reading(use, "REPEATABLE READ") as statements:
            yield statements

    async def fetch(self, sql: str, values: Sequence[Any] = (), use: Use = Use.LISTS) -> Rows:
        """All rows that a query gives. It is asked again once if the connection had broken, or a standby gave it up."""
        try:
            return await self._fetch(sql, values, use)
        except StoreInterrupted:
            raise
        except (StoreUnavailable, StoreContention):
            return await self._fetch(sql, values, use)

    async def _fetch(self, sql: str, values: Sequence[Any], use: Use) -> Rows:
        async with self._reading(use, "READ COMMITTED") as statements:
            return await statements.execute_fetchall(sql, values)

    @asynccontextmanager
    async def _reading(self, use: Use, isolation: str, more: str = "") -> AsyncIterator[ListStatements]:
        async with self._db.borrow(use) as session:
            await session.script(f"{_BEGIN.format(isolation)}; {more}")
            yield ListStatements(session)
            await session.script("COMMIT")


class ListQueries(Queries):
    """Queries for lists: the base of each list's class in `read`."""

    def __init__(self, connections: Connections) -> None:
        super().__init__(connections)
        self._lists: Lists = ListConnections(connections)


def like(glob: str) -> str:
    """The pattern of LIKE for a type with stars for any characters."""
    return re.sub(r"([%_\\])", r"\\\1", glob).replace("*", "%")
