"""What a database must do so that its log can be searched: a part of `app.store.protocol`.

Where an index of the log is kept apart from it, as on SQLite, it follows the log: it is filled piece by piece, and what
it does not hold yet is searched in the log. A database that indexes as it writes has nothing to do here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from app.store.filters import ALL_EVENTS, EventFilter


@dataclass(frozen=True, slots=True)
class IndexProgress:
    """What one piece of work on the search index came to."""

    events: int
    """Events that were indexed, for the first time or anew."""
    took_s: float
    behind: int
    """Events of the log that are not in the index yet."""
    idle: bool
    """Whether there was nothing to do."""
    erasing: bool
    """Whether words of erased content may still be in the index's files."""


@dataclass(frozen=True, slots=True)
class Facets:
    """How many rows a filter has, by the values of some of their fields."""

    total: int
    counts: Mapping[str, Mapping[str, int]]
    """Field → value → number of rows."""
    complete: bool
    """Whether all rows are counted; otherwise the newest ones, as many as the budget allowed."""
    more: Mapping[str, Collection[str]] = field(default_factory=dict)
    """Field → values of which there are more rows than were counted."""


class IndexReader(Protocol):
    """Counts of what the log holds."""

    async def event_facets(self, wanted: EventFilter = ALL_EVENTS) -> Facets:
        """How many events a filter has by `type`, `account`, `source` and `day` (UTC, by receipt)."""


class IndexStore(IndexReader, Protocol):
    """Work on the search index."""

    async def open_search_index(self) -> None:
        """Open the index, made anew if there is none of this log. Raises `StoreError`."""

    async def fill_search_index(self, rows: int) -> IndexProgress:
        """Do the next piece of work on the open index, on at most so many events.

        Words of events whose content was erased go from the index too; until then, no list shows an event for them.
        Every other piece of work is about them, if there are any. Raises `SearchIndexDamaged` if the index is to be
        discarded, and else `StoreError`.
        """

    async def discard_search_index(self) -> None:
        """Close the index, and delete it; lists search the log until it is opened again. Raises `StoreError`."""
