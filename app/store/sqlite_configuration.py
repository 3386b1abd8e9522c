"""Connections to SQLite that cannot write, and questions on them about what operators configured."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiosqlite

from app.store import ApiKey, Backtest, Resource, ResourceChange, StoredAnswer, codec
from app.store.sqlite_faults import fault_of

Rows = list[tuple[Any, ...]]


class SqliteConnections:
    """A few connections, each for one question at a time."""

    def __init__(self, readers: list[aiosqlite.Connection]) -> None:
        self._readers = readers
        self._idle: asyncio.LifoQueue[aiosqlite.Connection] = asyncio.LifoQueue()
        for reader in readers:
            self._idle.put_nowait(reader)

    async def close(self) -> None:
        """Close the reading connections."""
        for reader in self._readers:
            await reader.close()

    async def _ask(self, sql: str, values: Sequence[Any] | dict[str, Any] = ()) -> Rows:
        async with self._connection() as db:
            return [tuple(row) for row in await db.execute_fetchall(sql, values)]

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[aiosqlite.Connection]:
        db = await self._idle.get()
        try:
            yield db
        except sqlite3.Error as error:
            raise fault_of(error) from error
        finally:
            self._idle.put_nowait(db)


class SqliteConfiguration(SqliteConnections):
    """The part of `Reader` that speaks of resources, keys and what was done with them."""

    async def resources(self) -> list[Resource]:
        """See `Reader.resources`."""
        rows = await self._ask(
            "SELECT kind, id, version, updated_at, updated_by, body FROM resources ORDER BY kind, id"
        )
        return [codec.read_resource(row) for row in rows]

    async def resource_changes(self, limit: int) -> list[ResourceChange]:
        """See `Reader.resource_changes`."""
        sql = "SELECT kind, id, version, at, by, action, body FROM resource_changes ORDER BY seq DESC LIMIT ?"
        return [
            ResourceChange(kind, id, version, codec.moment(at), by, action, codec.read_json(body))
            for kind, id, version, at, by, action, body in await self._ask(sql, (limit,))
        ]

    async def former_bodies(self, kind: str, id: str) -> list[dict[str, Any]]:
        """See `Reader.former_bodies`."""
        sql = "SELECT body FROM resource_changes WHERE kind = ? AND id = ? AND action <> 'delete' ORDER BY seq DESC"
        return [codec.read_json(body) for (body,) in await self._ask(sql, (kind, id))]

    async def backtests(self, policy: str, limit: int) -> list[Backtest]:
        """See `Reader.backtests`."""
        sql = "SELECT id, policy, substance, at, by, report FROM backtests WHERE policy = ? ORDER BY id DESC LIMIT ?"
        return [
            Backtest(id, policy, substance, codec.moment(at), by, codec.read_json(report))
            for id, policy, substance, at, by, report in await self._ask(sql, (policy, limit))
        ]

    async def backtested(self, policy: str) -> set[str]:
        """See `Reader.backtested`."""
        sql = "SELECT DISTINCT substance FROM backtests WHERE policy = ? AND json_extract(report, '$.events') > 0"
        return {substance for (substance,) in await self._ask(sql, (policy,))}

    async def api_keys(self) -> list[ApiKey]:
        """See `Reader.api_keys`."""
        sql = "SELECT id, name, scope, hash, created_at, created_by, revoked_at FROM api_keys ORDER BY created_at"
        return [codec.read_key(row) for row in await self._ask(sql)]

    async def answer(self, key: str) -> StoredAnswer | None:
        """See `Reader.answer`."""
        rows = await self._ask("SELECT key, digest, answer, created_at FROM answers WHERE key = ?", (key,))
        for found, digest, answer, created_at in rows:
            return StoredAnswer(found, bytes(digest), bytes(answer), codec.moment(created_at))
        return None
