"""Pages of lists, and what the filters of lists have in common."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import msgspec
from msgspec import Raw, Struct
from pydantic import AfterValidator, Field

from app.config.faults import SINGULAR
from app.runtime.time_slice import TimeSlice
from app.store import Position, SearchResult, Window
from app.web.lookup import find_order, missing, probable_name, sees_resource
from app.web.problems import Kind, Problem
from app.web.routes import Call, Query

T = TypeVar("T")
NAMED_MAX = 500
"""Rows in a page of configured resources; more would hold up the event loop for too long."""
PAGE_BYTES = 4 << 20
"""JSON of the rows in a page, about: a page of larger rows ends early."""
_CURSOR_MAX = 500
_INT64 = 1 << 63
_BACK = "~"
"""Begins a cursor that leads back in a list by id; no id begins so."""


class _Cursor(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What a cursor stands for."""

    newer: bool
    """Whether it leads to rows before those of its page in the list, instead of after them."""
    position: tuple[int | str, ...]


def encode_cursor(position: Position, *, newer: bool = False) -> str:
    """The opaque text by which a client continues from a row."""
    parts = position if isinstance(position, tuple) else (position,)
    return urlsafe_b64encode(msgspec.json.encode(_Cursor(newer, parts))).rstrip(b"=").decode()


def _decode(cursor: str) -> _Cursor:
    """Raise ValueError for what is no cursor."""
    try:
        raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        decoded = msgspec.json.decode(raw, type=_Cursor)
    except (binascii.Error, UnicodeError, msgspec.DecodeError) as error:
        raise ValueError("give a cursor that a page of this list has") from error
    if not decoded.position or any(isinstance(part, int) and abs(part) >= _INT64 for part in decoded.position):
        raise ValueError("give a cursor that a page of this list has")
    return decoded


def _checked(cursor: str) -> str:
    _decode(cursor)
    return cursor


CursorText = Annotated[str, AfterValidator(_checked)]


class PageQuery(Query):
    """The paging parameters of every list."""

    limit: int = Field(50, ge=1, le=500, description="Maximum number of rows; a page of large ones ends at 4 MB.")
    cursor: CursorText | None = Field(
        None,
        max_length=_CURSOR_MAX,
        description="`next_cursor` or `previous_cursor` of another page.",
        json_schema_extra={"pattern": "^[A-Za-z0-9_-]+$"},
    )

    def window(self, *shape: type) -> Window:
        """The rows to query: those of the page, and one more to learn whether there are more.

        `shape` are the types in the list's positions; default: one whole number. Raises `Problem`.
        """
        if self.cursor is None:
            return Window(self.limit + 1)
        decoded = _decode(self.cursor)
        if tuple(map(type, decoded.position)) != (shape or (int,)):
            raise Problem(Kind.INVALID, "The query parameter cursor: it is of another list.", field="cursor")
        position = decoded.position if shape else decoded.position[0]
        return Window(self.limit + 1, position, newer=decoded.newer)


class NamedPageQuery(Query):
    """The paging parameters of lists by id, of what operators configured."""

    limit: int = Field(NAMED_MAX, ge=1, le=NAMED_MAX, description="Maximum number of rows.")
    cursor: str | None = Field(
        None, max_length=200, description="`next_cursor` or `previous_cursor` of another page, or an id to begin after."
    )


class OrderQuery(Query):
    """The filters of every list that can be searched by account and order."""

    account: str | None = None
    order: str | None = Field(None, description="Only those of this order, by its id or any alias; requires `account`.")


class Page(Struct, Generic[T]):
    """A page of a list, newest first unless the operation says otherwise."""

    data: list[T]
    has_more: bool
    next_cursor: str | None
    """Leads to the next page; null if this is the last."""
    previous_cursor: str | None = None
    """Leads back; null if this is the first page."""

    @classmethod
    def example_with(cls, row: T) -> Page[T]:
        """The only page, with one row."""
        return cls([row], has_more=False, next_cursor=None)


class SearchPage(Struct, Generic[T]):
    """A page of search results, newest first. A search has a time budget: its page may end before it is full."""

    data: list[T]
    has_more: bool
    next_cursor: str | None
    """Leads to the next page; null if this is the last."""
    complete: bool
    """False if the time budget ran out; `next_cursor` (going back: `previous_cursor`) continues the search."""
    searched_until: datetime | None = None
    """How far back the log was searched, if not complete."""
    previous_cursor: str | None = None
    """Leads back; null if this is the first page."""

    @classmethod
    def example_with(cls, row: T) -> SearchPage[T]:
        """The only page, with one row."""
        return cls([row], has_more=False, next_cursor=None, complete=True)


