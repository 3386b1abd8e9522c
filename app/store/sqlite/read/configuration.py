"""Queries for resources, API keys and stored responses."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from app.core.policy.limits import PolicyUsage
from app.store import codec
from app.store.records import ApiKey, Backtest, Resource, ResourceChange, StoredResponse, Window
from app.store.sealed import SealedColumn
from app.store.sqlite.connection import Queries
from app.store.sqlite.statements import marks, policy_usage
from app.store.use import Use
from app.store.where import Where
from app.store.windows import direction, in_order


class ConfigurationQueries(Queries):
    """The part of `Reader` about what operators configured and requested."""

    async def configuration_version(self) -> int:
        return 0

    async def resources(self) -> list[Resource]:
        rows = await self._db.fetch(
            "SELECT kind, id, version, updated_at, updated_by, body FROM resources ORDER BY kind, id"
        )
        return [codec.read_resource(row) for row in rows]

    async def resource_changes(
        self, window: Window, *, kind: str | None = None, id: str | None = None, by: str | None = None
    ) -> list[tuple[int, ResourceChange]]:
        where = Where(kind=kind, id=id, by=by)
        where.beyond("seq", window)
        sql = f"""SELECT seq, kind, id, version, at, by, action, body FROM resource_changes {where}
                  ORDER BY seq {direction(window)} LIMIT ?"""
        return [
            (seq, ResourceChange(kind, id, version, codec.moment(at), by, action, codec.read_json(body)))
            for seq, kind, id, version, at, by, action, body in in_order(
                await self._db.fetch(sql, (*where.values, window.limit)), window
            )
        ]

    async def removed_at(self, kind: str, id: str) -> datetime | None:
        sql = "SELECT max(at) FROM resource_changes WHERE kind = ? AND id = ? AND action = 'delete'"
        return codec.moment_or_none((await self._db.fetch(sql, (kind, id)))[0][0])

    async def former_bodies(self, kind: str, id: str) -> list[dict[str, Any]]:
        sql = "SELECT body FROM resource_changes WHERE kind = ? AND id = ? AND action <> 'delete' ORDER BY seq DESC"
        return [codec.read_json(body) for (body,) in await self._db.fetch(sql, (kind, id))]

    async def backtests(self, policy: str, window: Window) -> list[Backtest]:
        where = Where(policy=policy)
        where.beyond("id", window)
        sql = f"""SELECT id, policy, condition_hash, at, by, report FROM backtests {where}
                  ORDER BY id {direction(window)} LIMIT ?"""
        return [
            Backtest(id, policy, condition_hash, codec.moment(at), by, codec.read_json(report))
            for id, policy, condition_hash, at, by, report in in_order(
                await self._db.fetch(sql, (*where.values, window.limit)), window
            )
        ]

    async def backtested_conditions(self, policy: str) -> set[str]:
        sql = "SELECT DISTINCT condition_hash FROM backtests WHERE policy = ? AND json_extract(report, '$.events') > 0"
        return {condition_hash for (condition_hash,) in await self._db.fetch(sql, (policy,))}

    async def policy_usage(self, policies: Sequence[str], now: datetime) -> dict[str, PolicyUsage]:
        rows = await self._db.fetch(*policy_usage(policies, now))
        return {policy: PolicyUsage(in_hour, in_day) for policy, in_hour, in_day in rows}

    async def api_keys(self) -> list[ApiKey]:
        sql = f"SELECT {codec.KEY_COLUMNS} FROM api_keys ORDER BY created_at, id"
        return [codec.read_key(row) for row in await self._db.fetch(sql)]

    async def api_key_exists(self, hash: bytes) -> bool:
        return bool(await self._db.fetch("SELECT 1 FROM api_keys WHERE hash = ?", (hash,), Use.LOOKUPS))

    async def count_sealed(self, column: SealedColumn) -> int:
        return int((await self._db.fetch(f"SELECT count(*) FROM {column.table}"))[0][0])

    async def sealed_values(
        self, column: SealedColumn, after: tuple[str, ...] | None, limit: int
    ) -> list[tuple[tuple[str, ...], bytes]]:
        keys = ", ".join(column.key)
        where = "" if after is None else f"WHERE ({keys}) > ({marks(after)})"
        sql = f"SELECT {column.column}, {keys} FROM {column.table} {where} ORDER BY {keys} LIMIT ?"
        return [
            (key, bytes(value))
            for value, *rest in await self._db.fetch(sql, (*(after or ()), limit))
            if (key := tuple(rest))
        ]

    async def stored_response(self, key: str) -> StoredResponse | None:
        rows = await self._db.fetch(
            "SELECT key, digest, answer, created_at FROM answers WHERE key = ?", (key,), Use.LOOKUPS
        )
        for stored_key, digest, response, created_at in rows:
            return StoredResponse(stored_key, bytes(digest), bytes(response), codec.moment(created_at))
        return None
