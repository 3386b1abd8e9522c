"""Orders: the list, and where a name leads."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from app.web import orders
from app.web.console.page import Page, PageTable
from app.web.console.rendering import path
from app.web.problems import Problem

PAGES = PageTable()
ROWS = 50
SOON = {"1h": timedelta(hours=1), "6h": timedelta(hours=6), "24h": timedelta(hours=24)}
"""The values of the page's own filter: how soon the window closes."""


@PAGES.get("/orders")
async def list_orders(page: Page) -> web.Response:
    """Orders by account, verdict and when their window closes; a name leads to its order."""
    found, problem = None, None
    try:
        found = await page.api(orders.list_orders, query=_query(page))
    except Problem as error:
        problem = error
    text = page.request.query.get("text", "")
    if found is not None and text and (order := only_of_name(found, text)):
        return page.redirect(path("orders", order["account"], order["id"]))
    return page.render(
        "orders.html",
        status=problem.kind.status if problem else 200,
        found=found,
        problem=problem,
        query=page.request.query,
        facets=await _facets(page) if found is not None else None,
        soon=SOON,
        cancel_these=path("bulk", "cancel", **_filters(page)) if found is not None else "",
    )


async def _facets(page: Page) -> dict[str, Any]:
    """How many orders there are by verdict, phase and account."""
    filters = _query(page).model_dump(exclude={"limit", "cursor"})
    counted: dict[str, Any] = await page.api(orders.count_orders, query=orders.OrderFilters.model_construct(**filters))
    return counted


def only_of_name(found: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """The order of a list that has exactly this name, if it is the only one in the list."""
    if len(found["data"]) != 1 or found.get("previous_cursor") or found["has_more"]:
        return None
    order: Mapping[str, Any] = found["data"][0]
    return order if name == order["id"] or name in order["aliases"] else None


def _filters(page: Page) -> dict[str, str]:
    """The filters that are set, as the operation takes them: with times instead of `closes_in`."""
    filters = _query(page).model_dump(mode="json", exclude={"limit", "cursor"}, exclude_none=True)
    return {name: str(value) for name, value in filters.items()}


def _query(page: Page) -> orders.OrdersQuery:
    """The filters of the URL; `closes_in` counts from now. Raises `Problem`."""
    given, fixed = page.request.query, dict[str, Any]()
    if (soon := SOON.get(given.get("closes_in", ""))) is not None:
        now = datetime.now(UTC)
        fixed = {"closes_after": now, "closes_before": now + soon}
    if page.key.accounts and not given.get("account"):
        fixed["account"] = min(page.key.accounts)  # A restricted key sees one account at a time.
    return page.read_query(orders.OrdersQuery, limit=ROWS, **fixed)
