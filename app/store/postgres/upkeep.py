"""What a database that nodes share needs from time to time."""

from __future__ import annotations

from datetime import datetime, timedelta

from app.store.postgres.connection import Session
from app.store.postgres.errors import ERRORS, fault_of
from app.store.postgres.partitions import make_ahead
from app.store.postgres.writes import Writes

COMMITS_KEPT = timedelta(minutes=30)
"""A node that asks whether a commit happened does so at once."""
NODES_KEPT = timedelta(days=1)
"""An ended node's number is free an hour after its end; until then nobody draws the same ids."""
PAGE = 10_000
_NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_OLD_COMMITS = f"""DELETE FROM @commits WHERE (epoch, number) IN
    (SELECT epoch, number FROM @commits WHERE at < {_NOW} - $1 ORDER BY at LIMIT {PAGE})"""
# One that still owns something is left: the node that takes that over looks at its row.
_OLD_NODES = f"""DELETE FROM @nodes AS node WHERE until < {_NOW} - $1
    AND NOT EXISTS (SELECT 1 FROM @ownership AS owned WHERE owned.epoch = node.epoch)"""


class UpkeepWrites(Writes):
    """The part of `Store` that keeps the database in order."""

    async def keep_up(self, now: datetime) -> None:
        """See `RetentionStore.keep_up`."""
        try:
            async with self._db.writers.lend() as session:
                await make_ahead(session, now)
        except ERRORS as error:
            raise fault_of(error) from error
        while await self._write(lambda session: _delete(session, _OLD_COMMITS, COMMITS_KEPT)) == PAGE:
            pass
        await self._write(lambda session: _delete(session, _OLD_NODES, NODES_KEPT))


async def _delete(session: Session, sql: str, kept: timedelta) -> int:
    return await session.run(sql, kept // timedelta(microseconds=1))
