"""Probes on request: how an account goes live with orders of which no webhook was received."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Annotated

from msgspec import Struct
from pydantic import AfterValidator, Field

from app.config.resolve import Account
from app.config.scope import Scope
from app.contract import Limits
from app.core.refresh import Refresh, Refreshed
from app.kit.duration import shift_time
from app.web import examples, orders
from app.web.cancel_requests import check_order_id
from app.web.examples import example
from app.web.fields import Text
from app.web.lookup import require_account
from app.web.problems import Kind, Problem
from app.web.routes import AccountCheck, Body, Call, RouteTable
from app.workers.lane_status import LaneStatus

ROUTES = RouteTable(orders.ROUTES.tag)
ORDERS_MAX = 1000
SHARE = 0.5
"""The share of an account's limit for probes of new orders. The rest is left for cancels, which have priority."""
COUNT_MAX = 10_000
COMMIT_MAX = 200
"""Orders recorded in one commit."""
_PATH = "/v1/accounts/{account}/probes"


def _distinct(orders: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(orders))


class ProbesBody(Body):
    """Which orders to probe."""

    orders: Annotated[tuple[Text, ...], AfterValidator(_distinct)] = Field(
        min_length=1, max_length=ORDERS_MAX, description="The provider's ids."
    )
    only_new: bool = Field(
        default=False,
        description="Only orders without any event. Their probes are spread over time and leave half of the account's "
        "limit to cancels. Repeating the request changes nothing.",
    )


example(ProbesBody(orders=(examples.ORDER, "654322"), only_new=True))


class ProbeResult(Struct):
    """What the request led to for one order."""

    order: str
    outcome: str
    """`wanted`, `known`, `busy` (a cancellation is live), `unavailable` or `invalid`."""
    detail: str = ""


class RequestedProbes(Struct, kw_only=True):
    """What was requested; `results` are in the order of the request."""

    asked_at: datetime
    outcomes: dict[str, int]
    results: list[ProbeResult]


example(
    RequestedProbes(
        asked_at=examples.REQUESTED_AT,
        outcomes={"known": 1, "wanted": 1},
        results=[ProbeResult(examples.ORDER, "known"), ProbeResult("654322", "wanted")],
    )
)


class WaitingProbes(Struct, kw_only=True):
    """The probes of an account that wait to be sent."""

    waiting: int
    """Orders still to be probed, counted up to 10,000."""
    more: bool
    """Whether there are more than were counted."""
    until: datetime | None
    """When the last of them is due."""
    lane: LaneStatus | None


example(
    WaitingProbes(
        waiting=1,
        more=False,
        until=examples.REQUESTED_AT,
        lane=LaneStatus("sending", "", None, running=1, limit=100, used=12),
    )
)


@ROUTES.post(_PATH, Scope.WRITE, status=202, problems=[Kind.NOT_FOUND, Kind.INVALID], account_check=AccountCheck.PATH)
async def want_probes(call: Call, account: str, body: ProbesBody) -> RequestedProbes:
    """Probe orders at the provider, within the account's limit.

    For orders that are older than the endpoint: no webhook tells of them before they change. With `only_new` the probes
    are spread over time, and half of the limit is left to cancels.
    """
    configured, now = require_account(call.node, account), datetime.now(UTC)
    results = [ProbeResult(order, "invalid") for order in body.orders]
    due_at, step = now, timedelta()
    if body.only_new:
        _, last = await call.node.store.queued_probes(account, 1)
        step = timedelta(seconds=_interval_s(configured))
        due_at = max(now, shift_time(last, step)) if last is not None else now
    commands: list[tuple[ProbeResult, Refresh]] = []
    for result in results:
        try:
            check_order_id(configured, result.order)
        except Problem as problem:
            result.detail = problem.detail
            continue
        key = str(call.node.ids.next())
        commands.append((result, Refresh(account, result.order, now, call.key.name, key, due_at, body.only_new)))
        due_at = shift_time(due_at, step)
    for start in range(0, len(commands), COMMIT_MAX):
        part = commands[start : start + COMMIT_MAX]
        refreshed = await call.node.ledger.execute_all([command for _, command in part])
        for (result, _), outcome in zip(part, refreshed, strict=True):
            result.outcome = str(outcome)
            if outcome == Refreshed.UNAVAILABLE:
                result.detail = f"{configured.handler.title} has no API to query an order."
    outcomes = dict(sorted(Counter(result.outcome for result in results).items()))
    return RequestedProbes(asked_at=now, outcomes=outcomes, results=results)


@ROUTES.get(_PATH, problems=[Kind.NOT_FOUND], account_check=AccountCheck.PATH)
async def get_probes(call: Call, account: str) -> WaitingProbes:
    """How many orders of the account still wait for a probe."""
    require_account(call.node, account)
    count, until = await call.node.store.queued_probes(account, COUNT_MAX + 1)
    waiting, lane = min(count, COUNT_MAX), call.node.lane_status(account)
    return WaitingProbes(waiting=waiting, more=count > COUNT_MAX, until=until, lane=lane)


def _interval_s(account: Account) -> float:
    """The interval between probes that use their share of the limit, in seconds."""
    limits: Limits = account.limits
    rate = limits.rate_per_s if limits.rate_per_s is not None else limits.requests / limits.per_s
    return 1.0 / (rate * SHARE * account.handler.probe_batch_max)
