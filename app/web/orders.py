"""Orders, their verdicts and tags."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from msgspec import Struct
from pydantic import Field, StringConstraints

from app.config.scope import Scope
from app.contract import Cancelable, Order, Phase
from app.core.aggregate import OrderAggregate, is_fact
from app.core.cancellation import Cancellation
from app.core.commands import ChangeTags
from app.core.history import History
from app.node import Node
from app.runtime.time_slice import TimeSlice
from app.store import Position, Window
from app.store.filters import CancellationFilter, OrderFilter
from app.web import schemas
from app.web.examples import example
from app.web.facets import Facets
from app.web.fields import Moment
from app.web.lookup import require_order
from app.web.pages import Page, PageQuery, SearchPage, fitting, page, require_known, search_page
from app.web.problems import Kind, Problem
from app.web.routes import AccountCheck, ApiTag, Body, Call, Query, RouteTable
from app.web.time_travel import KnownOrder, MomentQuery, order_known_at

ROUTES = RouteTable(ApiTag("Orders", "Orders with their verdicts: whether they can be canceled, why, and until when."))
TAGS_MAX = 50
Tag = Annotated[str, StringConstraints(pattern=r"^[^\s,\x00-\x1f]{1,100}$")]
_ORDER = "/v1/accounts/{account}/orders/{order}"


class OrderFilters(Query):
    """Filters for orders."""

    account: str | None = None
    phase: Phase | None = None
    cancelable: Cancelable | None = Field(None, description="The verdict.")
    reason: str | None = Field(None, max_length=200, description="The verdict's reason.")
    closes_after: Moment | None = Field(None, description="Time alone closes the window at this time or later.")
    closes_before: Moment | None = Field(None, description="Time alone closes the window before this time.")
    opened_since: Moment | None = Field(None, description="Opened at this time or later.")
    opened_until: Moment | None = Field(None, description="Opened before this time.")
    text: str | None = Field(
        None, min_length=2, max_length=200, description="The beginning of the order's id or of an alias."
    )


class OrdersQuery(PageQuery, OrderFilters):
    """Filters for orders."""


class OrderCancellationsQuery(PageQuery):
    """Paging, and with the knowledge of which time."""

    known_at: Moment | None = Field(None, description="As far as events received by this time tell. Default: now.")


class TagsBody(Body):
    """Tags to add and to remove."""

    add: tuple[Tag, ...] = Field((), max_length=50)
    remove: tuple[Tag, ...] = Field((), max_length=50)


example(TagsBody(add=("vip",)))


class Tags(Struct):
    """All tags of an order."""

    tags: tuple[str, ...]


example(Tags(("vip",)))


@ROUTES.get("/v1/orders", problems=[Kind.NOT_FOUND], account_check=AccountCheck.QUERY)
async def list_orders(call: Call, query: OrdersQuery) -> SearchPage[schemas.Order]:
    """Orders with their verdicts, most recently discovered first.

    With `closes_after` or `closes_before`, those that close soonest come first; with `opened_since` or `opened_until`,
    the most recently opened.

    Verdicts are of now. `cancelable` and `reason` find the orders that had this verdict when they last changed, or time
    changed it, which is noticed within about a second; those that have another one by now are left out.
    """
    wanted = OrderFilter(**query.model_dump(exclude={"limit", "cursor"}))
    window = query.window(int, str, int) if wanted.by_time else query.window()
    rows = await call.node.store.orders(window, wanted)
    now = datetime.now(UTC)
    require_known(call, rows, account=query.account)
    time_slice, shown = TimeSlice(), list[tuple[Position, schemas.Order | None]]()
    for position, aggregate in rows:
        order = _shown(call.node, aggregate, now)
        # What is left out has its place in the list, by which the page is continued.
        shown.append((position, order if _has_verdict(order, query) else None))
        await time_slice.pause()
    found: SearchPage[Any] = search_page(*await fitting(shown, window), rows, ascending=wanted.by_closing)
    found.data = [order for order in found.data if bytes(order) != b"null"]
    return found


@ROUTES.get("/v1/orders/facets", problems=[Kind.NOT_FOUND], account_check=AccountCheck.QUERY)
async def count_orders(call: Call, query: OrderFilters) -> Facets:
    """Count orders by `cancelable`, `phase`, `reason` and `account`, for the filters of the list.

    Of all orders, and with `cancelable`, `phase` or `reason`, each value is counted up to some thousands; with other
    filters the first 2,000 orders of the list are counted. `complete` tells whether there are more.
    """
    counted = await call.node.store.order_facets(OrderFilter(**query.model_dump()))
    require_known(call, range(counted.total), account=query.account)
    return Facets.of(counted)


@ROUTES.get(_ORDER, problems=[Kind.NOT_FOUND, Kind.AMBIGUOUS], account_check=AccountCheck.PATH)
async def get_order(call: Call, account: str, order: str, query: MomentQuery) -> schemas.Order:
    """An order with its verdict, by its id or any alias; also as it was known at an earlier time.

    `at` is the time of the verdict, `known_at` leaves out events that were received later: give both the same time to
    see what was shown then. An alias that several orders carry leads to a 409 that names them.
    """
    pk, aggregate = await require_order(call.node, account, order)
    if query.known_at is not None:
        aggregate = (await order_known_at(call.node, pk, aggregate.order, query.known_at)).aggregate
    return _shown(call.node, aggregate, query.at or datetime.now(UTC))


@ROUTES.get(_ORDER + "/cancellations", problems=[Kind.NOT_FOUND, Kind.AMBIGUOUS], account_check=AccountCheck.PATH)
async def list_order_cancellations(
    call: Call, account: str, order: str, query: OrderCancellationsQuery
) -> Page[schemas.Cancellation]:
    """The cancellations of an order, newest first; also as they were known earlier."""
    node, window = call.node, query.window()
    pk, aggregate = await require_order(node, account, order)
    if query.known_at is None:
        rows = await node.store.cancellations(window, CancellationFilter(order_pk=pk))
        holdup = schemas.holdup(node.lane_status(aggregate.order.account))
        return page([(seq, schemas.Cancellation.of(row, holdup)) for seq, row in rows], window)
    known = await order_known_at(node, pk, aggregate.order, query.known_at)
    return page([(number, schemas.Cancellation.of(row)) for number, row in _within(window, known)], window)


@ROUTES.get(_ORDER + "/verdict", problems=[Kind.NOT_FOUND, Kind.AMBIGUOUS], account_check=AccountCheck.PATH)
async def get_verdict(call: Call, account: str, order: str, query: MomentQuery) -> schemas.Verdict:
    """The verdict as of a time, and as known at a time.

    `at` asks what time alone will change. `known_at` leaves out events that were received later: what could be known
    then.
    """
    pk, aggregate = await require_order(call.node, account, order)
    judged, at = aggregate.order, query.at or datetime.now(UTC)
    if query.known_at is not None:
        judged = await _order_as_known_at(call.node, pk, judged, query.known_at)
    return schemas.Verdict.of(call.node.config.view(judged.account).judge(judged, at), at)


@ROUTES.post(
    _ORDER + "/tags",
    Scope.WRITE,
    problems=[Kind.NOT_FOUND, Kind.AMBIGUOUS, Kind.INVALID],
    account_check=AccountCheck.PATH,
)
async def change_tags(call: Call, account: str, order: str, body: TagsBody) -> Tags:
    """Add tags to an order, or remove some; policies see the change at once."""
    _, aggregate = await require_order(call.node, account, order)
    if len({*aggregate.tags, *body.add} - {*body.remove}) > TAGS_MAX:
        raise Problem(Kind.INVALID, f"An order can have {TAGS_MAX} tags: remove some.", field="add")
    key, now = str(call.node.ids.next()), datetime.now(UTC)
    command = ChangeTags(account, aggregate.order.id, now, body.add, body.remove, call.key.name, key)
    return Tags(await call.node.ledger.execute(command))


def _within(window: Window, known: KnownOrder) -> list[tuple[int, Cancellation]]:
    """The cancellations of a page, each with its number among the order's, newest first."""
    numbered = list(enumerate(known.cancellations.values()))[::-1]
    if window.position is None:
        return numbered[: window.limit]
    if window.newer:
        return [row for row in numbered if row[0] > window.position][-window.limit :]
    return [row for row in numbered if row[0] < window.position][: window.limit]


def _shown(node: Node, aggregate: OrderAggregate, now: datetime) -> schemas.Order:
    """The order with its verdict at `now`."""
    view = node.config.view(aggregate.order.account)
    verdict = view.judge(aggregate.order, now)
    closes_at = view.closes_at(aggregate.order, now, verdict)
    return schemas.Order.of(aggregate, schemas.Verdict.of(verdict, now), closes_at)


def _has_verdict(order: schemas.Order, filters: OrderFilters) -> bool:
    """Whether the order has the verdict that is filtered by, as of now."""
    wanted = (filters.cancelable, filters.reason)
    return all(
        value is None or value == own
        for value, own in zip(wanted, (order.verdict.cancelable, order.verdict.reason), strict=True)
    )


async def _order_as_known_at(node: Node, pk: int, order: Order, moment: datetime) -> Order:
    """The fold of the events received by then."""
    history, time_slice = History(order.account, order.id), TimeSlice()
    async for events in node.store.order_pages(pk):
        history.add([event for _, event in events if is_fact(event) and event.received_at <= moment])
    while history.fold():
        await time_slice.pause()
    return history.order
