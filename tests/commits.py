"""Commits of a running Rescind that tests hold up or let fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from providers import until
from servers import Rescind, webhook


@asynccontextmanager
async def full_disk(store: Any) -> AsyncIterator[None]:
    """Let the database file of SQLite not grow: what needs a new page fails as on a full disk."""
    await store._writer.execute("PRAGMA max_page_count = 1")
    yield
    await store._writer.execute("PRAGMA max_page_count = 4294967294")


@asynccontextmanager
async def one_commit(rescind: Rescind, number: int) -> AsyncIterator[None]:
    """What is sent inside is recorded by one commit: a writer is held until so many webhooks wait for it."""
    ledger, held, released = rescind.node.ledger, asyncio.Event(), asyncio.Event()
    commit, writer_of = ledger._commit, ledger._writer_of

    async def hold(requests: Any) -> Any:
        held.set()
        await released.wait()
        return await commit(requests)

    async def waiting() -> bool:
        return ledger.waiting >= number

    # Of several writers, one is to do it.
    ledger._writer_of = lambda commands: ledger._writers[0]  # type: ignore[method-assign] # noqa: ARG005
    ledger._commit = hold  # type: ignore[method-assign]
    try:
        first = asyncio.create_task(rescind.hook(webhook("order.processed", "the-first")))
        await held.wait()
        yield
        await until(waiting, "all in the queue")
    finally:
        ledger._commit, ledger._writer_of = commit, writer_of  # type: ignore[method-assign]
        released.set()
    assert (await first).status == 200
