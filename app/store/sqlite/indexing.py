"""`IndexStore` on SQLite: the search index is a file of its own, which its writing connection fills from the log."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import suppress
from pathlib import Path

from app.store.index_protocol import IndexProgress
from app.store.protocol import StoreError, StoreUnavailable
from app.store.sqlite.index import IndexFile
from app.store.sqlite.index.file import remove_index
from app.store.sqlite.read.event_lists import EventListQueries


class SearchIndexing(EventListQueries):
    """The part of the store that works on the search index."""

    _path: Path
    _opening: asyncio.Task[IndexFile] | None = None
    """Not canceled with who waits for it: `close` waits for the threads of its connections."""

    async def open_search_index(self) -> None:
        if self._index is None:
            self._opening = asyncio.create_task(IndexFile.open(self._path), name="open the search index")
            self._index = await asyncio.shield(self._opening)

    async def fill_search_index(self, rows: int) -> IndexProgress:
        if self._index is None:
            raise StoreUnavailable("the search index is not open")
        step = await self._index.work(rows)
        return IndexProgress(step.events, step.took_s, step.behind, step.idle, step.erasing)

    async def discard_search_index(self) -> None:
        await self._close_index()
        remove_index(self._path)

    async def _close_index(self) -> None:
        opening, self._opening, self._index = self._opening, None, None
        if opening is not None:
            # Of a file that was replaced or removed, or whose disk fails, there is nothing to save.
            with suppress(StoreError, sqlite3.Error, OSError):
                await (await opening).close()
