"""Retention and erasure: expunge what is old, and the personal data of one order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

from msgspec import Struct
from pydantic import Field

from app.config.scope import Scope
from app.core.erasure import Eraser
from app.core.event_types import OrderErased
from app.node import Node
from app.runtime import ids
from app.runtime.time_slice import TimeSlice
from app.web import examples, pauses, schemas
from app.web.examples import example
from app.web.fields import Moment
from app.web.lookup import require_order
from app.web.problems import Kind, Problem
from app.web.routes import AccountCheck, Body, Call, RouteTable
from app.workers.retention import Pruned

ROUTES = RouteTable(pauses.ROUTES.tag)
AHEAD_MAX = timedelta(minutes=5)
"""How far the clock of a client may be ahead of this one."""


class EraseBody(Body):
    """Why, and whether only to count."""

    reason: str = Field(
        "asked for", min_length=1, max_length=500, description="Recorded in the log for good: name nobody in it."
    )
    dry_run: bool = Field(default=False, description="Only count what would be erased.")


example(EraseBody(reason="Request 2026-17 of the data subject."))


class Erased(Struct, kw_only=True):
    """What was erased, or would be."""

    account: str
    order: str
    """The order's id."""
    dry_run: bool
    events: int
    """Events whose personal data was erased."""
    receipts: int
    """Receipts whose query, headers and body were expunged."""
    digest: str | None = None
    """As in the event `order.erased`, which records it; null for a dry run."""


example(Erased(account=examples.ACCOUNT, order=examples.ORDER, dry_run=False, events=3, receipts=3, digest="9f" * 32))


class PruneBody(Body):
    """What to expunge."""

    older_than_days: float | None = Field(
        None, ge=0, le=36_500, description="Expunge what is older. Default: RESCIND_RETENTION_DAYS."
    )
    older_than: Moment | None = Field(
        None, description="Expunge what is older than this time, instead of `older_than_days`. Not in the future."
    )
    dry_run: bool = Field(default=False, description="Only count what would be expunged.")
    again: bool = Field(
        default=False,
        description="Look at all data again, and not only at what became old since: for handlers that declare more.",
    )


example(PruneBody(older_than_days=90, dry_run=True))


class Pruning(Struct, kw_only=True):
    """A run that expunges what is old."""

    running: bool
    older_than: datetime
    """What is older than this is expunged."""
    dry_run: bool
    receipts: int
    """Receipts whose query, headers and body were expunged so far, or would be."""
    attempts: int
    """The same of the exchanges of attempts."""
    messages: int
    """The same of messages to subscribers; those that still wait are sent without free text."""
    orders: int
    """Orders whose personal data was erased; in a dry run, all that are over for so long."""
    events: int
    """Events whose personal data was erased; not counted in a dry run."""
    finished_at: datetime | None
    error: str
    """Why it ended early; empty if it did not."""

    @classmethod
    def of(cls, run: Pruned, *, running: bool) -> Pruning:
        """A run as the API shows it."""
        return cls(
            running=running,
            older_than=run.older_than,
            dry_run=run.dry_run,
            receipts=run.receipts,
            attempts=run.attempts,
            messages=run.messages,
            orders=run.orders,
            events=run.events,
            finished_at=None if running else run.finished_at,
            error=run.error,
        )


example(
    Pruning(
        running=True,
        older_than=examples.RECEIVED_AT,
        dry_run=False,
        receipts=41_500,
        attempts=12,
        messages=3,
        orders=0,
        events=0,
        finished_at=None,
        error="",
    )
)


class LatestPruning(Struct):
    """The run that is under way, or the last one since the server started."""

    latest: Pruning | None


example(LatestPruning(None))


