"""The overview of an installation: what the console's start page and `rescind top` show, in one request.

Many may watch at once, so that each answer counts for a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from msgspec import Struct
from pydantic import Field

from app.core.cancellation import FINAL, State
from app.node import Node
from app.runtime.time_slice import TimeSlice
from app.store.overview import Backlog, ClosingWindow
from app.web import examples, status
from app.web.examples import example
from app.web.lookup import require_account
from app.web.problems import Kind
from app.web.routes import AccountCheck, Call, Query, RouteTable
from app.web.status import Finding
from app.workers.lane_status import LaneStatus

ROUTES = RouteTable(status.ROUTES.tag)
T = TypeVar("T")

FRESH_S = 1.0
"""How long an answer counts."""
LASTING_S = 30.0
"""How long findings count that only a changed configuration ends."""
HOURS = 24
MINUTES = 60
LANES_MAX = 100
NEXT_MAX = 20
DUE_MAX = 10_000
RECEIVED_MAX = 100_000
CLOSING_MAX = 20_000
CANCELLATIONS_MAX = 100_000
_SENDING = frozenset({"sending", "idle"})


class OverviewQuery(Query):
    """What to show."""

    account: str | None = Field(None, description="Only this account.")


class IngestRate(Struct, kw_only=True):
    """How much comes in."""

    webhooks: int
    """Webhooks received in the last minute."""
    webhooks_per_s: float
    events_by_minute: list[int] | None
    """Events recorded in each of the last 60 minutes, the oldest first; null for a single account."""


class ClosingHour(Struct, kw_only=True):
    """The windows that close in one hour."""

    starts_at: datetime
    ends_at: datetime
    orders: int


class Closing(Struct, kw_only=True):
    """Which orders can soon no longer be canceled, by time alone."""

    hours: list[ClosingHour]
    """The next 24 hours, beginning now."""
    complete: bool
    """Whether all were counted; the next ones are in any case."""
    next: list[ClosingWindow]
    """The 20 that close next."""


class CancellationCounts(Struct, kw_only=True):
    """Cancellations by state."""

    since: datetime
    live: dict[str, int]
    """Those that are not final, whenever they were requested."""
    final: dict[str, int]
    """Those that are final, of those requested since `since`."""


class LaneOverview(Struct, kw_only=True):
    """An account's lane: what it sends and what waits."""

    account: str
    provider: str
    state: str
    """`sending`, `idle`, `paused`, `throttled`, `breaker_open` or `rate_limited`."""
    reason: str
    until: datetime | None
    running: int
    """Calls under way."""
    used: int
    """Calls that count towards the limit now."""
    limit: int
    """Calls per window, as configured or as learned from the provider."""
    due: int
    """Jobs that are due and wait to be sent, up to 10,000."""
    oldest_due_s: float
    """How long the first of them has been due, in seconds; 0 if none is."""
    webhooks: int
    """Webhooks received in the last minute."""


class Lanes(Struct, kw_only=True):
    """The lanes of all accounts."""

    total: int
    by_state: dict[str, int]
    due: int
    oldest_due_s: float
    first: list[LaneOverview]
    """The first 100: those that do not send before those that do, then by how long their jobs have been due."""


class Overview(Struct, kw_only=True):
    """What happens now, what comes next, and what needs a person."""

    as_of: datetime
    needs_attention: bool
    """Whether a finding is a fault."""
    findings: list[Finding]
    """As of `GET /v1/status`: faults first."""
    ingest: IngestRate
    closing: Closing
    cancellations: CancellationCounts
    lanes: Lanes


_NOW = examples.REQUESTED_AT
example(
    Overview(
        as_of=_NOW,
        needs_attention=False,
        findings=[],
        ingest=IngestRate(webhooks=90, webhooks_per_s=1.5, events_by_minute=[120] * MINUTES),
        closing=Closing(
            hours=[
                ClosingHour(
                    starts_at=_NOW + timedelta(hours=hour), ends_at=_NOW + timedelta(hours=hour + 1), orders=hour % 3
                )
                for hour in range(HOURS)
            ],
            complete=True,
            next=[
                ClosingWindow(
                    examples.ACCOUNT, examples.ORDER, _NOW + timedelta(minutes=75), "yes", "status_cancelable"
                )
            ],
        ),
        cancellations=CancellationCounts(
            since=_NOW - timedelta(hours=24), live={"scheduled": 2, "sending": 1}, final={"succeeded": 40, "refused": 1}
        ),
        lanes=Lanes(
            total=1,
            by_state={"sending": 1},
            due=2,
            oldest_due_s=0.4,
            first=[
                LaneOverview(
                    account=examples.ACCOUNT,
                    provider="planomatic",
                    state="sending",
                    reason="",
                    until=None,
                    running=1,
                    used=12,
                    limit=100,
                    due=2,
                    oldest_due_s=0.4,
                    webhooks=90,
                )
            ],
        ),
    )
)


