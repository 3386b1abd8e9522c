"""Backtests: what a policy would have done, over the recorded log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec
from msgspec import Struct
from pydantic import Field

from app.config.scope import Scope
from app.runtime import ids
from app.store import Backtest as StoredBacktest
from app.store import Window
from app.store.backtest_runs import QUEUED, RUNNING
from app.web import examples, resources
from app.web.examples import example
from app.web.fields import Moment
from app.web.lookup import missing
from app.web.pages import PageQuery, page, require_known
from app.web.policies import find_spec
from app.web.problems import Kind, Problem
from app.web.routes import Body, Call, RouteTable
from app.workers.backtests import SILENT_S, Run

ROUTES = RouteTable(resources.TAGS["policies"], id=examples.POLICY, backtest=examples.BACKTEST)
DEFAULT_PERIOD = timedelta(days=90)
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_POLICY = "/v1/policies/{id}"


class BacktestBody(Body):
    """Which policy to run over which part of the log."""

    policy: dict[str, Any] | None = Field(None, description="As in a resource file. Default: the saved policy.")
    since: Moment | None = Field(None, description="Start of the simulated period. Default: 90 days before its end.")
    until: Moment | None = Field(None, description="End of the simulated period. Default: now.")
    listed: int = Field(1000, ge=0, le=100_000, description="Maximum number of decisions listed, earliest first.")


example(BacktestBody(since=datetime(2026, 2, 1, tzinfo=UTC)))


class BacktestsQuery(PageQuery):
    """Which backtests."""

    limit: int = Field(20, ge=1, le=100, description="Maximum number of rows.")


class Backtest(Struct, kw_only=True):
    """A backtest, its progress and its report."""

    id: str
    policy: str
    state: Literal["queued", "running", "done", "failed", "canceled"]
    since: datetime | None = None
    until: datetime | None = None
    by: str
    done: int = 0
    """Orders processed."""
    orders: int = 0
    report: dict[str, Any] | None = None
    failure: str = ""


_QUEUED = Backtest(
    id=examples.BACKTEST,
    policy=examples.POLICY,
    state="queued",
    since=datetime(2026, 2, 1, tzinfo=UTC),
    until=examples.REQUESTED_AT,
    by="shop",
)
_DONE = example(
    Backtest(
        id=examples.BACKTEST,
        policy=examples.POLICY,
        state="done",
        by="shop",
        done=5,
        orders=5,
        report={"orders": 5, "events": 13, "would_cancel": 1, "in_time": 1, "unknown": 0, "too_late": 0},
    )
)


class Backtests(Struct):
    """The completed backtests of a policy, newest first."""

    data: list[Backtest]
    has_more: bool = False
    next_cursor: str | None = None
    previous_cursor: str | None = None


example(Backtests([_DONE]))
_NO_POLICY = missing("policies", examples.POLICY)
_NO_BACKTEST = Problem(Kind.NOT_FOUND, f"There is no backtest {examples.BACKTEST!r} of policy {examples.POLICY!r}.")
_NO_RUN = Problem(
    Kind.NOT_FOUND, f"No backtest {examples.BACKTEST!r} of policy {examples.POLICY!r} is queued or running."
)


@ROUTES.post(
    _POLICY + "/backtest", Scope.WRITE, status=202, problems=[_NO_POLICY, Kind.INVALID], response_example=_QUEUED
)
async def start_backtest(call: Call, id: str, body: BacktestBody) -> Backtest:
    """Run a policy, saved or given, over the recorded log as if it had been in force; poll the backtest by its id.

    It runs in a process of its own, and cancels nothing.
    """
    node, spec, now = call.node, find_spec(call.node, id, body.policy), datetime.now(UTC)
    until = min(body.until or now, now)
    since = body.since or max(until, EARLIEST) - DEFAULT_PERIOD
    if since >= until:
        raise Problem(Kind.INVALID, "The field since: it must be before until, and in the past.", field="since")
    missing = [account for account in spec.accounts if account not in node.config.accounts]
    if missing:
        detail = f"The field policy: there is no account {', '.join(missing)}; `rescind accounts list` shows all."
        raise Problem(Kind.INVALID, detail, field="policy")
    accounts = [node.config.accounts[account] for account in spec.accounts]
    return _of_run(await node.backtests.start(spec, accounts, since, until, call.key.name, body.listed))


@ROUTES.get(_POLICY + "/backtests", problems=[_NO_POLICY])
async def list_backtests(call: Call, id: str, query: BacktestsQuery) -> Backtests:
    """The completed backtests of a policy, newest first."""
    window = query.window()
    rows = await call.node.store.backtests(id, window)
    require_known(call, rows, policy=id)
    shown = page([(stored.id, _of_stored(stored)) for stored in rows], window)
    return Backtests(shown.data, shown.has_more, shown.next_cursor, shown.previous_cursor)


@ROUTES.get(_POLICY + "/backtests/{backtest}", problems=[_NO_BACKTEST])
async def get_backtest(call: Call, id: str, backtest: str) -> Backtest:
    """One backtest: its progress and its report."""
    run = call.node.backtests.runs.get(backtest)
    if run is not None and run.policy == id:
        return _of_run(run)
    elsewhere = await _run_elsewhere(call, id, backtest)
    if elsewhere is not None:
        return elsewhere
    for stored in await call.node.store.backtests(id, Window(1000)):
        if ids.show(ids.BACKTEST, stored.id) == backtest:
            return _of_stored(stored)
    raise Problem(Kind.NOT_FOUND, f"There is no backtest {backtest!r} of policy {id!r}.")


@ROUTES.delete(_POLICY + "/backtests/{backtest}", Scope.WRITE, problems=[_NO_RUN])
async def cancel_backtest(call: Call, id: str, backtest: str) -> None:
    """Cancel a backtest that is queued or running, on whichever server it runs."""
    known = await _run_elsewhere(call, id, backtest)
    number = ids.read(ids.BACKTEST, backtest) if known is not None else 0
    if known is None or not await call.node.store.cancel_backtest_run(number, datetime.now(UTC)):
        raise Problem(Kind.NOT_FOUND, f"No backtest {backtest!r} of policy {id!r} is queued or running.")


async def _run_elsewhere(call: Call, policy: str, backtest: str) -> Backtest | None:
    """A backtest that is not done, as the server that runs it, or ran it, has stored it last."""
    try:
        run = await call.node.store.backtest_run(ids.read(ids.BACKTEST, backtest))
    except ValueError:
        return None
    if run is None or run.policy != policy:
        return None
    if run.state in (QUEUED, RUNNING) and datetime.now(UTC) - run.updated_at > timedelta(seconds=SILENT_S):
        return None  # it has ended with its server
    shown = {name: getattr(run, name) for name in ("policy", "state", "since", "until", "by", "done", "orders")}
    return Backtest(id=backtest, **shown, failure=run.failure)


def _of_run(run: Run) -> Backtest:
    return msgspec.convert(run, Backtest, from_attributes=True)


def _of_stored(stored: StoredBacktest) -> Backtest:
    id, orders = ids.show(ids.BACKTEST, stored.id), stored.report.get("orders", 0)
    return Backtest(
        id=id, policy=stored.policy, state="done", by=stored.by, done=orders, orders=orders, report=stored.report
    )
