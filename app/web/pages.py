"""Pages of lists, and what the filters of lists have in common."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar

from msgspec import Struct
from pydantic import Field

from app.config.faults import SINGULAR
from app.store import SearchResult
from app.web.lookup import find_order, missing, probable_name, sees_resource
from app.web.problems import Kind, Problem
from app.web.routes import Call, Query

T = TypeVar("T")
NAMED_MAX = 500
"""Rows in a page of configured resources; more would hold up the event loop for too long."""


class PageQuery(Query):
    """The paging parameters of every list."""

    limit: int = Field(50, ge=1, le=500, description="Maximum number of rows.")
    cursor: int | None = Field(None, ge=-(1 << 63), lt=1 << 63, description="`next_cursor` of the previous page.")


class NamedPageQuery(Query):
    """The paging parameters of lists by id, of what operators configured."""

    limit: int = Field(NAMED_MAX, ge=1, le=NAMED_MAX, description="Maximum number of rows.")
    cursor: str | None = Field(None, max_length=200, description="`next_cursor` of the previous page.")


class SearchQuery(PageQuery):
    """The filters of every list that can be searched by account and order."""

    account: str | None = None
    order: str | None = Field(None, description="Only those of this order, by its id or any alias; requires `account`.")


class Page(Struct, Generic[T]):
    """A page of a list, newest first."""

    data: list[T]
    has_more: bool
    next_cursor: str | None

    @classmethod
    def example_with(cls, row: T) -> Page[T]:
        """The only page, with one row."""
        return cls([row], has_more=False, next_cursor=None)


class SearchPage(Struct, Generic[T]):
    """A page of search results, newest first. A search has a time budget: its page may end before it is full."""

    data: list[T]
    has_more: bool
    next_cursor: str | None
    complete: bool
    """False if the time budget ran out; `next_cursor` continues the search."""
    searched_until: datetime | None = None
    """How far back the log was searched, if not complete."""

    @classmethod
    def example_with(cls, row: T) -> SearchPage[T]:
        """The only page, with one row."""
        return cls([row], has_more=False, next_cursor=None, complete=True)


def page(rows: Sequence[tuple[int, T]], limit: int) -> Page[T]:
    """The page of the first `limit` of `rows` (position, row). Query one row more to learn whether there are more."""
    more = len(rows) > limit
    shown = rows[:limit]
    return Page([row for _, row in shown], more, str(shown[-1][0]) if more else None)


def named_page(ids: Sequence[str], query: NamedPageQuery) -> tuple[Sequence[str], str | None]:
    """(the page of `ids`, which are sorted; `next_cursor`)."""
    start = 0 if query.cursor is None else bisect_right(ids, query.cursor)
    shown = ids[start : start + query.limit]
    return shown, shown[-1] if start + query.limit < len(ids) else None


def search_page(rows: Sequence[tuple[int, T]], limit: int, searched: SearchResult[Any]) -> SearchPage[T]:
    """The page of the first `limit` of `rows`, which were made from `searched`."""
    shown = page(rows, limit)
    if shown.has_more or searched.resume_before is None:
        return SearchPage(shown.data, shown.has_more, shown.next_cursor, complete=True)
    return SearchPage(
        shown.data, True, str(searched.resume_before), complete=False, searched_until=searched.searched_until
    )


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


async def search_arguments(call: Call, query: SearchQuery) -> dict[str, Any]:
    """The arguments of the store's search for these filters and this page. Raises `Problem`."""
    filters = {name: getattr(query, name) for name in type(query).model_fields.keys() - {"order", "cursor", "limit"}}
    order_pk = await _order_number(call, query.account, query.order)
    return {**filters, "order_pk": order_pk, "before": query.cursor, "limit": query.limit + 1}


async def _order_number(call: Call, account: str | None, order: str | None) -> int | None:
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
