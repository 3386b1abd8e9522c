"""Receipts: the list, one receipt beside what it became, its whole body, and parsing it again."""

from __future__ import annotations

from base64 import b64decode

from aiohttp import web

from app.core.receipt_status import ReceiptStatus
from app.web import receipts
from app.web.console import headers
from app.web.console.listing import count_list, show_list
from app.web.console.origins import origin_of
from app.web.console.page import Page, PageTable
from app.web.console.rendering import path, words
from app.web.problems import Kind, Problem

PAGES, FILES = PageTable(), PageTable()


@PAGES.get("/receipts")
async def list_receipts(page: Page) -> web.Response:
    """Inbound requests, newest first."""
    return await show_list(
        page,
        "receipts.html",
        receipts.list_receipts,
        receipts.ReceiptsQuery,
        facets=None
        if page.request.query.get("text")  # It would read the bodies twice.
        else await count_list(page, receipts.count_receipts, receipts.ReceiptFilters),
        statuses=[status.value for status in ReceiptStatus],
    )


@PAGES.get("/receipts/{id}")
async def show_receipt(page: Page) -> web.Response:
    """One inbound request and what it became."""
    return page.render("receipt.html", origin=await origin_of(page, page.path["id"]))


@FILES.get("/receipts/{id}/body")
async def show_body(page: Page) -> web.Response:
    """The whole body, masked unless private fields are asked for."""
    raw = page.request.query.get("raw") == "true"
    receipt = await page.api(receipts.get_receipt, query=receipts.ReceiptQuery(raw=raw), id=page.path["id"])
    if receipt.get("body_base64") is not None:
        named = {"Content-Disposition": f'attachment; filename="{receipt["id"]}.bin"'}
        content = b64decode(receipt["body_base64"])
        return web.Response(body=content, content_type="application/octet-stream", headers={**headers.PAGE, **named})
    if receipt.get("expunged_at"):
        raise Problem(Kind.EXPUNGED, f"The body of receipt {receipt['id']} was expunged.")
    text = receipt.get("body", "The body is not text, and may hold private fields: it is hidden.")
    return web.Response(text=text, content_type="text/plain", headers=headers.PAGE)


@PAGES.post("/receipts/{id}/reprocess")
async def reprocess(page: Page) -> web.Response:
    """Parse the receipt again."""
    receipt = await page.api(receipts.reprocess_receipt, id=page.path["id"])
    reason = f": {receipt['reason']}" if receipt["reason"] else ""
    count = len(receipt["events"])
    notice = f"Reprocessed: {words(receipt['status'])}{reason}. It has {count} event{'' if count == 1 else 's'}."
    return page.redirect(path("receipts", receipt["id"]), notice)
