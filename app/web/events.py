"""The event log."""

from __future__ import annotations

from pydantic import Field

from app.core.event import Event
from app.runtime import ids
from app.store.filters import EventFilter
from app.web import examples
from app.web.facets import Facets
from app.web.fields import Moment, SourceName, TypeGlobs, split_globs
from app.web.pages import OrderQuery, PageQuery, SearchPage, fitting, order_number, require_known, search_page
from app.web.problems import Kind, Problem
from app.web.routes import AccountCheck, ApiTag, Call, RouteTable
from app.web.schemas import EventDetails

ROUTES = RouteTable(ApiTag("Events", "The event log: what happened to every order."), id=examples.EVENT)
_MISSING = Problem(Kind.NOT_FOUND, f"There is no event {examples.EVENT!r} in the log.")


class EventFilters(OrderQuery):
    """Filters for events."""

    type: TypeGlobs | None = Field(
        None,
        max_length=2000,
        description="Event types, separated by commas; a star stands for any characters: `appointment.*,order.*`.",
    )
    source: SourceName | None = Field(None, description="Through which side of the one door they came.")
    policy: str | None = Field(None, description="Only decisions of this policy.")
    receipt: str | None = Field(None, description="Only events that were parsed from this receipt.")
    since: Moment | None = Field(None, description="Received at this time or later.")
    until: Moment | None = Field(None, description="Received before this time.")
    text: str | None = Field(None, min_length=2, max_length=200, description="Text in the event's facts or data.")


class EventsQuery(PageQuery, EventFilters):
    """Filters for events."""


@ROUTES.get("/v1/events", problems=[Kind.NOT_FOUND, Kind.AMBIGUOUS], account_check=AccountCheck.QUERY)
async def list_events(call: Call, query: EventsQuery) -> SearchPage[Event]:
    """The event log, newest first.

    A page may end before it is full: `complete` is false then, and `next_cursor` continues the search.
    """
    window = query.window()
    rows = await call.node.store.events(window, await _filter(call, query))
    require_known(call, rows, account=query.account, policy=query.policy)
    return search_page(*await fitting(rows, window), rows)


@ROUTES.get("/v1/events/facets", problems=[Kind.NOT_FOUND, Kind.AMBIGUOUS], account_check=AccountCheck.QUERY)
async def count_events(call: Call, query: EventFilters) -> Facets:
    """Count events by `type`, `account`, `source` and `day` (UTC, by receipt), for the filters of the list.

    Counts for accounts, types, sources and whole days are exact on SQLite. With other filters, and on PostgreSQL, the
    newest matching events are counted, up to 2,000: `complete` is false if there are more.
    """
    counted = await call.node.store.event_facets(await _filter(call, query))
    require_known(call, range(counted.total), account=query.account, policy=query.policy)
    return Facets.of(counted)


async def _filter(call: Call, query: EventFilters) -> EventFilter:
    """The filter of the store. Raises `Problem`."""
    receipt = None
    if query.text is not None and not any(map(str.isalnum, query.text)):
        raise Problem(Kind.INVALID, "The query parameter text: give a letter or a digit.", field="text")
    if query.receipt is not None:
        try:
            receipt = ids.read(ids.RECEIPT, query.receipt)
        except ValueError as error:
            raise Problem(Kind.INVALID, f"The query parameter receipt: {error}.", field="receipt") from error
    return EventFilter(
        account=query.account,
        order_pk=await order_number(call, query.account, query.order),
        types=split_globs(query.type),
        source=query.source,
        policy=query.policy,
        receipt=receipt,
        since=query.since,
        until=query.until,
        text=query.text,
    )


@ROUTES.get("/v1/events/{id}", problems=[_MISSING], account_check=AccountCheck.HANDLER)
async def get_event(call: Call, id: str) -> EventDetails:
    """One event, and the cancellations and messages that it led to.

    Events are immutable; an event's id is a digest of what identifies it at its source.
    """
    try:
        event = await call.node.store.event(id)
    except ValueError as error:
        raise Problem(Kind.NOT_FOUND, f"{error}.") from error
    if event is None or not call.key.sees(event.account):
        raise Problem(Kind.NOT_FOUND, f"There is no event {id!r} in the log.")
    links = await call.node.store.event_links(event)
    members = {name: getattr(event, name) for name in Event.__struct_fields__}
    return EventDetails(**members, cancellations=tuple(links.cancellations), messages=tuple(links.messages))
