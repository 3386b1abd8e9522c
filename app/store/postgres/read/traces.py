"""Queries for traces."""

from __future__ import annotations

from collections.abc import Sequence

from app.store.postgres.connection import Queries
from app.store.use import Use


class TraceQueries(Queries):
    """The part of `Reader` about traces."""

    async def trace_contexts(self, ids: Sequence[str]) -> dict[str, str]:
        sql = "SELECT id, traceparent FROM @trace_contexts WHERE id = ANY($1::text[]) ORDER BY id"
        return dict(map(tuple, await self._db.fetch(sql, list(ids), use=Use.WORK)))
