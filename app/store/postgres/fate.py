"""Whether a commit happened of which the answer was lost.

The last statement of a commit inserts its number. A node that lost the answer inserts the same number: that waits for
the transaction, where it still goes on, and then either finds its row, or has prevented it for ever.
"""

from __future__ import annotations

import asyncio
import random
from time import monotonic

import structlog

from app.runtime import metrics
from app.store.postgres.connection import BACKOFF_MAX_S, Kind, Session, Target, close, connect
from app.store.postgres.errors import ERRORS, fault_of
from app.store.protocol import StoreUnavailable

PATIENCE_S = 60.0
"""How long the database may be away before the result of a commit counts as unknown."""
# It always writes, so it waits for a synchronous standby, as the commit did: what only this server has, because a node
# that waited was canceled, a failover would lose.
_ASK = """INSERT INTO @commits (epoch, number, at, committed)
    VALUES ($1, $2, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, false)
    ON CONFLICT (epoch, number) DO UPDATE SET at = excluded.at"""
# A statement of its own: the row that the insert waited for is not in its snapshot.
_READ = "SELECT committed FROM @commits WHERE epoch = $1 AND number = $2"

log = structlog.get_logger()


async def has_happened(target: Target, epoch: int, number: int) -> bool:
    """Whether the commit happened; if not, it never will. Waits for the database to come back.

    Raises `StoreUnavailable` if it does not.
    """
    began, wait_s = monotonic(), 0.02
    while True:
        try:
            committed = await _ask(target, epoch, number)
        except ERRORS as error:
            if monotonic() - began > PATIENCE_S:
                text = f"the answer to a commit was lost, and whether it happened is unknown: {fault_of(error)}"
                raise StoreUnavailable(text) from error
        else:
            metrics.COMMITS_UNKNOWN.labels("committed" if committed else "not_committed").inc()
            log.warning("commit_answer_lost", committed=committed, after_s=round(monotonic() - began, 3))
            return committed
        await asyncio.sleep(wait_s * (0.5 + random.random()))  # noqa: S311 - jitter
        wait_s = min(2 * wait_s, BACKOFF_MAX_S)


async def _ask(target: Target, epoch: int, number: int) -> bool:
    # A connection of its own: those of the pool may all be lost.
    connection = await connect(target.url, Kind.WRITES)
    try:
        session = Session(connection, target.schema)
        await session.run(_ASK, epoch, number)
        return bool(await session.value(_READ, epoch, number))
    finally:
        await close(connection)
