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
    query = events.EventsQuery(account=receipt["account"], receipt=id, limit=EVENTS_MAX)
    found = (await page.api(events.list_events, query=query))["data"] if receipt.get("events") else []
    place = {event: number for number, event in enumerate(receipt.get("events") or ())}
    shown = sorted(found, key=lambda event: place.get(event["id"], len(place)))
    return Origin(
        receipt=receipt,
        body=body_of(receipt, shown),
        events=[(event, event_in_words(event)) for event in shown],
        raw=raw,
        more=len(place) - len(shown),
    )
