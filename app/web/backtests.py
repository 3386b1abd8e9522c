"""Backtests: what a policy would have done, over the log as it was written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct
from pydantic import Field

from app.config.keys import Scope
from app.runtime import ids
from app.store import Backtest
from app.web.fields import Moment
from app.web.policies import spec_in
from app.web.problems import Kind, Problem
from app.web.routes import Answer, Body, Call, Query, Route, require_known
from app.workers.backtests import Run

DEFAULT_SPAN = timedelta(days=90)
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


class BacktestBody(Body):
    """Which policy to run over which part of the log."""

    policy: dict[str, Any] | None = Field(None, description="As in a resource file; the saved one, if absent.")
    since: Moment | None = Field(None, description="When the policy begins to live; 90 days ago, if absent.")
    until: Moment | None = Field(None, description="Now, if absent.")
    listed: int = Field(1000, ge=0, le=100_000, description="How many decisions are listed, the earliest; all count.")


class BacktestsQuery(Query):
    """How many."""

    limit: int = Field(20, ge=1, le=100, description="How many rows at the most.")


class BacktestShape(Struct, kw_only=True):
    """A backtest, how far it is, and what it found."""

    id: str
    policy: str
    state: str
    """queued, running, done or failed"""
    since: datetime | None = None
    until: datetime | None = None
    by: str
    done: int = 0
    """Orders that were looked at."""
    orders: int = 0
    report: dict[str, Any] | None = None
    failure: str = ""


class BacktestList(Struct):
    """The backtests of a policy that came to their end, the newest first."""

    data: list[BacktestShape]
    has_more: bool = False
    next_cursor: str | None = None


async def start_backtest(call: Call) -> Answer:
    """Begin a backtest."""
    asked: BacktestBody = call.body
    node, spec, now = call.node, spec_in(call, asked.policy), datetime.now(UTC)
    until = min(asked.until or now, now)
    since = asked.since or max(until, EARLIEST) - DEFAULT_SPAN
    if since >= until:
        raise Problem(Kind.INVALID, "The field since: it must be before until, and in the past.", field="since")
    missing = [id for id in spec.accounts if id not in node.directory.accounts]
    if missing:
        detail = f"The field policy: there is no account {', '.join(missing)}; `rescind accounts list` shows all."
        raise Problem(Kind.INVALID, detail, field="policy")
    accounts = [node.directory.accounts[id] for id in spec.accounts]
    run = node.backtests.start(spec, accounts, since, until, call.key.name, asked.listed)
    return Answer(_run_shape(run), 202)


async def get_backtest(call: Call) -> BacktestShape:
    """One backtest."""
    run = call.node.backtests.runs.get(call.path("backtest"))
    if run is not None and run.policy == call.path("id"):
        return _run_shape(run)
    for stored in await call.node.store.backtests(call.path("id"), 1000):
        if ids.show(ids.BACKTEST, stored.id) == call.path("backtest"):
            return _stored_shape(stored)
    raise Problem(Kind.NOT_FOUND, f"There is no backtest {call.path('backtest')!r} of policy {call.path('id')!r}.")


async def list_backtests(call: Call) -> BacktestList:
    """The backtests of a policy."""
    stored = await call.node.store.backtests(call.path("id"), call.query.limit)
    require_known(call, stored, policy=call.path("id"))
    return BacktestList([_stored_shape(each) for each in stored])


def _run_shape(run: Run) -> BacktestShape:
    return msgspec.convert(run, BacktestShape, from_attributes=True)


def _stored_shape(stored: Backtest) -> BacktestShape:
    id, orders = ids.show(ids.BACKTEST, stored.id), stored.report.get("orders", 0)
    return BacktestShape(
        id=id, policy=stored.policy, state="done", by=stored.by, done=orders, orders=orders, report=stored.report
    )


_POLICY = "/v1/policies/{id}"

ROUTES = [
    Route(
        method="POST",
        path=_POLICY + "/backtest",
        name="startBacktest",
        summary="Run a policy, saved or given, over the recorded log as if it had been live; follow it by its id.",
        scope=Scope.WRITE,
        handler=start_backtest,
        body=BacktestBody,
        answer=BacktestShape,
        status=202,
        problems=[Kind.NOT_FOUND, Kind.INVALID],
    ),
    Route(
        method="GET",
        path=_POLICY + "/backtests",
        name="listBacktests",
        summary="The backtests of a policy that came to their end, the newest first.",
        scope=Scope.READ,
        handler=list_backtests,
        query=BacktestsQuery,
        answer=BacktestList,
        problems=[Kind.NOT_FOUND],
    ),
    Route(
        method="GET",
        path=_POLICY + "/backtests/{backtest}",
        name="getBacktest",
        summary="One backtest: how far it is, and its report.",
        scope=Scope.READ,
        handler=get_backtest,
        answer=BacktestShape,
        problems=[Kind.NOT_FOUND],
    ),
]
