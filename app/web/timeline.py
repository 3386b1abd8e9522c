"""An order's timeline: events, decisions, verdict changes and attempts, oldest first, page by page.

It is one pass over the order's part of the log, in pages and with pauses. All events of one webhook become known at
once: the verdict is judged after the last of them. The cost of a page is bounded: where late webhooks make much of the
order fold again, the page ends early and the next one continues.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct
from pydantic import Field

from app.contract import Verdict
from app.core.aggregate import is_fact
from app.core.attempt import Attempt
from app.core.event import Event
from app.core.folding import Replay
from app.core.policy.decisions import is_decision, split
from app.core.unit_of_work import AccountView
from app.node import Node
from app.runtime.time_slice import TimeSlice
from app.web import orders, schemas
from app.web.examples import example
from app.web.fields import Moment
from app.web.lookup import require_order
from app.web.pages import PAGE_BYTES, Page, PageQuery, encode_cursor
from app.web.problems import Kind
from app.web.routes import AccountCheck, Call, RouteTable

ROUTES = RouteTable(orders.ROUTES.tag)
ATTEMPTS_MAX = 200
"""Attempts shown, the latest."""
ROWS_MAX = 1024
"""More than the entries of one event: the attempts before it, itself or each of its decisions, and its verdict."""
SLICES_MAX = 300
"""Slices folded again for one page at most, besides those that its last event needs."""
FREED = 100
"""Events freed at once."""


class TimelineQuery(PageQuery):
    """Paging, oldest first."""

    since: Moment | None = Field(
        None, description="Begin with the first event that was received at this time or later."
    )


class TimelineEntry(Struct, kw_only=True, omit_defaults=True):
    """One entry of an order's history."""

    at: datetime
    kind: Literal["event", "decision", "verdict", "attempt"]
    """`decision` is an event by which a policy decided."""
    event: Event | None = None
    verdict: schemas.Verdict | None = None
    attempt: schemas.Attempt | None = None


example(TimelineEntry(at=schemas.EVENT.received_at, kind="event", event=schemas.EVENT))


@ROUTES.get(
    "/v1/accounts/{account}/orders/{order}/timeline",
    problems=[Kind.NOT_FOUND, Kind.AMBIGUOUS],
    account_check=AccountCheck.PATH,
)
async def get_timeline(call: Call, account: str, order: str, query: TimelineQuery) -> Page[TimelineEntry]:
    """Events, policy decisions, verdict changes and attempts, oldest first.

    A verdict is listed where it changed. All events of one webhook become known at once.
    """
    node = call.node
    pk, aggregate = await require_order(node, account, order)
    attempts = sorted(await node.store.attempts(pk, ATTEMPTS_MAX), key=lambda attempt: attempt.started_at)
    walk = _Walk(node.config.view(aggregate.order.account), deque(attempts))
    try:
        return await _walked(node, pk, walk, query)
    finally:
        await walk.release()


async def _walked(node: Node, pk: int, walk: _Walk, query: TimelineQuery) -> Page[TimelineEntry]:
    """The page."""
    first, skipped = divmod(query.window().position or 0, ROWS_MAX)
    rows, size = list[tuple[int, Any]](), 0
    async for seq, event, following in _with_following(node.store.order_pages(pk)):
        if seq < first or (query.since is not None and event.received_at < query.since):
            await walk.skip(event, following)
            continue
        if len(rows) > query.limit or walk.slices > SLICES_MAX or size > PAGE_BYTES:
            return _page(rows, query.limit, seq * ROWS_MAX)
        block = await walk.visit(event, following)
        shown_before = skipped if seq == first else 0
        for number, entry in list(enumerate(block))[shown_before:]:
            rows.append((seq * ROWS_MAX + number, Raw(msgspec.json.encode(entry))))
            size += len(rows[-1][1])
        first, skipped = seq, 0
    rows += [((first + 1) * ROWS_MAX + number, entry) for number, entry in enumerate(walk.rest())][skipped:]
    return _page(rows, query.limit, None)


def _page(rows: list[tuple[int, Any]], limit: int, following: int | None) -> Page[TimelineEntry]:
    """The first rows. The next page begins with the first row that is not shown, or with `following`."""
    if len(rows) > limit:
        following = rows[limit][0]
    more = following is not None
    return Page([entry for _, entry in rows[:limit]], more, encode_cursor(following) if following is not None else None)


