"""Queries for the traffic of endpoints."""

from __future__ import annotations

from app.store import codec
from app.store.postgres.connection import Queries
from app.store.traffic import STATE_COLUMNS, EndpointCount, EndpointRefusal, EndpointState, read_state


class TrafficQueries(Queries):
    """See `TrafficReader`. There are few rows: some for each endpoint."""

    async def endpoint_counts(self, endpoint: str | None = None) -> list[EndpointCount]:
        sql = """SELECT account, endpoint, status, cause, count, last_at FROM @endpoint_counts
                 WHERE $1::text IS NULL OR endpoint = $1"""
        return [
            EndpointCount(account, of, status, cause, count, codec.moment(last_at))
            for account, of, status, cause, count, last_at in await self._db.fetch(sql, endpoint)
        ]

    async def endpoint_states(self, endpoint: str | None = None) -> list[EndpointState]:
        sql = f"SELECT {STATE_COLUMNS} FROM @endpoint_states WHERE $1::text IS NULL OR endpoint = $1"
        return [read_state(row) for row in await self._db.fetch(sql, endpoint)]

    async def endpoint_refusals(self, account: str, endpoint: str) -> list[EndpointRefusal]:
        sql = """SELECT id, account, endpoint, at, cause, detail, headers, address FROM @endpoint_refusals
                 WHERE account = $1 AND endpoint = $2 ORDER BY id DESC"""
        return [
            EndpointRefusal(id, account, endpoint, codec.moment(at), cause, detail, tuple(codec.read_json(names)), by)
            for id, account, endpoint, at, cause, detail, names, by in await self._db.fetch(sql, account, endpoint)
        ]
