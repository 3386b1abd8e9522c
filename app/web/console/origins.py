"""A receipt beside the events that it became."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from app.web import events, receipts
from app.web.console.bodies import Body, body_of
from app.web.console.page import Page
from app.web.console.wording import event_in_words

EVENTS_MAX = 20
"""Events shown with a receipt."""


class Origin(Struct, kw_only=True):
    """A receipt and its events."""

    receipt: dict[str, Any]
    body: Body
    events: list[tuple[dict[str, Any], str]]
    """(event, what it says), in the order of the receipt."""
    raw: bool
    """Whether private fields are shown."""
    more: int
    """Events that are not shown."""


async def origin_of(page: Page, id: str) -> Origin:
    """A receipt and what it became; with `?raw=true` in the page's URL, with its private fields. Raises `Problem`."""
    raw = page.request.query.get("raw") == "true"
    receipt = await page.api(receipts.get_receipt, query=receipts.ReceiptQuery(raw=raw), id=id)
    ids = receipt.get("events") or []
    found = [await page.api_or_none(events.get_event, id=event) for event in ids[:EVENTS_MAX]]
    shown = [event for event in found if event is not None]
    return Origin(
        receipt=receipt,
        body=body_of(receipt, shown),
        events=[(event, event_in_words(event)) for event in shown],
        raw=raw,
        more=len(ids) - len(shown),
    )
