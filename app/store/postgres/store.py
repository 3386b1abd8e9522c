"""`Store` on PostgreSQL: opening and closing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from app.store.migrations import ignore_status
from app.store.postgres.access import check_access
from app.store.postgres.backtest_runs import BacktestRuns
from app.store.postgres.configuration import ConfigurationWrites
from app.store.postgres.connection import Connections, Session, Target
from app.store.postgres.deliveries import DeliveryWrites
from app.store.postgres.migrate import check, migrate
from app.store.postgres.months import MonthWrites
from app.store.postgres.nodes import NodeWrites
from app.store.postgres.partitions import lacks_this_month, make_ahead
from app.store.postgres.reader import PostgresReader
from app.store.postgres.rechecks import RecheckWrites
from app.store.postgres.retention import RetentionWrites
from app.store.postgres.sessions import SessionWrites
from app.store.postgres.traffic import TrafficWrites
from app.store.postgres.transaction import LedgerTransactions
from app.store.postgres.upkeep import UpkeepWrites
from app.store.postgres.waking import Waking


class PostgresStore(
    LedgerTransactions,
    ConfigurationWrites,
    BacktestRuns,
    DeliveryWrites,
    TrafficWrites,
    SessionWrites,
    RetentionWrites,
    UpkeepWrites,
    MonthWrites,
    RecheckWrites,
    NodeWrites,
    Waking,
    PostgresReader,
):
    """`Store` on PostgreSQL; its methods are described there."""

    single_writer = False
    orders_replaced = 0

    @property
    def writers(self) -> int:
        """See `Store.writers`."""
        return self._db.writers.size

    @property
    def log_delay_s(self) -> float:
        """See `Store.log_delay_s`."""
        return self.safe_position.delay_s

    async def close(self) -> None:
        """See `Store.close`."""
        await self._db.close()


async def open_postgres(
    target: Target, tell: Callable[[str], None] = ignore_status, *, migrates: bool = False
) -> PostgresStore:
    """Open the database; with `migrates`, make the schema or migrate it first. `tell` hears what takes long.

    Raises `SchemaTooNewError`, `SchemaMissingError`, `DatabaseRefusedError`, `StoreUnavailable`.
    """
    if migrates:
        await check_access(target.url, target.schema, _ignore)
        await migrate(target, tell)
    await check_access(target.url, target.schema, _prepare)
    return PostgresStore(Connections(target))


@asynccontextmanager
async def reading_postgres(target: Target) -> AsyncIterator[PostgresReader]:
    """The database for a tool that only reads; servers may use it as well. Raises as `open_postgres`."""
    await check_access(target.url, target.schema, check, patience_s=0)
    connections = Connections(target, writers=0)
    try:
        yield PostgresReader(connections)
    finally:
        await connections.close()


async def _prepare(session: Session) -> None:
    await check(session)
    if await lacks_this_month(session, datetime.now(UTC)):  # nobody was there to make it for months
        await make_ahead(session, datetime.now(UTC))


async def _ignore(_session: Session) -> None:
    """That there is a connection is enough."""
