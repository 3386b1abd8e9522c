"""Queries for what operators configured and requested.

Nodes work by what is read here, so that it never comes from a replica.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from app.core.lane.state import LaneState
from app.core.policy.limits import PolicyUsage
from app.store import codec
from app.store.postgres.connection import Queries
from app.store.postgres.versions import CONFIGURATION
from app.store.records import ApiKey, Backtest, Resource, ResourceChange, StoredResponse, Window
from app.store.sealed import SealedColumn
from app.store.use import Use


class ConfigurationQueries(Queries):
    """The part of `Reader` about what operators configured and requested."""

    async def configuration_version(self) -> int:
        sql = "SELECT version FROM @shared_versions WHERE what = $1"
        return int((await self._db.fetch(sql, CONFIGURATION, use=Use.WORK))[0][0])

    async def resources(self) -> list[Resource]:
        rows = await self._db.fetch(
            "SELECT kind, id, version, updated_at, updated_by, body FROM @resources ORDER BY kind, id", use=Use.WORK
        )
        return [codec.read_resource(tuple(row)) for row in rows]

    async def resource_changes(
        self, window: Window, *, kind: str | None = None, id: str | None = None, by: str | None = None
    ) -> list[tuple[int, ResourceChange]]:
        past, way = (">", "ASC") if window.newer else ("<", "DESC")
        conditions, values = [], []
        for condition, value in (("kind =", kind), ("id =", id), ("by =", by), (f"seq {past}", window.position)):
            if value is not None:
                values.append(value)
                conditions.append(f"{condition} ${len(values)}")
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        sql = f"""SELECT seq, kind, id, version, at, by, action, body FROM @resource_changes {where}
                  ORDER BY seq {way} LIMIT ${len(values) + 1}"""
        rows = await self._db.fetch(sql, *values, window.limit)
        return [
            (seq, ResourceChange(kind, id, version, codec.moment(at), by, action, codec.read_json(body)))
            for seq, kind, id, version, at, by, action, body in (rows[::-1] if window.newer else rows)
        ]

    async def removed_at(self, kind: str, id: str) -> datetime | None:
        sql = "SELECT max(at) FROM @resource_changes WHERE kind = $1 AND id = $2 AND action = 'delete'"
        return codec.moment_or_none((await self._db.fetch(sql, kind, id))[0][0])

    async def former_bodies(self, kind: str, id: str) -> list[dict[str, Any]]:
        sql = """SELECT body FROM @resource_changes WHERE kind = $1 AND id = $2 AND action <> 'delete'
                 ORDER BY seq DESC"""
        return [codec.read_json(body) for (body,) in await self._db.fetch(sql, kind, id, use=Use.WORK)]

    async def backtests(self, policy: str, window: Window) -> list[Backtest]:
        past, way = (">", "ASC") if window.newer else ("<", "DESC")
        sql = f"""SELECT id, policy, condition_hash, at, by, report FROM @backtests
                  WHERE policy = $1 AND ($2::bigint IS NULL OR id {past} $2) ORDER BY id {way} LIMIT $3"""
        rows = await self._db.fetch(sql, policy, window.position, window.limit, use=Use.WORK)
        return [
            Backtest(id, policy, condition_hash, codec.moment(at), by, codec.read_json(report))
            for id, policy, condition_hash, at, by, report in (rows[::-1] if window.newer else rows)
        ]

    async def backtested_conditions(self, policy: str) -> set[str]:
        sql = "SELECT DISTINCT condition_hash FROM @backtests WHERE policy = $1 AND events > 0"
        return {condition_hash for (condition_hash,) in await self._db.fetch(sql, policy, use=Use.WORK)}

    async def policy_usage(self, policies: Sequence[str], now: datetime) -> dict[str, PolicyUsage]:
        rows = await self._db.fetch(*policy_usage(policies, now), use=Use.WORK)
        return {policy: PolicyUsage(in_hour, in_day) for policy, in_hour, in_day in rows}

    async def api_keys(self) -> list[ApiKey]:
        sql = f"SELECT {codec.KEY_COLUMNS} FROM @api_keys ORDER BY created_at, id"
        return [codec.read_key(tuple(row)) for row in await self._db.fetch(sql, use=Use.LOOKUPS)]

    async def lane(self, account: str) -> LaneState | None:
        rows = await self._db.fetch("SELECT state FROM @lanes WHERE account = $1", account, use=Use.WORK)
        return codec.read_lane(rows[0][0]) if rows else None

    async def account_secrets(self, account: str) -> bytes | None:
        rows = await self._db.fetch("SELECT sealed FROM @account_secrets WHERE account = $1", account, use=Use.WORK)
        return bytes(rows[0][0]) if rows else None

    async def api_key_exists(self, hash: bytes) -> bool:
        return bool(await self._db.fetch("SELECT 1 FROM @api_keys WHERE hash = $1", hash, use=Use.LOOKUPS))

    async def count_sealed(self, column: SealedColumn) -> int:
        return int((await self._db.fetch(f"SELECT count(*) FROM @{column.table}", use=Use.WORK))[0][0])

    async def sealed_values(
        self, column: SealedColumn, after: tuple[str, ...] | None, limit: int
    ) -> list[tuple[tuple[str, ...], bytes]]:
        keys, values = ", ".join(column.key), after or ()
        marks = ", ".join(f"${number}" for number in range(1, len(values) + 1))
        where = "" if after is None else f"WHERE ({keys}) > ({marks})"
        sql = f"SELECT {column.column}, {keys} FROM @{column.table} {where} ORDER BY {keys} LIMIT ${len(values) + 1}"
        rows = await self._db.fetch(sql, *values, limit, use=Use.WORK)
        return [(tuple(key), bytes(value)) for value, *key in rows]

    async def stored_response(self, key: str) -> StoredResponse | None:
        sql = "SELECT key, digest, answer, created_at FROM @answers WHERE key = $1"
        for stored_key, digest, response, created_at in await self._db.fetch(sql, key, use=Use.LOOKUPS):
            return StoredResponse(stored_key, digest, response, codec.moment(created_at))
        return None


def policy_usage(policies: Sequence[str], now: datetime) -> tuple[str, int, list[str], int]:
    """The query, with its values, for (policy, its cancels in the hour, in the day before `now`)."""
    sql = """SELECT policy, count(*) FILTER (WHERE requested_at > $1), count(*) FROM @cancellations
             WHERE policy = ANY($2::text[]) AND requested_at > $3 GROUP BY policy"""
    hour, day = (codec.micros(now - timedelta(hours=hours)) for hours in (1, 24))
    return sql, hour, list(policies), day