async def _with_following(
    pages: AsyncIterator[list[tuple[int, Event]]],
) -> AsyncIterator[tuple[int, Event, Event | None]]:
    """(position, event, the event after it)."""
    last: tuple[int, Event] | None = None
    async for page in pages:
        for following in page:
            if last is not None:
                yield *last, following[1]
            last = following
    if last is not None:
        yield *last, None


def _came_together(event: Event, following: Event | None) -> bool:
    """Whether both are facts of one webhook."""
    return following is not None and event.receipt is not None and event.receipt == following.receipt


class _Walk:
    """The walk along an order's part of the log."""

    def __init__(self, view: AccountView, attempts: deque[Attempt]) -> None:
        self._view, self._attempts = view, attempts
        self._replay: Replay | None = None
        self._skipped: tuple[Replay, Event] | None = None
        """The last fact of the last webhook that was skipped as a whole."""
        self._partial: list[Event] = []
        """The skipped events of a webhook that has further events."""
        self._verdict: tuple[str, str] | None = None
        """(cancelable, reason) as last shown."""
        self._latest = datetime.min.replace(tzinfo=UTC)
        self._time_slice = TimeSlice()
        self.slices = 0
        """Slices folded again for what is shown."""

    async def skip(self, event: Event, following: Event | None) -> None:
        """Go past an event of an earlier page."""
        self._attempts_before(event)
        self._partial.append(event)
        if _came_together(event, following):
            return
        replay = self._add_partial()
        if is_fact(event):
            self._skipped = replay, event
        await self._time_slice.pause()

    async def visit(self, event: Event, following: Event | None) -> list[TimelineEntry]:
        """The entries of an event: attempts begun before it, itself, and the verdict if it changed."""
        if self._skipped is not None:
            verdict = await self._judge(*self._skipped)
            self._verdict, self._skipped, self.slices = (verdict.cancelable, verdict.reason), None, 0
        entries = self._attempts_before(event)
        self._partial.append(event)
        replay = self._add_partial()
        kind: Literal["event", "decision"] = "decision" if is_decision(event) else "event"
        entries += [TimelineEntry(at=event.received_at, kind=kind, event=alone) for alone in split(event)]
        if is_fact(event) and not _came_together(event, following):
            verdict = await self._judge(replay, event)
            if (verdict.cancelable, verdict.reason) != self._verdict:
                self._verdict = (verdict.cancelable, verdict.reason)
                shown = schemas.Verdict.of(verdict, event.received_at)
                entries.append(TimelineEntry(at=event.received_at, kind="verdict", verdict=shown))
        await self._time_slice.pause()
        return entries

    def rest(self) -> list[TimelineEntry]:
        """The attempts begun after the last event."""
        return [_of_attempt(attempt) for attempt in self._attempts]

    async def release(self) -> None:
        """Free the events piece by piece: those of a long order in one go hold up the event loop for 10 ms."""
        events = self._replay.facts if self._replay is not None else []
        self._replay = self._skipped = None
        while events:
            del events[-FREED:]
            await self._time_slice.pause()

    def _add_partial(self) -> Replay:
        """Add the events that are not part of the replay yet."""
        events, self._partial = self._partial, []
        if self._replay is None:
            self._replay = Replay(events.pop(0))
        for event in events:
            self._replay.add(event)
        return self._replay

    async def _judge(self, replay: Replay, event: Event) -> Verdict:
        """The verdict after `event`, as known then."""
        while replay.fold():
            self.slices += 1
            await self._time_slice.pause()
        return self._view.judge(replay.aggregate.order, event.received_at)

    def _attempts_before(self, event: Event) -> list[TimelineEntry]:
        self._latest = max(self._latest, event.received_at)
        entries = []
        while self._attempts and self._attempts[0].started_at < self._latest:
            entries.append(_of_attempt(self._attempts.popleft()))
        return entries


def _of_attempt(attempt: Attempt) -> TimelineEntry:
    return TimelineEntry(at=attempt.started_at, kind="attempt", attempt=schemas.Attempt.of(attempt))
