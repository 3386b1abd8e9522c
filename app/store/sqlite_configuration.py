"""Connections to SQLite that cannot write, and questions on them about what operators configured."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from enum import Enum
from typing import Any

import aiosqlite

from app.store import ApiKey, Backtest, Resource, ResourceChange, StoredAnswer, codec
from app.store.sqlite_faults import fault_of

Rows = list[tuple[Any, ...]]


class Use(Enum):
    """What a connection is for: no question of one use waits for those of another."""

    LOOKUPS = "lookups"
    """What an answer at the door needs: an order, a cancellation, what came with an Idempotency-Key."""
    WORK = "work"
    """Lanes and timers."""
    LISTS = "lists"
    """Pages of lists, histories."""
    SEARCHES = "searches"
    """Lists whose filter no index serves."""


READERS = {Use.LOOKUPS: 2, Use.WORK: 2, Use.LISTS: 2, Use.SEARCHES: 1}
"""How many connections a running server has for each use."""


Readers = Sequence[aiosqlite.Connection] | Mapping[Use, Sequence[aiosqlite.Connection]]
"""Connections by use; or some that all uses share, for a tool that asks one thing after another."""


class SqliteConnections:
    """Connections for each use, each for one question at a time."""

    def __init__(self, readers: Readers) -> None:
        pools = readers if isinstance(readers, Mapping) else {Use.LISTS: readers}
        self._readers = [reader for pool in pools.values() for reader in pool]
        idle: dict[Use, asyncio.LifoQueue[aiosqlite.Connection]] = {use: asyncio.LifoQueue() for use in pools}
        for use, pool in pools.items():
            for reader in pool:
                idle[use].put_nowait(reader)
        self._idle = {use: idle.get(use) or idle[Use.LISTS] for use in Use}

    async def close(self) -> None:
        """Close the reading connections."""
        for reader in self._readers:
            await reader.close()

    async def _ask(self, sql: str, values: Sequence[Any] | dict[str, Any] = (), use: Use = Use.LISTS) -> Rows:
        async with self._connection(use) as db:
            return [tuple(row) for row in await db.execute_fetchall(sql, values)]

    @asynccontextmanager
    async def _connection(self, use: Use = Use.LISTS) -> AsyncIterator[aiosqlite.Connection]:
        idle = self._idle[use]
        db = await idle.get()
        try:
            yield db
        except sqlite3.Error as error:
            raise fault_of(error) from error
        finally:
            idle.put_nowait(db)


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
        rows = await self._ask("SELECT key, digest, answer, created_at FROM answers WHERE key = ?", (key,), Use.LOOKUPS)
        for found, digest, answer, created_at in rows:
            return StoredAnswer(found, bytes(digest), bytes(answer), codec.moment(created_at))
        return None
