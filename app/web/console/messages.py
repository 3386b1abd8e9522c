"""A message to subscribers: which event caused it, and to whom it was delivered."""

from __future__ import annotations

from aiohttp import web

from app.web import messages
from app.web.console.page import Page, PageTable

PAGES = PageTable()
DELIVERIES_MAX = 100


@PAGES.get("/messages/{id}")
async def show_message(page: Page) -> web.Response:
    """One message and its deliveries."""
    message = await page.api(messages.get_message, id=page.path["id"])
    return page.render("message.html", message=message, deliveries_max=DELIVERIES_MAX)
