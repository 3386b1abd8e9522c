"""Queries for the traffic of endpoints."""

from __future__ import annotations

from app.store import codec
from app.store.sqlite.connection import Queries
from app.store.traffic import STATE_COLUMNS, EndpointCount, EndpointRefusal, EndpointState, read_state
from app.store.where import Where


class TrafficQueries(Queries):
    """See `TrafficReader`. There are few rows: some for each endpoint."""

    async def endpoint_counts(self, endpoint: str | None = None) -> list[EndpointCount]:
        where = Where(endpoint=endpoint)
        sql = f"SELECT account, endpoint, status, cause, count, last_at FROM endpoint_counts {where}"
        rows = await self._db.fetch(sql, tuple(where.values))
        return [
            EndpointCount(account, of, status, cause, count, codec.moment(last_at))
            for account, of, status, cause, count, last_at in rows
        ]

    async def endpoint_states(self, endpoint: str | None = None) -> list[EndpointState]:
        where = Where(endpoint=endpoint)
        rows = await self._db.fetch(f"SELECT {STATE_COLUMNS} FROM endpoint_states {where}", tuple(where.values))
        return [read_state(row) for row in rows]

    async def endpoint_refusals(self, account: str, endpoint: str) -> list[EndpointRefusal]:
        sql = """SELECT id, account, endpoint, at, cause, detail, headers, address FROM endpoint_refusals
                 WHERE account = ? AND endpoint = ? ORDER BY id DESC"""
        return [
            EndpointRefusal(id, account, endpoint, codec.moment(at), cause, detail, tuple(codec.read_json(names)), by)
            for id, account, endpoint, at, cause, detail, names, by in await self._db.fetch(sql, (account, endpoint))
        ]
