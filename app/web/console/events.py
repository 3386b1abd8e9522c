"""Events: the list, and one event beside the receipt that it came from."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from app.contract import Source
from app.web import events, stream
from app.web.console.listing import count_list, default_account, show_list
from app.web.console.origins import origin_of
from app.web.console.page import Page, PageTable
from app.web.console.wording import event_in_words

PAGES, FILES = PageTable(), PageTable()
EVIDENCE_MAX = 20


@PAGES.get("/events")
async def list_events(page: Page) -> web.Response:
    """The event log, newest first."""
    return await show_list(
        page,
        "events.html",
        events.list_events,
        events.EventsQuery,
        facets=None
        if "live" in page.request.query
        else await count_list(page, events.count_events, events.EventFilters),
        sources=[source.value for source in Source],
        in_words=event_in_words,
    )


@FILES.get("/events/stream")
async def follow_events(page: Page) -> web.StreamResponse:
    """Events as they are recorded, for the list that is followed live."""
    response: web.StreamResponse = await page.api(
        stream.stream_events, query=page.read_query(stream.StreamQuery, follow=True, **default_account(page))
    )
    return response


@PAGES.get("/events/{id}")
async def show_event(page: Page) -> web.Response:
    """One event, and the receipt that it came from."""
    event = await page.api(events.get_event, id=page.path["id"])
    return page.render(
        "event.html",
        event=event,
        says=event_in_words(event),
        links=_links(event["data"]),
        evidence=_evidence(event["data"]),
        origin=await origin_of(page, event["receipt"]) if event["receipt"] else None,
    )


def _links(data: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(label, kind of page, id) of what an event of Rescind's own is about."""
    kinds = {
        "cancellation": "cancellations",
        "policy": "policies",
        "endpoint": "endpoints",
        "subscription": "subscriptions",
    }
    return [(name, kind, data[name]) for name, kind in kinds.items() if isinstance(data.get(name), str) and data[name]]


def _evidence(data: dict[str, Any]) -> list[str]:
    """The events that a decision or a step of a cancellation rests on."""
    changes = data.get("changes") or {}
    return list(data.get("evidence") or changes.get("evidence") or ())[:EVIDENCE_MAX]
