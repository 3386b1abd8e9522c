"""One snapshot of the database that several processes read: what is committed meanwhile none of them sees."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from app.store.postgres.connection import Connections, Session, Target, close, connect
from app.store.postgres.errors import ERRORS, fault_of
from app.store.postgres.reader import PostgresReader
from app.store.use import Use

STATEMENT_S = 600.0
"""Time limit of a statement: some read the whole log."""
_SETTINGS = "SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL statement_timeout = 0"


class SnapshotConnections(Connections):
    """The connections of a reader that has only one, in a transaction that it keeps open."""

    def __init__(self, target: Target, session: Session) -> None:
        self.target, self._session = target, session

    async def close(self) -> None:
        """The opener of the connection closes it."""

    async def fetch(self, sql: str, *values: Any, use: Use = Use.LISTS) -> list[asyncpg.Record]:  # noqa: ARG002
        """All rows that a query gives."""
        try:
            return await self._session.fetch(sql, *values, timeout_s=STATEMENT_S)
        except ERRORS as error:
            raise fault_of(error) from error

    @asynccontextmanager
    async def borrow(self, use: Use = Use.LISTS, limit_s: float | None = None) -> AsyncIterator[Session]:  # noqa: ARG002
        """The connection."""
        yield self._session

    @asynccontextmanager
    async def snapshot(self, use: Use = Use.LISTS) -> AsyncIterator[Session]:  # noqa: ARG002
        """The connection, which sees the same rows all the time."""
        yield self._session


@asynccontextmanager
async def hold_snapshot(target: Target) -> AsyncIterator[str]:
    """Hold a snapshot for others to read (`read_snapshot`), who may do so until this ends."""
    async with _transaction(target) as session:
        yield str(await session.value("SELECT pg_export_snapshot()"))


@asynccontextmanager
async def read_snapshot(target: Target, snapshot: str) -> AsyncIterator[PostgresReader]:
    """A reader of a snapshot that is held; with "", of one of its own."""
    async with _transaction(target, snapshot) as session:
        yield PostgresReader(SnapshotConnections(target, session))


@asynccontextmanager
async def _transaction(target: Target, snapshot: str = "") -> AsyncIterator[Session]:
    try:
        connection = await connect(target.replica_url or target.url)
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                session = Session(connection, target.schema)
                if snapshot:
                    # A literal: the statement takes no value, and whatever ran before would take a snapshot of its own.
                    await session.script("SET TRANSACTION SNAPSHOT '" + snapshot.replace("'", "''") + "'")
                await session.script(_SETTINGS)
                yield session
        finally:
            await close(connection)
    except ERRORS as error:
        raise fault_of(error) from error