async def fitting(rows: Sequence[tuple[Position, T]], window: Window) -> tuple[Sequence[tuple[Position, T]], Window]:
    """(`rows` as JSON, the window of those that fit into a page together), of the rows that were queried for `window`.

    A page of large rows ends early: its cursor continues it. It has one row at least.
    """
    time_slice, shown, size = TimeSlice(), list[tuple[Position, Any]](), 0
    for position, row in reversed(rows) if window.newer else rows:
        raw = Raw(msgspec.json.encode(row))
        shown.append((position, raw))
        size += len(raw)
        if size > PAGE_BYTES and len(shown) > 1:
            window = replace(window, limit=len(shown))  # The last one only tells that there are more.
            break
        await time_slice.pause()
    return shown[::-1] if window.newer else shown, window


def page(rows: Sequence[tuple[Position, T]], window: Window) -> Page[T]:
    """The page of `rows` (position, row), which were queried for `window`, in the order of the list."""
    shown, following, previous = _ends(rows, window)
    return Page([row for _, row in shown], following is not None, following, previous)


def search_page(
    rows: Sequence[tuple[Position, T]], window: Window, searched: SearchResult[Any], *, ascending: bool = False
) -> SearchPage[T]:
    """The page of `rows`, which were made from `searched`; `ascending` says that the list begins with the least."""
    shown, following, previous = _ends(rows, window, ascending=ascending)
    complete = searched.resume is None or len(rows) >= window.limit
    if searched.resume is not None and not complete:
        cursor = encode_cursor(searched.resume, newer=window.newer)
        following, previous = (following, cursor) if window.newer else (cursor, previous)
    return SearchPage(
        [row for _, row in shown],
        following is not None,
        following,
        complete=complete,
        searched_until=None if complete else searched.searched_until,
        previous_cursor=previous,
    )


def _ends(
    rows: Sequence[tuple[Position, T]], window: Window, *, ascending: bool = False
) -> tuple[Sequence[tuple[Position, T]], str | None, str | None]:
    """(the rows to show, `next_cursor`, `previous_cursor`)."""
    size = window.limit - 1
    more = len(rows) > size
    if window.position is None:
        return rows[:size], encode_cursor(rows[size - 1][0]) if more else None, None
    if not rows:
        # The row that the cursor names is on the other side of this empty page.
        back = encode_cursor(_beyond(window.position, above=window.newer != ascending), newer=not window.newer)
        return rows, back if window.newer else None, None if window.newer else back
    if window.newer:
        shown = rows[-size:]
        return shown, encode_cursor(shown[-1][0]), encode_cursor(shown[0][0], newer=True) if more else None
    shown = rows[:size]
    return shown, encode_cursor(shown[-1][0]) if more else None, encode_cursor(shown[0][0], newer=True)


def _beyond(position: Position, *, above: bool) -> Position:
    """A position from which the row at `position` itself is found again."""
    *parts, last = position if isinstance(position, tuple) else (position,)
    if isinstance(last, int):
        last += 1 if above else -1
    return (*parts, last)


class NamedPage(NamedTuple):
    """The part of a list by id that a page shows."""

    ids: Sequence[str]
    next_cursor: str | None
    previous_cursor: str | None

    @property
    def has_more(self) -> bool:
        """Whether there are rows after it."""
        return self.next_cursor is not None


def named_page(ids: Sequence[str], query: NamedPageQuery) -> NamedPage:
    """The page of `ids`, which are sorted. A cursor is an id to begin after, or with a tilde to end before."""
    if query.cursor is not None and query.cursor.startswith(_BACK):
        end = bisect_left(ids, query.cursor.removeprefix(_BACK))
        start = max(0, end - query.limit)
    else:
        start = 0 if query.cursor is None else bisect_right(ids, query.cursor)
        end = start + query.limit
    shown = ids[start:end]
    following = shown[-1] if shown and end < len(ids) else None
    return NamedPage(shown, following, f"{_BACK}{ids[start]}" if start < len(ids) and start else None)


def require_known(call: Call, rows: Sequence[Any], **filters: str | None) -> None:
    """Raise `Problem` for an empty list whose filter (`account`, `endpoint`, `policy`) names no resource.

    A removed resource can be filtered by as long as it has rows.
    """
    if rows:
        return
    for plural, kind in SINGULAR.items():
        id = filters.get(kind)
        if id is not None and not sees_resource(call.node, call.key, plural, id):
            raise missing(plural, id, field=kind)


async def order_number(call: Call, account: str | None, order: str | None) -> int | None:
    """The number of the order to filter by: None without a filter, -1 for an order that is not known yet.

    Raises `Problem` if the account does not exist, or has a similar order under another name.
    """
    if order is None:
        return None
    if account is None:
        raise Problem(Kind.INVALID, "The query parameter order requires account.", field="account")
    stored = await find_order(call.node, account, order)
    if stored is not None:
        return stored[0]
    require_known(call, (), account=account)
    name = await probable_name(call.node, account, order)
    if name is not None:
        detail = f"Account {account} has no order {order!r}. It has an order {name!r}: ask for it by that name."
        raise Problem(Kind.NOT_FOUND, detail, field="order")
    return -1  # A caller may follow an order before its first event arrives.
