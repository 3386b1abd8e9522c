"""Orders, their verdicts and their history."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from msgspec import Struct
from pydantic import Field, StringConstraints

from app.config.keys import Scope
from app.contract import Order, Phase
from app.core.aggregate import OrderAggregate, is_fact
from app.core.commands import ChangeTags
from app.core.history import History
from app.engine.ledger import Submission
from app.node import Node
from app.runtime.time_slice import TimeSlice
from app.web.fields import Moment
from app.web.lookup import find_case
from app.web.problems import Kind, Problem
from app.web.routes import Body, Call, Page, PageQuery, Query, Route, SearchPage, require_known, search_page
from app.web.schemas import OrderShape, VerdictShape, order_shape, verdict_shape
from app.web.timeline import TimelineEntry, TimelineQuery, get_timeline

TAGS_MAX = 50
Tag = Annotated[str, StringConstraints(pattern=r"^[^\s,\x00-\x1f]{1,100}$")]


class OrdersQuery(PageQuery):
    """Filters for orders."""

    account: str | None = None
    phase: Phase | None = None
    cancelable: Literal["yes", "no", "unknown"] | None = Field(
        None, description="The verdict as it was when the order last changed."
    )


class VerdictQuery(Query):
    """For which time, and with the knowledge of which time."""

    at: Moment | None = Field(None, description="The verdict as of this time; now, if absent.")
    known_at: Moment | None = Field(None, description="Only what had been received by then.")


def shape_of(node: Node, case: OrderAggregate, now: datetime) -> OrderShape:
    """The order with its verdict at `now`."""
    view = node.directory.view(case.order.account)
    verdict = verdict_shape(view.judge(case.order, now), now)
    return order_shape(case, verdict)


async def list_orders(call: Call) -> SearchPage[OrderShape]:
    """All orders that the filters let through."""
    asked: OrdersQuery = call.query
    rows = await call.node.store.orders(
        account=asked.account,
        phase=asked.phase,
        cancelable=asked.cancelable,
        before=asked.cursor,
        limit=asked.limit + 1,
    )
    now = datetime.now(UTC)
    require_known(call, rows, account=asked.account)
    return search_page([(pk, shape_of(call.node, case, now)) for pk, case in rows], asked.limit, rows)


async def get_order(call: Call) -> OrderShape:
    """One order, by its id or any alias."""
    _, case = await find_case(call.node, call.path("account"), call.path("order"))
    return shape_of(call.node, case, datetime.now(UTC))


async def get_verdict(call: Call) -> VerdictShape:
    """The verdict, also of another time or with the knowledge of another time."""
    asked: VerdictQuery = call.query
    pk, case = await find_case(call.node, call.path("account"), call.path("order"))
    order, at = case.order, asked.at or datetime.now(UTC)
    if asked.known_at is not None:
        order = await _order_as_known_at(call.node, pk, order, asked.known_at)
    view = call.node.directory.view(order.account)
    return verdict_shape(view.judge(order, at), at)


async def _order_as_known_at(node: Node, pk: int, order: Order, moment: datetime) -> Order:
    """The fold of what had been received by then."""
    known, breather = History(order.account, order.id), TimeSlice()
    async for events in node.store.order_pages(pk):
        known.add([event for _, event in events if is_fact(event) and event.received_at <= moment])
    while known.fold():
        await breather.pause()
    return known.order


class TagsBody(Body):
    """Tags to put on, and to take off."""

    add: tuple[Tag, ...] = Field((), max_length=50)
    remove: tuple[Tag, ...] = Field((), max_length=50)


class Tags(Struct):
    """All tags that an order has."""

    tags: tuple[str, ...]


async def change_tags(call: Call) -> Tags:
    """Put tags on an order, or take some off; policies see them at once."""
    asked: TagsBody = call.body
    node, account, order = call.node, call.path("account"), call.path("order")
    _, case = await find_case(node, account, order)
    if len({*case.tags, *asked.add} - {*asked.remove}) > TAGS_MAX:
        raise Problem(Kind.INVALID, f"An order may have {TAGS_MAX} tags: take some off.", field="add")
    key = str(node.ids.next())
    entry = ChangeTags(account, case.order.id, datetime.now(UTC), asked.add, asked.remove, call.key.name, key)
    return Tags((await node.ledger.record(Submission([entry]))).results[0])


_ORDER = "/v1/accounts/{account}/orders/{order}"
_GET: dict[str, Any] = {"method": "GET", "scope": Scope.READ}

ROUTES = [
    Route(
        **_GET,
        path="/v1/orders",
        name="listOrders",
        summary="Orders with their verdicts, the latest first seen first.",
        handler=list_orders,
        query=OrdersQuery,
        answer=SearchPage[OrderShape],
        problems=[Kind.NOT_FOUND],
    ),
    Route(
        **_GET,
        path=_ORDER,
        name="getOrder",
        summary="An order with its verdict, by its id or any alias.",
        handler=get_order,
        answer=OrderShape,
        problems=[Kind.NOT_FOUND, Kind.AMBIGUOUS],
    ),
    Route(
        **_GET,
        path=_ORDER + "/verdict",
        name="getVerdict",
        summary="The verdict as of a time, and as known at a time.",
        handler=get_verdict,
        query=VerdictQuery,
        answer=VerdictShape,
        problems=[Kind.NOT_FOUND, Kind.AMBIGUOUS],
    ),
    Route(
        **_GET,
        path=_ORDER + "/timeline",
        name="getTimeline",
        summary="Events, decisions of policies, changes of the verdict and attempts, oldest first.",
        handler=get_timeline,
        query=TimelineQuery,
        answer=Page[TimelineEntry],
        problems=[Kind.NOT_FOUND, Kind.AMBIGUOUS],
    ),
    Route(
        method="POST",
        scope=Scope.WRITE,
        path=_ORDER + "/tags",
        name="changeTags",
        summary="Put tags on an order, or take some off; policies see them.",
        handler=change_tags,
        body=TagsBody,
        answer=Tags,
        problems=[Kind.NOT_FOUND, Kind.AMBIGUOUS, Kind.INVALID],
    ),
]
