"""Connections to PostgreSQL: how they are opened, who uses which, and how they are replaced when they break.

Statements name tables as `@orders`, which stands for the table of the schema that is set up: `search_path` is lost
behind a pooler in transaction mode, and so is every setting of a session. What a transaction needs it sets with
`SET LOCAL`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from time import monotonic
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakSet

import asyncpg

from app.store.postgres.errors import ERRORS, READ_ONLY, READ_ONLY_SERVER, fault_of, is_lost, sqlstate
from app.store.protocol import StoreUnavailable
from app.store.use import Use

READERS = 6
"""Reading connections of a node that serves: one for each use."""
CONNECT_S = 3.0
"""Time limit to connect once."""
PATIENCE_S = 10.0
"""How long a query waits for the database to come back, after a restart or a failover, before it fails."""
BACKOFF_MAX_S = 0.5
FOREVER_S = 365 * 86_400.0
STATEMENT_S = 20.0
"""Time limit of a statement where its caller sets none: it bounds what a network that lost the connection holds up."""
LEDGER_S = 5.0
"""The same for a statement of the ledger: then it tries another connection."""
HEARTBEAT_LINE_S = 3.0
"""The same for what prolongs a lease, which must survive that one connection is lost."""


@dataclass(frozen=True, slots=True)
class Target:
    """Which database, and which schema in it."""

    url: str = field(repr=False)
    schema: str = "rescind"
    replica_url: str = field(default="", repr=False)
    """The URL of a standby, for lists and searches; "": the database itself."""
    direct_url: str = field(default="", repr=False)
    """Past a pooler, for LISTEN and migrations; "": `url`, and no LISTEN."""
    writers: int = 4


@lru_cache(maxsize=4096)
def qualified(sql: str, schema: str) -> str:
    """The statement for this schema."""
    return sql.replace("@", named("", schema))


def named(table: str, schema: str) -> str:
    """The table's full name."""
    return '"' + schema.replace('"', '""') + '".' + table


class Session:
    """A connection that is lent to one task."""

    __slots__ = ("_limit_s", "_schema", "raw")

    def __init__(self, raw: asyncpg.Connection[asyncpg.Record], schema: str, limit_s: float | None = None) -> None:
        """`limit_s`: time limit of each statement; None: `STATEMENT_S`."""
        self.raw, self._schema = raw, schema
        self._limit_s = STATEMENT_S if limit_s is None else limit_s

    @property
    def schema(self) -> str:
        """The schema of its tables."""
        return self._schema

    def named(self, table: str) -> str:
        """The table's full name, for what asks for tables by name."""
        return named(table, self._schema)

    async def fetch(self, sql: str, *values: Any, timeout_s: float | None = None) -> list[asyncpg.Record]:
        """All rows that a query gives."""
        limit_s = self._limit_s if timeout_s is None else timeout_s
        rows: list[asyncpg.Record] = await self.raw.fetch(qualified(sql, self._schema), *values, timeout=limit_s)
        return rows

    async def row(self, sql: str, *values: Any) -> asyncpg.Record | None:
        """The first row, if there is one."""
        row: asyncpg.Record | None = await self.raw.fetchrow(
            qualified(sql, self._schema), *values, timeout=self._limit_s
        )
        return row

    async def value(self, sql: str, *values: Any) -> Any:
        """The first column of the first row; None if there is none."""
        return await self.raw.fetchval(qualified(sql, self._schema), *values, timeout=self._limit_s)

    async def run(self, sql: str, *values: Any) -> int:
        """Execute a statement; returns how many rows it wrote, or gave."""
        status = await self.raw.execute(qualified(sql, self._schema), *values, timeout=self._limit_s)
        number = status.rpartition(" ")[2]
        return int(number) if number.isdecimal() else 0

    def cursor(self, sql: str, *values: Any, prefetch: int) -> AsyncIterator[asyncpg.Record]:
        """The rows that a query gives, so many in a round trip; only in a transaction."""
        rows: AsyncIterator[asyncpg.Record] = self.raw.cursor(
            qualified(sql, self._schema), *values, prefetch=prefetch, timeout=self._limit_s
        ).__aiter__()
        return rows

    async def run_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Execute a statement for each row, in one round trip."""
        await self.raw.executemany(qualified(sql, self._schema), rows, timeout=self._limit_s)

    async def script(self, sql: str, limit_s: float | None = None) -> None:
        """Execute statements without values, in one round trip."""
        await self.raw.execute(qualified(sql, self._schema), timeout=self._limit_s if limit_s is None else limit_s)

    @asynccontextmanager
    async def transaction(self, **options: Any) -> AsyncIterator[None]:
        """A transaction; a connection over which nothing comes is not asked to roll it back."""
        transaction = self.raw.transaction(**options)
        await transaction.start()
        try:
            yield
        except BaseException as error:
            if isinstance(error, TimeoutError) or not isinstance(error, Exception) or self.raw.is_closed():
                self.raw.terminate()
            else:
                await transaction.rollback()
            raise
        else:
            await transaction.commit()


class Kind(Enum):
    """Which server a connection needs."""

    WRITES = "read-write"
    PRIMARY = "primary"
    """Not a standby: what it says is what was committed last."""
    ANY = "any"


async def connect(url: str, kind: Kind = Kind.ANY) -> asyncpg.Connection[asyncpg.Record]:
    """One connection; of several hosts that the URL names, to one of this kind. Raises one of `ERRORS`."""
    if kind is Kind.ANY or "," not in urlsplit(url).netloc:
        return await _connect(url)
    try:
        # A former primary that is read-only now is no standby, and is not to be read either.
        return await _connect(url, target_session_attrs=Kind.WRITES.value)
    except asyncpg.TargetServerAttributeNotMatched:
        return await _connect(url, target_session_attrs=kind.value)


async def _connect(url: str, **more: str) -> asyncpg.Connection[asyncpg.Record]:
    connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(
        url,
        timeout=CONNECT_S,
        command_timeout=STATEMENT_S,
        server_settings={},  # a pooler would refuse those that it does not know
        **more,
    )
    return connection


async def close(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Close a connection in order if the server answers in time, and else without asking it."""
    try:
        async with asyncio.timeout(CONNECT_S):
            await connection.close()
    except ERRORS:
        connection.terminate()


