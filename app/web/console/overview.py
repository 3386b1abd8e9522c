"""The start page."""

from __future__ import annotations

from aiohttp import web

from app.web import status
from app.web.console.page import Page, PageTable

PAGES = PageTable()


@PAGES.get("/")
async def show(page: Page) -> web.Response:
    """What needs a person."""
    return page.render("overview.html", installation=await page.api_or_none(status.get_status))
