"""Pages of lists."""

from __future__ import annotations

from datetime import datetime
from typing import Generic, TypeVar

from msgspec import Struct

P = TypeVar("P")


class Page(Struct, Generic[P]):
    """A page of a list."""

    data: list[P]
    has_more: bool
    next_cursor: str | None
    """Leads to the next page; None if this is the last."""
    previous_cursor: str | None = None
    """Leads back; None if this is the first page."""


class SearchPage(Struct, Generic[P]):
    """A page of search results. A search has a time budget: its page may end before it is full."""

    data: list[P]
    has_more: bool
    next_cursor: str | None
    """Leads to the next page; None if this is the last."""
    complete: bool
    """False if the time budget ran out; `next_cursor` continues the search."""
    searched_until: datetime | None = None
    """How far back the log was searched, if not complete."""
    previous_cursor: str | None = None
    """Leads back; None if this is the first page."""
