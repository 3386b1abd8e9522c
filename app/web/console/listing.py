"""A list of the API on a page: filters from the URL, and the problem in its place if there is one."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from app.web.console.page import Page
from app.web.problems import Problem
from app.web.routes import Handler, Query

ROWS = 50


async def show_list(
    page: Page, template: str, handler: Handler, query: type[Query], *, limit: int = ROWS, **context: Any
) -> web.Response:
    """The page of a list by its operation; the template has `found`, `problem` and `query`."""
    found, problem = None, None
    try:
        found = await page.api(handler, query=page.read_query(query, limit=limit, **default_account(page)))
    except Problem as error:
        problem = error
    status = 200 if problem is None else problem.kind.status
    return page.render(template, status=status, found=found, problem=problem, query=filters_of(page), **context)


async def count_list(page: Page, handler: Handler, query: type[Query], **fixed: Any) -> dict[str, Any] | None:
    """The facets of a list for the page's filters; None without an answer: the list tells what is wrong."""
    try:
        counted: dict[str, Any] = await page.api(
            handler, query=page.read_query(query, **{**default_account(page), **fixed})
        )
    except Problem:
        return None
    return counted


def default_account(page: Page) -> dict[str, str]:
    """The account of a list whose URL names none, for a key that is restricted to some: it sees one at a time."""
    if page.key.accounts and not page.request.query.get("account"):
        return {"account": min(page.key.accounts)}
    return {}


def filters_of(page: Page) -> dict[str, str]:
    """The parameters of the page's URL, and the account that stands for none."""
    return {**page.request.query, **default_account(page)}
