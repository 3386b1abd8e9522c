"""Probes that people want: how an account goes live with orders that nobody told of."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from msgspec import Struct
from pydantic import AfterValidator, Field

from app.config.keys import Scope
from app.config.resolve import Account
from app.contract import Limits
from app.core.refresh import Refresh, Refreshed
from app.engine.ledger import Submission
from app.kit.duration import shift_time
from app.web.cancellations import check_order_id
from app.web.fields import Sayable
from app.web.lookup import find_account
from app.web.problems import Kind, Problem
from app.web.routes import Body, Call, Route
from app.workers.lane_status import LaneStatus

ORDERS_MAX = 1000
SHARE = 0.5
"""So much of an account's limit probes of new orders take: the rest is for cancels, which go first in any case."""
COUNT_MAX = 10_000
TOGETHER = 200
"""So many orders are recorded by one commit."""


def _distinct(orders: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(orders))


class ProbesBody(Body):
    """Which orders to ask about."""

    orders: Annotated[tuple[Sayable, ...], AfterValidator(_distinct)] = Field(
        min_length=1, max_length=ORDERS_MAX, description="The provider's ids."
    )
    only_new: bool = Field(
        default=False,
        description="Only orders that nothing was heard of; their probes are spread over time and leave half of the "
        "limit to cancels. To repeat it changes nothing.",
    )


class ProbeResult(Struct):
    """What comes of one order."""

    order: str
    outcome: str
    """`wanted`, `known`, `busy` (a cancellation is under way), `unavailable` or `invalid`."""
    detail: str = ""


class ProbesShape(Struct, kw_only=True):
    """What was taken on."""

    asked_at: datetime
    outcomes: dict[str, int]
    results: list[ProbeResult]


class ProbesWaiting(Struct, kw_only=True):
    """What is still to be asked."""

    waiting: int
    """Orders that the provider is still to be asked about, counted up to 10,000."""
    more: bool
    """There are more than were counted."""
    until: datetime | None
    """When the last of them is due."""
    lane: LaneStatus | None


async def want_probes(call: Call) -> ProbesShape:
    """Have the provider asked how orders stand."""
    asked: ProbesBody = call.body
    account, now = find_account(call.node, call.path("account")), datetime.now(UTC)
    results = [ProbeResult(order, "invalid") for order in asked.orders]
    due_at, step = now, timedelta()
    if asked.only_new:
        _, last = await call.node.store.queued_probes(account.spec.id, 1)
        step = timedelta(seconds=_interval_s(account))
        due_at = max(now, shift_time(last, step)) if last is not None else now
    entries: list[tuple[ProbeResult, Refresh]] = []
    for result in results:
        try:
            check_order_id(account, result.order)
        except Problem as problem:
            result.detail = problem.detail
            continue
        key = str(call.node.ids.next())
        entries.append(
            (result, Refresh(account.spec.id, result.order, now, call.key.name, key, due_at, asked.only_new))
        )
        due_at = shift_time(due_at, step)
    for start in range(0, len(entries), TOGETHER):
        part = entries[start : start + TOGETHER]
        recorded = await call.node.ledger.record(Submission([entry for _, entry in part]))
        for (result, _), outcome in zip(part, recorded.results, strict=True):
            result.outcome = str(outcome)
            if outcome == Refreshed.UNAVAILABLE:
                result.detail = f"{account.handler.title} cannot be asked how an order stands."
    outcomes = dict(sorted(Counter(each.outcome for each in results).items()))
    return ProbesShape(asked_at=now, outcomes=outcomes, results=results)


async def waiting_probes(call: Call) -> ProbesWaiting:
    """How many orders the provider is still to be asked about."""
    account = find_account(call.node, call.path("account"))
    found, until = await call.node.store.queued_probes(account.spec.id, COUNT_MAX + 1)
    waiting, lane = min(found, COUNT_MAX), call.node.lane_status(account.spec.id)
    return ProbesWaiting(waiting=waiting, more=found > COUNT_MAX, until=until, lane=lane)


def _interval_s(account: Account) -> float:
    """How far apart probes are, so that they take their share of the limit."""
    limits: Limits = account.limits
    rate = limits.rate_per_s if limits.rate_per_s is not None else limits.requests / limits.per_s
    return 1.0 / (rate * SHARE * account.handler.probe_batch_max)


_PATH: dict[str, Any] = {"path": "/v1/accounts/{account}/probes"}

ROUTES = [
    Route(
        **_PATH,
        method="POST",
        scope=Scope.WRITE,
        name="wantProbes",
        summary="Have the provider asked how orders stand, within the account's limit.",
        handler=want_probes,
        body=ProbesBody,
        answer=ProbesShape,
        status=202,
        problems=[Kind.NOT_FOUND, Kind.INVALID],
    ),
    Route(
        **_PATH,
        method="GET",
        scope=Scope.READ,
        name="getProbes",
        summary="How many orders the provider is still to be asked about.",
        handler=waiting_probes,
        answer=ProbesWaiting,
        problems=[Kind.NOT_FOUND],
    ),
]
