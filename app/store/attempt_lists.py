"""Lists of calls to providers."""

from __future__ import annotations

from abc import ABC, abstractmethod

from app.core.attempt import Attempt
from app.runtime import ids
from app.store import codec
from app.store.filters import ALL_ATTEMPTS, AttemptFilter
from app.store.pieces import Lists
from app.store.records import Position, SearchResult, Window
from app.store.searching import search
from app.store.where import Where
from app.store.windows import direction, in_order


class AttemptLists(ABC):
    """The part of `Reader` about lists of attempts."""

    _lists: Lists
    _attempts: str
    """The table."""

    @abstractmethod
    def _add_order(self, where: Where, wanted: AttemptFilter) -> None:
        """Add by which order the attempts are found: a cancellation's are found with its order's."""

    async def search_attempts(
        self, window: Window, wanted: AttemptFilter = ALL_ATTEMPTS
    ) -> SearchResult[tuple[Position, Attempt]]:
        where, (low, high) = wanted.where(), wanted.bounds
        self._add_order(where, wanted)
        if wanted.by_index:
            where.all_of("id >= ? AND id < ?", (low, high))
            where.beyond("id", window)
            sql = f"""SELECT id, {codec.ATTEMPT_COLUMNS} FROM {self._attempts} {where}
                      ORDER BY id {direction(window)} LIMIT ?"""
            rows, resume = in_order(await self._lists.fetch(sql, (*where.values, window.limit)), window), None
        else:
            rows, resume = await search(
                self._lists, self._attempts, "id", codec.ATTEMPT_COLUMNS, where, window, bounds=(low, high)
            )
        page = SearchResult[tuple[Position, Attempt]](
            [(id, codec.read_attempt(tuple(row))) for id, *row in rows], resume
        )
        page.searched_until = None if resume is None else ids.drawn_at(resume)
        return page
