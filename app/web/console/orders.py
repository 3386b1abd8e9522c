"""Orders: the list."""

from __future__ import annotations

from aiohttp import web

from app.web import orders
from app.web.console.page import Page, PageTable
from app.web.problems import Problem

PAGES = PageTable()
ROWS = 50


@PAGES.get("/orders")
async def list_orders(page: Page) -> web.Response:
    """Orders by account, phase and verdict."""
    try:
        found = await page.api(orders.list_orders, query=page.read_query(orders.OrdersQuery, limit=ROWS))
        problem = None
    except Problem as error:
        found, problem = None, error
    status = problem.kind.status if problem else 200
    return page.render("orders.html", status=status, found=found, problem=problem, query=page.request.query)