_READ_ONLY: WeakSet[asyncpg.Connection[asyncpg.Record]] = WeakSet()
"""Connections that were read-only when they were opened."""


class Pool:
    """Connections of one kind, made when they are first needed, each lent to one task at a time."""

    def __init__(
        self, url: str, schema: str, size: int, kind: Kind, on_read_only: Callable[[], None] = lambda: None
    ) -> None:
        """Prepare; `on_read_only` is called when a write found that the server has become read-only."""
        self._url, self._schema, self._kind, self._on_read_only = url, schema, kind, on_read_only
        self._idle: asyncio.LifoQueue[asyncpg.Connection[asyncpg.Record] | None] = asyncio.LifoQueue()
        self.size = size
        for _ in range(size):
            self._idle.put_nowait(None)
        self._closed = False
        self._drops = 0
        self._lent: set[asyncpg.Connection[asyncpg.Record]] = set()

    async def close(self) -> None:
        """Close the connections, each after the query that uses it."""
        self._closed = True
        for connection in [await self._idle.get() for _ in range(self.size)]:
            if connection is not None:
                await close(connection)
            self._idle.put_nowait(None)

    @asynccontextmanager
    async def lend(self, limit_s: float | None = None) -> AsyncIterator[Session]:
        """A connection; one that broke is replaced for the next task. Errors are PostgreSQL's own (`ERRORS`).

        `limit_s`: time limit of each statement; None: `STATEMENT_S`.
        Raises `StoreUnavailable` if there is none to be had.
        """
        connection, drops = await self._idle.get(), self._drops
        try:
            connection = await self._open(connection)
            self._lent.add(connection)
            yield Session(connection, self._schema, limit_s)
        except BaseException as error:
            lost = isinstance(error, ERRORS) and is_lost(error)
            if connection is not None and (lost or not isinstance(error, Exception) or not await _clean(connection)):
                # A task that was canceled may leave a statement under way.
                connection.terminate()
            if lost:
                self.drop_idle()
            if isinstance(error, ERRORS) and sqlstate(error) == READ_ONLY:
                self._on_read_only()
            raise
        finally:
            if connection is not None:
                self._lent.discard(connection)
            if connection is None or connection.is_closed():
                connection = None
            elif drops != self._drops or connection in _READ_ONLY or connection.is_in_transaction():
                # A canceled task may leave a transaction open; no write tells a reader that its server is read-only.
                connection.terminate()
                connection = None
            self._idle.put_nowait(connection)

    def drop_idle(self) -> None:
        """Close what nobody uses now, the rest after use: after a failover all of it leads to the former primary."""
        self._drops += 1
        idle = [self._idle.get_nowait() for _ in range(self._idle.qsize())]
        for connection in idle:
            if connection is not None:
                connection.terminate()
            self._idle.put_nowait(None)

    def drop_writes(self) -> None:
        """Cut what is under way on connections that write, on a server that has become read-only.

        A commit there may wait for a standby that has become the primary, and so will never answer.
        """
        for connection in tuple(self._lent) if self._kind is Kind.WRITES else ():
            connection.terminate()

    async def _open(self, connection: asyncpg.Connection[asyncpg.Record] | None) -> asyncpg.Connection[asyncpg.Record]:
        if self._closed:
            raise StoreUnavailable("the database is closed")
        if connection is not None and not connection.is_closed():
            return connection
        began, wait_s = monotonic(), 0.02
        while True:
            try:
                opened = await connect(self._url, self._kind)
                if await _fits(opened, self._kind):
                    return opened
                fault: Exception = OSError(READ_ONLY_SERVER)
            except ERRORS as error:
                fault = error
            if monotonic() - began > PATIENCE_S or self._closed:
                raise (
                    fault if isinstance(fault, StoreUnavailable) else StoreUnavailable(str(fault_of(fault)))
                ) from fault
            await asyncio.sleep(wait_s * (0.5 + random.random()))  # noqa: S311 - jitter
            wait_s = min(2 * wait_s, BACKOFF_MAX_S)