class _Answers:
    """Answers of one node that still count, or are being made."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str | None], tuple[float, asyncio.Task[Any]]] = {}

    async def get(
        self, what: str, account: str | None, fresh_s: float, make: Callable[[], Coroutine[Any, Any, T]]
    ) -> T:
        """The answer, made at most once each `fresh_s` seconds; those who wait for the same share it."""
        now = asyncio.get_running_loop().time()
        self._answers = {
            key: (until, task) for key, (until, task) in self._answers.items() if until > now or not task.done()
        }
        answer = self._answers.get((what, account))
        if answer is None or (answer[1].done() and (answer[1].cancelled() or answer[1].exception() is not None)):
            answer = self._answers[what, account] = now + fresh_s, asyncio.create_task(make())
        # One of several who wait may go away; the others still want it.
        made: T = await asyncio.shield(answer[1])
        return made


_ANSWERS: WeakKeyDictionary[Node, _Answers] = WeakKeyDictionary()


@ROUTES.get("/v1/overview", problems=[Kind.NOT_FOUND], account_check=AccountCheck.QUERY)
async def get_overview(call: Call, query: OverviewQuery) -> Overview:
    """What happens now: lanes, windows that close soon, cancellations by state, ingest, what needs a person.

    An answer counts for a second, so that it may be asked for as often.
    """
    node = call.node
    if query.account is not None:
        require_account(node, query.account)
    answers = _ANSWERS.setdefault(node, _Answers())
    return await answers.get("overview", query.account, FRESH_S, lambda: _overview(node, query.account, answers))


async def _overview(node: Node, account: str | None, answers: _Answers) -> Overview:
    now = datetime.now(UTC)
    lasting = await answers.get("lasting", account, LASTING_S, lambda: status.lasting_findings(node, account))
    findings = status.sort_findings([*await status.current_findings(node, account), *lasting])
    accounts = list(node.config.accounts) if account is None else [account]
    backlogs = await node.store.backlogs(accounts, now, now - timedelta(minutes=1), RECEIVED_MAX)
    webhooks = sum(backlog.received for backlog in backlogs.values())
    minutes = None
    if account is None:
        moments = [now - timedelta(minutes=before) for before in range(MINUTES, 0, -1)]
        minutes = await node.store.events_recorded(moments)
    return Overview(
        as_of=now,
        needs_attention=any(finding.state == "fault" for finding in findings),
        findings=findings,
        ingest=IngestRate(webhooks=webhooks, webhooks_per_s=round(webhooks / 60, 2), events_by_minute=minutes),
        closing=await _closing(node, account, now),
        cancellations=await _cancellations(node, account, now),
        lanes=await _lanes(node, accounts, backlogs, now),
    )


async def _closing(node: Node, account: str | None, now: datetime) -> Closing:
    starts = [now + timedelta(hours=hour) for hour in range(HOURS)]
    ends = [*starts[1:], now + timedelta(hours=HOURS)]
    counts, complete = await node.store.closing_windows(now, ends[-1], HOURS, account, CLOSING_MAX)
    return Closing(
        hours=[
            ClosingHour(starts_at=start, ends_at=end, orders=orders)
            for start, end, orders in zip(starts, ends, counts, strict=True)
        ],
        complete=complete,
        next=await node.store.next_to_close(now, account, NEXT_MAX),
    )


async def _cancellations(node: Node, account: str | None, now: datetime) -> CancellationCounts:
    since = now - timedelta(hours=24)
    live, final = [state for state in State if state not in FINAL], [state for state in State if state in FINAL]
    counts = await node.store.cancellations_by_state(live, final, since, account, CANCELLATIONS_MAX)
    return CancellationCounts(
        since=since,
        live={state: counts.get(state, 0) for state in live},
        final={state: counts.get(state, 0) for state in final},
    )


async def _lanes(node: Node, accounts: Sequence[str], backlogs: Mapping[str, Backlog], now: datetime) -> Lanes:
    lanes, time_slice = [], TimeSlice()
    for id in accounts:
        lane, configured = node.lane_status(id), node.config.accounts.get(id)
        if lane is not None and configured is not None:
            lanes.append(_lane(id, configured.handler.name, lane, backlogs[id], now))
        await time_slice.pause()
    by_state: dict[str, int] = {}
    for shown in lanes:
        by_state[shown.state] = by_state.get(shown.state, 0) + 1
    lanes.sort(
        key=lambda shown: (shown.state in _SENDING, -shown.oldest_due_s, -shown.used / shown.limit, shown.account)
    )
    return Lanes(
        total=len(lanes),
        by_state=by_state,
        due=sum(shown.due for shown in lanes),
        oldest_due_s=max((shown.oldest_due_s for shown in lanes), default=0.0),
        first=lanes[:LANES_MAX],
    )


def _lane(account: str, provider: str, lane: LaneStatus, backlog: Backlog, now: datetime) -> LaneOverview:
    oldest = backlog.oldest_due_at
    return LaneOverview(
        account=account,
        provider=provider,
        state=lane.state,
        reason=lane.reason,
        until=lane.until,
        running=lane.running,
        used=lane.used,
        limit=lane.limit,
        due=min(backlog.due, DUE_MAX),
        oldest_due_s=0.0 if oldest is None else round(max(0.0, (now - oldest).total_seconds()), 1),
        webhooks=backlog.received,
    )
