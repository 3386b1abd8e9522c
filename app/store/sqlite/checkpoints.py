"""Checkpoints: what is in the write-ahead log is brought into the database beside the commits, and never within one.

A commit that brought it over itself would keep all waiting that come meanwhile. So a connection of its own does it, a
little at a time, while others read and write.

While commits go on, each adds to the log what the checkpoint has not seen: it would never be brought over as a whole,
and the log would grow for ever. So once it is long, all but its end is brought over beside the commits, and the end
between two of them: the next commit then begins the log anew. A reader that still needs the log keeps it from that.

Readers that follow one another without a gap would keep it from that for ever, each for a moment. So once the log is
longer than it may be, commits wait until those that read have ended, for a fifth of a second at most.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from pathlib import Path

import aiosqlite
import structlog

from app.store.sqlite.connection import LOG_MAX, interrupt, visit

CHANGES = 2000
"""Changed rows after which the log is brought over: some hundred pages, so that the disk is never busy for long."""
RESTART_PAGES = 2000
"""Pages in the log at which it is begun anew: 8 MB, or 16 MB in a database of an earlier release."""
END_PAGES = 200
"""No more of the log is brought over between two commits,"""
TRIES = 3
"""if so many tries beside them leave no more."""

log = structlog.get_logger()


class Checkpoints:
    """Brings the write-ahead log of one database into it, by the size of what was written."""

    def __init__(self, db: aiosqlite.Connection, path: Path, writing: asyncio.Lock) -> None:
        """Make it for the database at `path`; the holder of `writing` is the only one that writes."""
        self._db, self._log, self._writing = db, f"{path}-wal", writing
        self._changes = 0
        """Changes of the writing connection, as of the last checkpoint."""
        self._pages = 0
        """In the log, then."""
        self._restart_at = RESTART_PAGES
        self._wait_at = 0
        """Pages in the log at which commits wait for readers: twice as many each time, as one may read for hours."""
        self._failing = self._closing = False
        self._task: asyncio.Task[None] | None = None

    def note(self, changes: int) -> None:
        """Begin a checkpoint if it is time: the writing connection has committed, and changed so many rows so far."""
        if self._task is not None and not self._task.done():
            return
        if changes - self._changes >= CHANGES or self._is_too_long():
            self._changes = changes
            self._task = asyncio.create_task(self._work(), name="checkpoint")

    async def close(self) -> None:
        """End the checkpoint that runs, and close the connection. Opened again, the database is complete."""
        self._closing = True
        if self._task is not None:
            interrupt(self._db)
            await asyncio.gather(self._task, return_exceptions=True)
        await self._db.close()

    def _is_too_long(self) -> bool:
        """Whether rows do not tell how much was written: large ones, or those of a VACUUM."""
        try:
            return os.stat(self._log).st_size > LOG_MAX  # noqa: PTH116 - at every commit, and a Path costs twice that
        except OSError:
            return False

    async def _work(self) -> None:
        try:
            await self._advance()
            self._failing = False
        except sqlite3.Error as error:
            # It is tried again with the next rows: what was committed is safe in the log.
            if not self._failing and not self._closing:
                log.warning("checkpoint_failed", error=str(error))
            self._failing = True

    async def _advance(self) -> None:
        pages, moved = await self._bring_over()
        if pages < self._pages:
            self._restart_at, self._wait_at = RESTART_PAGES, 0  # it was begun anew
        if pages >= self._restart_at and (pages == moved or self._may_wait(pages)):
            pages = await self._bring_over_all(pages)
            # If a reader keeps the log from being begun anew, it is not tried again at once.
            self._restart_at = pages + RESTART_PAGES
        self._pages = pages

    async def _bring_over_all(self, pages: int) -> int:
        """Bring over what has come meanwhile, the last of it between two commits; returns the pages in the log."""
        for _ in range(TRIES):
            before, (pages, _) = pages, await self._bring_over()
            if pages - before <= END_PAGES:
                break
        async with self._writing:
            if not self._may_wait(pages):
                pages, _ = await self._bring_over()
            else:
                self._wait_at = 2 * pages
                pages, _ = await self._bring_over("RESTART")
        return pages

    def _may_wait(self, pages: int) -> bool:
        """Whether the log is so long that commits wait until it can be begun anew."""
        return pages >= self._wait_at and self._is_too_long()

    async def _bring_over(self, mode: str = "PASSIVE") -> tuple[int, int]:
        """(pages in the log, those that are in the database, too). Fewer if a reader still needs the former ones."""
        _, pages, moved = await visit(self._db, lambda db: _checkpoint(db, mode))
        return pages, moved


def _checkpoint(db: sqlite3.Connection, mode: str) -> tuple[int, int, int]:
    busy, pages, moved = db.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
    return busy, pages, moved