async def _clean(connection: asyncpg.Connection[asyncpg.Record]) -> bool:
    """End the transaction that is open, if one is; returns whether the connection can be used again."""
    if connection.is_closed():
        return False
    try:
        if connection.is_in_transaction():
            await connection.execute("ROLLBACK", timeout=CONNECT_S)
    except ERRORS:
        return False
    return True


async def _fits(connection: asyncpg.Connection[asyncpg.Record], kind: Kind) -> bool:
    """Whether the server is of the kind that is needed now.

    The connection is closed if not, also if that cannot be found out, or the caller is canceled.
    """
    fits = False
    try:
        async with asyncio.timeout(CONNECT_S):
            is_primary = kind is Kind.ANY or not await connection.fetchval("SELECT pg_is_in_recovery()")
            is_read_only = (
                is_primary and kind is not Kind.ANY and await connection.fetchval("SHOW transaction_read_only") == "on"
            )
        if is_read_only:
            _READ_ONLY.add(connection)
        fits = is_primary and (not is_read_only or kind is Kind.PRIMARY)
    finally:
        if not fits:
            connection.terminate()
    return fits


class Connections:
    """The connections of one node: some that write, and one for each use that reads."""

    def __init__(self, target: Target, *, writers: int | None = None) -> None:
        self.target = target
        number = target.writers if writers is None else writers
        self._pools: list[Pool] = []
        self._watched: WeakSet[asyncpg.Connection[asyncpg.Record]] = WeakSet()
        self.writers = self.pool(number, Kind.WRITES)
        self._readers = {
            use: self.pool(1, Kind.ANY, target.replica_url)
            if target.replica_url and use in (Use.LISTS, Use.SEARCHES)
            else self.pool(1, Kind.PRIMARY)
            for use in Use
        }

    def pool(self, size: int, kind: Kind, url: str = "") -> Pool:
        """A pool that is dropped and closed with the others."""
        made = Pool(url or self.target.url, self.target.schema, size, kind, self.leave)
        self._pools.append(made)
        return made

    def watch(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        """Let a connection beside the pools break when the server has become read-only."""
        self._watched.add(connection)

    def leave(self) -> None:
        """Drop every connection: the server has become read-only, so another is the primary now, or will be."""
        for pool in self._pools:
            pool.drop_idle()
            pool.drop_writes()
        for connection in self._watched:
            connection.terminate()

    async def close(self) -> None:
        """Close all."""
        for pool in self._pools:
            await pool.close()

    async def fetch(self, sql: str, *values: Any, use: Use = Use.LISTS) -> list[asyncpg.Record]:
        """All rows that a query gives. It is asked again once where the connection had broken meanwhile."""
        try:
            async with self._readers[use].lend() as session:
                return await session.fetch(sql, *values)
        except ERRORS as error:
            if not is_lost(error):
                raise fault_of(error) from error
        async with self.borrow(use) as session:
            return await session.fetch(sql, *values)

    @asynccontextmanager
    async def borrow(self, use: Use = Use.LISTS, limit_s: float | None = None) -> AsyncIterator[Session]:
        """A connection for several queries in a row. Raises the errors of the protocol for those of PostgreSQL.

        Args:
            use: what it is for.
            limit_s: after so many seconds the statement that runs is interrupted: `StoreInterrupted`.
        """
        try:
            async with self._readers[use].lend() as session:
                if limit_s is None:
                    yield session
                    return
                async with session.transaction(readonly=True):
                    await session.script(f"SET LOCAL statement_timeout = {max(1, round(limit_s * 1000))}")
                    yield session
        except ERRORS as error:
            raise fault_of(error) from error

    @asynccontextmanager
    async def snapshot(self, use: Use = Use.LISTS) -> AsyncIterator[Session]:
        """A connection on which several queries see the same rows."""
        async with self.borrow(use) as session, session.transaction(isolation="repeatable_read", readonly=True):
            yield session


class Queries:
    """Queries outside of transactions: the base of each subject's class in `read`."""

    def __init__(self, connections: Connections) -> None:
        self._db = connections
