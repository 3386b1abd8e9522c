"""The event log."""

from __future__ import annotations

from pydantic import Field

from app.core.event import Event
from app.web import examples
from app.web.fields import Moment
from app.web.pages import SearchPage, SearchQuery, require_known, search_arguments, search_page
from app.web.problems import Kind, Problem
from app.web.routes import AccountCheck, ApiTag, Call, RouteTable

ROUTES = RouteTable(ApiTag("Events", "The event log: what happened to every order."), id=examples.EVENT)
_MISSING = Problem(Kind.NOT_FOUND, f"There is no event {examples.EVENT!r} in the log.")


class EventsQuery(SearchQuery):
    """Filters for events."""

    type: str | None = Field(None, description="An event type, or a prefix and a star: `appointment.*`.")
    since: Moment | None = Field(None, description="Received at this time or later.")
    until: Moment | None = Field(None, description="Received before this time.")
    text: str | None = Field(None, min_length=2, description="Text contained in the event's facts or data.")


@ROUTES.get("/v1/events", problems=[Kind.NOT_FOUND, Kind.AMBIGUOUS], account_check=AccountCheck.QUERY)
async def list_events(call: Call, query: EventsQuery) -> SearchPage[Event]:
    """The event log, newest first.

    A page may end before it is full: `complete` is false then, and `next_cursor` continues the search.
    """
    if query.type is not None and "*" in query.type[:-1]:
        raise Problem(Kind.INVALID, "The query parameter type: a star is allowed at the end only.", field="type")
    rows = await call.node.store.events(**await search_arguments(call, query))
    require_known(call, rows, account=query.account)
    return search_page(rows, query.limit, rows)


@ROUTES.get("/v1/events/{id}", problems=[_MISSING], account_check=AccountCheck.HANDLER)
async def get_event(call: Call, id: str) -> Event:
    """One event.

    Events are immutable; an event's id is a digest of what identifies it at its source.
    """
    try:
        event = await call.node.store.event(id)
    except ValueError as error:
        raise Problem(Kind.NOT_FOUND, f"{error}.") from error
    if event is None or not call.key.sees(event.account):
        raise Problem(Kind.NOT_FOUND, f"There is no event {id!r} in the log.")
    return event
