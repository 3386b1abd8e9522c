"""Queries for the contexts of traces."""

from __future__ import annotations

from collections.abc import Sequence

from app.store.sqlite.connection import Queries
from app.store.sqlite.statements import marks, parts
from app.store.use import Use


class TraceQueries(Queries):
    """`TraceReader` on SQLite."""

    async def trace_contexts(self, ids: Sequence[str]) -> dict[str, str]:
        contexts: dict[str, str] = {}
        for part in parts(ids):
            sql = f"SELECT id, traceparent FROM trace_contexts WHERE id IN ({marks(part)}) ORDER BY id"
            contexts.update(await self._db.fetch(sql, part, Use.WORK))
        return contexts
