"""Orders, their verdicts and their history."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from msgspec import Struct
from pydantic import AwareDatetime, Field, StringConstraints

from app.contract import Phase
from app.core import order as orders
from app.core.case import POLICY_PREFIX, Case, is_fact
from app.core.entry import Tagging
from app.ledger import Submission
from app.node import Node
from app.web.auth import Scope
from app.web.lookup import find_order
from app.web.problems import Kind, Problem
from app.web.routes import Body, Call, Page, PageQuery, Query, Route, known_name, page, require_known
from app.web.shapes import (
    AttemptShape,
    EventShape,
    OrderShape,
    VerdictShape,
    attempt_shape,
    event_shape,
    order_shape,
    verdict_shape,
)

ATTEMPTS_MAX = 200
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

    at: AwareDatetime | None = Field(None, description="The verdict as of this time; now, if absent.")
    known_at: AwareDatetime | None = Field(None, description="Only what had been received by then.")


class TimelineEntry(Struct, kw_only=True, omit_defaults=True):
    """One line of an order's history: an event, what it made of the verdict, or an attempt."""

    at: datetime
    kind: str
    """event, decision (a policy's), verdict or attempt"""
    event: EventShape | None = None
    verdict: VerdictShape | None = None
    attempt: AttemptShape | None = None


class Timeline(Struct):
    """An order's history, oldest first."""

    data: list[TimelineEntry]


async def find_case(node: Node, account: str, order: str) -> tuple[int, Case]:
    """The order's case. Raises `Problem` if there is none, or the name means several."""
    if account not in node.directory.accounts:
        raise Problem(Kind.NOT_FOUND, f"There is no account {account!r}; `rescind accounts list` shows all.")
    found = await find_order(node, account, order)
    if found is None:
        name = await known_name(node, account, order)
        hint = f" There is an order {name!r}: ask for it by that name." if name is not None else ""
        raise Problem(Kind.NOT_FOUND, f"No event of order {order!r} of account {account!r} has been received.{hint}")
    return found


def shape_of(node: Node, case: Case, now: datetime) -> OrderShape:
    """The order with its verdict at `now`."""
    view = node.directory.view(case.order.account)
    verdict = verdict_shape(view.judge(case.order, now), now)
    return order_shape(case, verdict)


async def list_orders(call: Call) -> Page[OrderShape]:
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
    return page([(pk, shape_of(call.node, case, now)) for pk, case in rows], asked.limit)


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
        known = [e for e in await call.node.store.order_events(pk) if is_fact(e) and e.received_at <= asked.known_at]
        order, _ = orders.fold(order.account, order.id, known)
    view = call.node.directory.view(order.account)
    return verdict_shape(view.judge(order, at), at)


async def get_timeline(call: Call) -> Timeline:
    """Everything that happened to an order, in the order in which it became known."""
    node = call.node
    pk, case = await find_case(node, call.path("account"), call.path("order"))
    view = node.directory.view(case.order.account)
    entries: list[TimelineEntry] = []
    facts, before = [], None
    for event in await node.store.order_events(pk):
        kind = "decision" if event.type.startswith(POLICY_PREFIX) else "event"
        entries.append(TimelineEntry(at=event.received_at, kind=kind, event=event_shape(event)))
        if not is_fact(event):
            continue
        facts.append(event)
        state, _ = orders.fold(case.order.account, case.order.id, facts)
        verdict = view.judge(state, event.received_at)
        if (verdict.cancelable, verdict.reason) != before:
            before = (verdict.cancelable, verdict.reason)
            shown = verdict_shape(verdict, event.received_at)
            entries.append(TimelineEntry(at=event.received_at, kind="verdict", verdict=shown))
    attempts = await node.store.attempts(pk, ATTEMPTS_MAX)
    entries += [TimelineEntry(at=each.started_at, kind="attempt", attempt=attempt_shape(each)) for each in attempts]
    return Timeline(sorted(entries, key=lambda entry: entry.at))


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
    entry = Tagging(account, case.order.id, datetime.now(UTC), asked.add, asked.remove, call.key.name, key)
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
        answer=Page[OrderShape],
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
        answer=Timeline,
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
