"""The event log."""

from __future__ import annotations

from pydantic import Field

from app.config.keys import Scope
from app.web.fields import Moment
from app.web.problems import Kind, Problem
from app.web.routes import Call, PageQuery, Route, SearchPage, order_number, require_known, search_page
from app.web.schemas import EventShape, event_shape


class EventsQuery(PageQuery):
    """Filters for events."""

    account: str | None = None
    order: str | None = Field(None, description="An order's id or alias; needs `account`.")
    type: str | None = Field(None, description="A type, or the beginning of one and a star: `appointment.*`.")
    since: Moment | None = Field(None, description="Received at this time or later.")
    until: Moment | None = Field(None, description="Received before this time.")
    text: str | None = Field(None, min_length=2, description="Text that occurs in what the event states.")


async def list_events(call: Call) -> SearchPage[EventShape]:
    """All events that the filters let through."""
    asked: EventsQuery = call.query
    if asked.type is not None and "*" in asked.type[:-1]:
        raise Problem(Kind.INVALID, "The query parameter type: a star may stand at the end only.", field="type")
    order_pk = await order_number(call, asked.account, asked.order)
    rows = await call.node.store.events(
        account=asked.account,
        order_pk=order_pk,
        type=asked.type,
        since=asked.since,
        until=asked.until,
        text=asked.text,
        before=asked.cursor,
        limit=asked.limit + 1,
    )
    require_known(call, rows, account=asked.account)
    return search_page([(seq, event_shape(event)) for seq, event in rows], asked.limit, rows)


async def get_event(call: Call) -> EventShape:
    """One event."""
    id = call.path("id")
    try:
        event = await call.node.store.event(id)
    except ValueError as error:
        raise Problem(Kind.NOT_FOUND, f"{error}.") from error
    if event is None:
        raise Problem(Kind.NOT_FOUND, f"There is no event {id!r} in the log.")
    return event_shape(event)


ROUTES = [
    Route(
        method="GET",
        path="/v1/events",
        name="listEvents",
        summary="The event log, the newest first.",
        scope=Scope.READ,
        handler=list_events,
        query=EventsQuery,
        answer=SearchPage[EventShape],
        problems=[Kind.NOT_FOUND, Kind.AMBIGUOUS],
    ),
    Route(
        method="GET",
        path="/v1/events/{id}",
        name="getEvent",
        summary="One event.",
        scope=Scope.READ,
        handler=get_event,
        answer=EventShape,
        problems=[Kind.NOT_FOUND],
    ),
]