@ROUTES.post(
    "/v1/accounts/{account}/orders/{order}/erase",
    Scope.ADMIN,
    problems=[
        Kind.NOT_FOUND,
        Kind.AMBIGUOUS,
        Problem(Kind.CANCELLATION_EXISTS, Kind.CANCELLATION_EXISTS.example, cancellation=schemas.CANCELLATION),
    ],
    account_check=AccountCheck.PATH,
)
async def erase_order(call: Call, account: str, order: str, body: EraseBody) -> Erased:
    """Erase the personal data of an order: from its events, receipts, attempts and messages. Facts stay.

    The event `order.erased` records it. Verdicts stay as they are; receipts cannot be parsed again, also not for other
    orders that they are about. An order with a live cancellation is refused: settle or revoke that first.
    """
    pk, aggregate = await require_order(call.node, account, order)
    shown = partial(Erased, account=account, order=aggregate.order.id, dry_run=body.dry_run)
    if aggregate.live:
        raise _live(aggregate.order.id, schemas.Cancellation.of(aggregate.live[0]))
    if body.dry_run:
        events, receipts = await _count(call.node, pk)
        receipts |= set(await call.node.retention.other_receipts(aggregate))
        return shown(events=events, receipts=len(receipts))
    recorded = await call.node.retention.erase(pk, aggregate, by=call.key.name, reason=body.reason)
    if not isinstance(recorded, OrderErased):
        raise _live(aggregate.order.id, schemas.Cancellation.of(recorded))
    return shown(events=recorded.events, receipts=recorded.receipts, digest=recorded.digest)


@ROUTES.post("/v1/prune", Scope.ADMIN, problems=[Kind.INVALID], account_check=AccountCheck.REFUSED)
async def prune(call: Call, body: PruneBody) -> Pruning:
    """Expunge what is older than the retention period, in the background; `GET /v1/prune` follows it.

    If a run is under way, it is that one.
    """
    days = call.node.settings.retention_days if body.older_than_days is None else body.older_than_days
    if body.older_than is not None and body.older_than_days is not None:
        raise Problem(Kind.INVALID, "Say older_than or older_than_days, not both.", field="older_than")
    if body.older_than is None and body.older_than_days is None and not days:
        raise Problem(
            Kind.INVALID, "RESCIND_RETENTION_DAYS is 0 (never): say older_than_days.", field="older_than_days"
        )
    retention, now = call.node.retention, datetime.now(UTC)
    older_than = now - timedelta(days=days) if body.older_than is None else body.older_than
    if older_than > now + AHEAD_MAX:
        raise Problem(Kind.INVALID, "older_than is in the future: give a time that has passed.", field="older_than")
    # With a later time than now it would follow what comes in, without an end.
    retention.start(min(older_than, now), by=call.key.name, dry_run=body.dry_run, again=body.again)
    if retention.latest is None:
        raise Problem(Kind.INTERNAL, Kind.INTERNAL.example)
    return Pruning.of(retention.latest, running=retention.is_running)


@ROUTES.get("/v1/prune", Scope.ADMIN, account_check=AccountCheck.REFUSED)
async def get_pruning(call: Call) -> LatestPruning:
    """The run that expunges what is old and is under way, or the last one since the server started."""
    retention = call.node.retention
    latest = retention.latest
    return LatestPruning(None if latest is None else Pruning.of(latest, running=retention.is_running))


async def _count(node: Node, pk: int) -> tuple[int, set[int]]:
    """(number of events with personal data, receipts of the events)."""
    time_slice, eraser, count, receipts = TimeSlice(), None, 0, set[int]()
    async for page in node.store.order_pages(pk):
        for _, event in page:
            eraser = eraser or Eraser(pk, node.config.view(event.account).handler.personal)
            count += eraser.erase(event) is not event
            if event.receipt is not None:
                receipts.add(ids.read(ids.RECEIPT, event.receipt))
            await time_slice.pause()
    return count, receipts


def _live(order: str, live: schemas.Cancellation) -> Problem:
    detail = f"Cancellation {live.id} of order {order} is {live.state}: settle or revoke it, then erase."
    return Problem(Kind.CANCELLATION_EXISTS, detail, cancellation=live)
