"""Batches: how far the cancellations are that were requested together."""

from __future__ import annotations

from aiohttp import web

from app.web import batches
from app.web.console.cancellations import STATES
from app.web.console.page import Page, PageTable

PAGES = PageTable()


@PAGES.get("/batches/{id}")
async def show_batch(page: Page) -> web.Response:
    """How many cancellations of a batch are in which state."""
    return page.render(
        "batch.html", batch=await page.api(batches.get_cancellation_batch, id=page.path["id"]), states=STATES
    )
