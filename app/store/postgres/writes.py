"""Writes in transactions of their own, beside the ledger's: the base of each subject's class of writes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from app.store.postgres.connection import Queries, Session
from app.store.postgres.errors import ERRORS, fault_of, is_lost
from app.store.protocol import StoreContention, StoreUnavailable

T = TypeVar("T")

BEGIN = (
    "BEGIN; SET LOCAL synchronous_commit = on; SET LOCAL lock_timeout = '2500ms'; SET LOCAL statement_timeout = '20s'; "
)
"""READ COMMITTED, the default. What a server that is set otherwise would do is said here."""
TRIES = 8


class Writes(Queries):
    """Runs writes that may be repeated: what they write says itself what is to be there, or is checked first."""

    async def _write(self, work: Callable[[Session], Awaitable[T]]) -> T:
        """Run `work` in a transaction, and again if others were in its way or the connection broke.

        A commit whose answer was lost is done again, so `work` must come to the same if it was done before.
        """
        for attempt in range(TRIES):
            try:
                async with self._db.writers.lend() as session:
                    await session.script(f"{BEGIN} SET LOCAL idle_in_transaction_session_timeout = '2s'")
                    result = await work(session)
                    await session.script("COMMIT")
                    return result
            except ERRORS as error:
                fault = fault_of(error)
                if attempt == TRIES - 1 or not (isinstance(fault, StoreContention) or is_lost(error)):
                    raise fault from error
            await asyncio.sleep(0.01 * 2**attempt * random.random())  # noqa: S311 - jitter
        raise StoreUnavailable("PostgreSQL: the write was tried too often")
