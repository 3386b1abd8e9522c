"""Deliveries of a subscription: what was sent, what the receiver responded, and sending again."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import msgspec
from msgspec import Struct
from pydantic import Field

from app.config.scope import Scope
from app.core.outbound import delivery as stored
from app.core.outbound.delivery import DeliveryAttempt, DeliveryState
from app.core.outbound.types import CLOSING_SOON, payload
from app.runtime import ids
from app.runtime.time_slice import TimeSlice
from app.store import Position
from app.store.filters import DeliveryFilter
from app.web import examples, resources
from app.web.examples import example
from app.web.facets import Facets
from app.web.fields import Moment, TypeGlobs, split_globs
from app.web.lookup import missing
from app.web.pages import PageQuery, SearchPage, order_number, search_page
from app.web.problems import Kind, Problem
from app.web.routes import Body, Call, Query, RouteTable
from app.web.subscriptions import SUBSCRIPTION, require_subscription

MESSAGE = "msg_06544770bd0cb000"
ROUTES = RouteTable(resources.TAGS["subscriptions"], id=examples.SUBSCRIPTION, message=MESSAGE)
RECOVERED_AT_ONCE = 500
"""Deliveries in one transaction: webhooks wait for no more than that."""
RECOVER_S = 2.0
"""Time budget of one request."""
COUNTED_MAX = 100_000
_NO_SUBSCRIPTION = missing("subscriptions", examples.SUBSCRIPTION)
_NO_DELIVERY = Problem(Kind.NOT_FOUND, f"Subscription {examples.SUBSCRIPTION!r} has no delivery of {MESSAGE!r}.")


class DeliveryFilters(Query):
    """Filters for deliveries."""

    state: DeliveryState | None = None
    type: TypeGlobs | None = Field(
        None, max_length=2000, description="Types of messages, separated by commas, with stars: `cancellation.*`."
    )
    account: str | None = None
    order: str | None = Field(None, description="Only those about this order, by any name; requires `account`.")
    since: Moment | None = Field(None, description="Messages written at this time or later.")
    until: Moment | None = Field(None, description="Messages written before this time.")


class DeliveriesQuery(PageQuery, DeliveryFilters):
    """Filters for deliveries."""


class RecoverBody(Body):
    """Which failed deliveries to send again."""

    since: Moment = Field(description="Those of messages written at this time or later.")
    until: Moment | None = Field(None, description="Those of messages written before this time. Default: now.")
    cursor: int | None = Field(
        None, ge=0, lt=1 << 63, description="`next_cursor` of the previous response, to go on after it."
    )


class Subject(Struct):
    """What the data of a message says it is about."""

    order: str | None = None
    test: bool = False


class Delivery(Struct, kw_only=True):
    """A message to one subscription, and what became of it."""

    subscription: str
    message: str
    """Id of the message, the `webhook-id` of each attempt."""
    type: str
    account: str | None
    order: str | None
    event: str | None
    """The event that caused the message, if one did."""
    test: bool
    """Whether it is an example that a person had sent."""
    state: DeliveryState
    """While the subscription is disabled, pending deliveries are held."""
    created_at: datetime
    next_attempt_at: datetime | None
    """When it is sent next; null if it is not pending."""
    tries: int
    """Since it was written, or sent again by hand."""
    last_attempt: DeliveryAttempt | None

    @classmethod
    def of(cls, row: stored.Delivery) -> Delivery:
        """A delivery as lists show it."""
        message = row.message
        subject = msgspec.json.decode(message.data, type=Subject)
        return cls(
            subscription=row.subscription,
            message=ids.show(ids.MESSAGE, message.id),
            type=message.type,
            account=message.account or None,
            order=subject.order,
            event=message.cause,
            test=subject.test,
            state=row.state,
            created_at=message.at,
            next_attempt_at=row.due_at if row.state is DeliveryState.PENDING else None,
            tries=row.tries,
            last_attempt=row.attempts[-1] if row.attempts else None,
        )


class DeliveryDetails(Delivery, kw_only=True):
    """A delivery with its body and its attempts."""

    body: dict[str, Any]
    """The body of its requests; notices in other formats than `standard` are worded from it."""
    attempts: tuple[DeliveryAttempt, ...]
    """The latest last; at most 20 are kept."""

    @classmethod
    def whole(cls, row: stored.Delivery, *, full: bool) -> DeliveryDetails:
        """A delivery with everything."""
        summary = {name: getattr(Delivery.of(row), name) for name in Delivery.__struct_fields__}
        body: dict[str, Any] = msgspec.json.decode(payload(row.message, full))
        return cls(**summary, body=body, attempts=row.attempts)


class Recovery(Struct, kw_only=True):
    """How many failed deliveries are sent again."""

    recovered: int
    """By this request."""
    remaining: int
    """Those that are left."""
    has_more: bool
    """Whether the time budget ended before all were found: repeat the request with `next_cursor`."""
    next_cursor: str | None


_ATTEMPT = DeliveryAttempt(examples.REQUESTED_AT, 112, 503, "", {"retry-after": "30"}, "try again later")
_EXAMPLE = DeliveryDetails(
    subscription=examples.SUBSCRIPTION,
    message=MESSAGE,
    type=CLOSING_SOON,
    account=examples.ACCOUNT,
    order=examples.ORDER,
    event=None,
    test=False,
    state=DeliveryState.FAILED,
    created_at=examples.REQUESTED_AT,
    next_attempt_at=None,
    tries=12,
    last_attempt=_ATTEMPT,
    body={"type": CLOSING_SOON, "timestamp": "2026-03-02T09:45:00Z", "data": {"order": examples.ORDER}},
    attempts=(_ATTEMPT,),
)
example(_EXAMPLE)
example(Delivery(**{name: getattr(_EXAMPLE, name) for name in Delivery.__struct_fields__}))
example(RecoverBody(since=examples.RECEIVED_AT))
example(Recovery(recovered=128, remaining=0, has_more=False, next_cursor=None))


@ROUTES.get(SUBSCRIPTION + "/deliveries", problems=[_NO_SUBSCRIPTION, Kind.AMBIGUOUS])
async def list_deliveries(call: Call, id: str, query: DeliveriesQuery) -> SearchPage[Delivery]:
    """Deliveries of a subscription, newest first.

    Each filter has an index; `account` together with `state` or `type` is a search, whose page may end before it is
    full: `complete` is false then, and `next_cursor` continues it.
    """
    require_subscription(call, id)
    window = query.window()
    rows = await call.node.store.deliveries(window, await _filter(call, id, query))
    time_slice, shown = TimeSlice(), list[tuple[Position, Delivery]]()
    for position, row in rows:
        shown.append((position, Delivery.of(row)))
        await time_slice.pause()
    return search_page(shown, window, rows)


@ROUTES.get(SUBSCRIPTION + "/deliveries/facets", problems=[_NO_SUBSCRIPTION, Kind.AMBIGUOUS])
async def count_deliveries(call: Call, id: str, query: DeliveryFilters) -> Facets:
    """Count deliveries of a subscription by `state`, `type` and `account`, for the filters of the list.

    The newest 2,000 are counted; with no other filters than state and type, each of their values is counted up to some
    thousands. `complete` tells whether there are more.
    """
    require_subscription(call, id)
    return Facets.of(await call.node.store.delivery_facets(await _filter(call, id, query)))


async def _filter(call: Call, id: str, query: DeliveryFilters) -> DeliveryFilter:
    """The filter of the store. Raises `Problem`."""
    return DeliveryFilter(
        subscription=id,
        state=query.state,
        types=split_globs(query.type),
        account=query.account,
        order_pk=await order_number(call, query.account, query.order),
        since=query.since,
        until=query.until,
    )


@ROUTES.get(SUBSCRIPTION + "/deliveries/{message}", problems=[_NO_DELIVERY])
async def get_delivery(call: Call, id: str, message: str) -> DeliveryDetails:
    """One delivery, with the body that is sent and every attempt."""
    spec = require_subscription(call, id)
    row = await call.node.store.delivery(id, _number(id, message))
    if row is None:
        raise _no_delivery(id, message)
    return DeliveryDetails.whole(row, full=spec.payload == "full")


@ROUTES.post(SUBSCRIPTION + "/deliveries/{message}/resend", Scope.WRITE, status=202, problems=[_NO_DELIVERY])
async def resend_delivery(call: Call, id: str, message: str) -> DeliveryDetails:
    """Send a delivery again, whatever became of it; the receiver gets the same id."""
    require_subscription(call, id)
    if not await call.node.store.resend_delivery(id, _number(id, message), datetime.now(UTC)):
        raise _no_delivery(id, message)
    call.node.deliveries.wake([id])
    return await get_delivery(call, id, message)


@ROUTES.post(
    SUBSCRIPTION + "/recover",
    Scope.WRITE,
    status=202,
    problems=[_NO_SUBSCRIPTION, Problem(Kind.INVALID, "The field until: must be after since.", field="until")],
)
async def recover_deliveries(call: Call, id: str, body: RecoverBody) -> Recovery:
    """Send all failed deliveries again that are as old as that, the oldest first.

    A request works for about two seconds; where more are left, the next one goes on at `next_cursor`.
    """
    require_subscription(call, id)
    if body.until is not None and body.until <= body.since:
        raise Problem(Kind.INVALID, "The field until: must be after since.", field="until")
    store, began, recovered = call.node.store, monotonic(), 0
    after: int | None = body.cursor or 0
    while after is not None and monotonic() - began < RECOVER_S:
        number, after = await store.recover_deliveries(
            id, body.since, after, RECOVERED_AT_ONCE, datetime.now(UTC), body.until
        )
        recovered += number
        call.node.deliveries.wake([id])
        await asyncio.sleep(0)
    remaining = 0
    if after is not None:
        remaining = await store.count_failed_deliveries(id, body.since, COUNTED_MAX, body.until)
    cursor = None if after is None else str(after)
    return Recovery(recovered=recovered, remaining=remaining, has_more=after is not None, next_cursor=cursor)


def _number(id: str, message: str) -> int:
    try:
        return ids.read(ids.MESSAGE, message)
    except ValueError as error:
        raise _no_delivery(id, message) from error


def _no_delivery(id: str, message: str) -> Problem:
    return Problem(Kind.NOT_FOUND, f"Subscription {id!r} has no delivery of {message!r}.")
