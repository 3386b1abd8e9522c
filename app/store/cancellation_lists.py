"""Lists of cancellations, and how many there are by state and account."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.core.cancellation import Cancellation
from app.store import codec
from app.store.facets import GROUPS_MAX, count_groups, count_rows, counted_window
from app.store.filters import ALL_CANCELLATIONS, CancellationFilter
from app.store.grouping import Grouping
from app.store.id_bounds import END
from app.store.index_protocol import Facets
from app.store.pieces import Lists
from app.store.records import Rows, Window
from app.store.use import Use
from app.store.windows import direction, in_order

CLOCK_SET_BACK = 86_400_000_000
"""Cancellations are numbered as they are requested, unless the clock was set back: by so many microseconds at most."""


@dataclass(frozen=True, slots=True)
class CancellationTables:
    """Where a database has its cancellations, and their indexes."""

    source: Callable[[CancellationFilter], str]
    """The table, by the index that tells most of those apart that a filter asks for."""
    by_state: Grouping
    of_account: Grouping
    """By account and state."""
    waiting: str
    """SQL: what a cancellation waits for."""


class CancellationLists(ABC):
    """The part of `Reader` about lists of cancellations."""

    _lists: Lists
    _cancellations: CancellationTables

    @abstractmethod
    async def _requested_since(self, moments: Sequence[int]) -> dict[int, int]:
        """Moment → the number of the first cancellation that was requested then or later."""

    async def cancellations(
        self, window: Window, wanted: CancellationFilter = ALL_CANCELLATIONS
    ) -> list[tuple[int, Cancellation]]:
        rows = await self._cancellation_rows(wanted, window, "body")
        return [(seq, codec.read_cancellation(body)) for seq, body in rows]

    async def cancellation_facets(self, wanted: CancellationFilter = ALL_CANCELLATIONS) -> Facets:
        if wanted.of_groups:
            async with self._lists.snapshot(Use.SEARCHES) as db:
                first = () if wanted.account is None else (wanted.account,)
                counted = await count_groups(db, self._cancellations.of_account, wanted.has_group, first)
                if counted is None:
                    counted = await count_groups(db, self._cancellations.by_state, wanted.has_group)
                if counted is not None:
                    return counted
        rows = await self._cancellation_rows(wanted, counted_window(), "account, state", Use.SEARCHES)
        return count_rows(("account", "state"), rows)

    async def _cancellation_rows(
        self, wanted: CancellationFilter, window: Window, columns: str, use: Use = Use.LISTS
    ) -> Rows:
        """Rows of (seq, columns)."""
        where = wanted.where()
        where.add(f"state = 'scheduled' AND {self._cancellations.waiting} = ?", wanted.waiting)
        for condition, seq in zip(("seq >= ?", "seq < ?"), await self._bounds(wanted), strict=True):
            where.add(condition, seq)
        if wanted.by_account:
            async with self._lists.snapshot(use) as db:
                groups = await self._cancellations.of_account.groups(
                    db, GROUPS_MAX, wanted.has_group, (wanted.account,)
                )
                return await self._cancellations.of_account.merged(db, columns, groups or [], where, window)
        where.beyond("seq", window)
        source = self._cancellations.source(wanted)
        sql = f"SELECT seq, {columns} FROM {source} {where} ORDER BY seq {direction(window)} LIMIT ?"
        rows = await self._lists.fetch(sql, (*where.values, window.limit), Use.LOOKUPS if wanted.batch else use)
        return in_order(rows, window)

    async def _bounds(self, wanted: CancellationFilter) -> Sequence[int | None]:
        """Between which numbers those of these times are."""
        if (wanted.since, wanted.until) == (None, None):
            return None, None
        moments = [
            0 if wanted.since is None else codec.micros(wanted.since) - CLOCK_SET_BACK,
            END if wanted.until is None else codec.micros(wanted.until) + CLOCK_SET_BACK,
        ]
        found = await self._requested_since(moments)
        return [found[moment] for moment in moments]
