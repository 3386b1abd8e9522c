"""An order's timeline: events, decisions, changes of the verdict and attempts, oldest first, page by page.

It is one pass over the order's part of the log, in pages and with pauses. What one webhook tells becomes known at once:
the verdict is judged after all of it. What a page may cost has a bound: where many webhooks came so late that much had
to be folded again, the page ends early, and the next one goes on from there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from msgspec import Struct
from pydantic import Field

from app.contract import Verdict
from app.core.aggregate import POLICY_PREFIX, is_fact
from app.core.attempt import Attempt
from app.core.event import Event
from app.core.folding import Replay
from app.core.unit_of_work import AccountView
from app.runtime.time_slice import TimeSlice
from app.web.lookup import find_case
from app.web.routes import Call, Page, PageQuery
from app.web.schemas import (
    AttemptShape,
    EventShape,
    VerdictShape,
    attempt_shape,
    event_shape,
    verdict_shape,
)

ATTEMPTS_MAX = 200
"""So many attempts are shown, the latest."""
ROWS_MAX = 1024
"""More than there can be of one event: the attempts before it, itself, and its verdict."""
SLICES_MAX = 300
"""So much is folded again for one page at most, and what its last event needs."""


class TimelineQuery(PageQuery):
    """Paging, from the oldest on."""

    cursor: int | None = Field(None, ge=0, lt=1 << 63, description="`next_cursor` of the page before.")


class TimelineEntry(Struct, kw_only=True, omit_defaults=True):
    """One line of an order's history: an event, what it made of the verdict, or an attempt."""

    at: datetime
    kind: str
    """event, decision (a policy's), verdict or attempt"""
    event: EventShape | None = None
    verdict: VerdictShape | None = None
    attempt: AttemptShape | None = None


async def get_timeline(call: Call) -> Page[TimelineEntry]:
    """Everything that happened to an order, in the order in which it became known."""
    asked: TimelineQuery = call.query
    node = call.node
    pk, case = await find_case(node, call.path("account"), call.path("order"))
    attempts = sorted(await node.store.attempts(pk, ATTEMPTS_MAX), key=lambda each: each.started_at)
    walk = _Walk(node.directory.view(case.order.account), deque(attempts))
    first, skipped = divmod(asked.cursor or 0, ROWS_MAX)
    rows: list[tuple[int, TimelineEntry]] = []
    async for seq, event, following in _with_following(node.store.order_pages(pk)):
        if seq < first:
            await walk.pass_by(event, following)
            continue
        if len(rows) > asked.limit or walk.slices > SLICES_MAX:
            return _page(rows, asked.limit, seq * ROWS_MAX)
        block = await walk.visit(event, following)
        rows += [(seq * ROWS_MAX + number, entry) for number, entry in enumerate(block)][skipped:]
        first, skipped = seq, 0
    rows += [((first + 1) * ROWS_MAX + number, entry) for number, entry in enumerate(walk.rest())][skipped:]
    return _page(rows, asked.limit, None)


def _page(rows: list[tuple[int, TimelineEntry]], limit: int, following: int | None) -> Page[TimelineEntry]:
    """The first rows; the next page begins with the first that is not shown, or with `following`."""
    if len(rows) > limit:
        following = rows[limit][0]
    more = following is not None
    return Page([entry for _, entry in rows[:limit]], more, str(following) if more else None)


async def _with_following(
    pages: AsyncIterator[list[tuple[int, Event]]],
) -> AsyncIterator[tuple[int, Event, Event | None]]:
    """(position, event, the one after it)."""
    last: tuple[int, Event] | None = None
    async for page in pages:
        for following in page:
            if last is not None:
                yield *last, following[1]
            last = following
    if last is not None:
        yield *last, None


def _came_together(event: Event, following: Event | None) -> bool:
    """Are they facts of one webhook?"""
    return following is not None and event.receipt is not None and event.receipt == following.receipt


class _Walk:
    """The way along an order's part of the log."""

    def __init__(self, view: AccountView, attempts: deque[Attempt]) -> None:
        self._view, self._attempts = view, attempts
        self._replay: Replay | None = None
        self._told: tuple[Replay, Event] | None = None
        """The last fact of the last webhook that was passed by as a whole."""
        self._begun: list[Event] = []
        """What was passed by of a webhook that told more than that."""
        self._verdict: tuple[str, str] | None = None
        """What was last shown."""
        self._latest = datetime.min.replace(tzinfo=UTC)
        self._breather = TimeSlice()
        self.slices = 0
        """How many were folded again for what is shown."""

    async def pass_by(self, event: Event, following: Event | None) -> None:
        """Go past an event of an earlier page."""
        self._attempts_before(event)
        self._begun.append(event)
        if _came_together(event, following):
            return
        for each in self._begun:
            replay = self._add(each)
        self._begun = []
        if is_fact(event):
            self._told = replay, event
        await self._breather.pause()

    async def visit(self, event: Event, following: Event | None) -> list[TimelineEntry]:
        """The entries of an event: attempts that began before it, itself, and the verdict where that changed."""
        if self._told is not None:
            verdict = await self._judge(*self._told)
            self._verdict, self._told, self.slices = (verdict.cancelable, verdict.reason), None, 0
        for each in self._begun:
            self._add(each)
        self._begun = []
        entries = self._attempts_before(event)
        replay = self._add(event)
        kind = "decision" if event.type.startswith(POLICY_PREFIX) else "event"
        entries.append(TimelineEntry(at=event.received_at, kind=kind, event=event_shape(event)))
        if is_fact(event) and not _came_together(event, following):
            verdict = await self._judge(replay, event)
            if (verdict.cancelable, verdict.reason) != self._verdict:
                self._verdict = (verdict.cancelable, verdict.reason)
                shown = verdict_shape(verdict, event.received_at)
                entries.append(TimelineEntry(at=event.received_at, kind="verdict", verdict=shown))
        await self._breather.pause()
        return entries

    def rest(self) -> list[TimelineEntry]:
        """What began after the last event."""
        return [_of_attempt(attempt) for attempt in self._attempts]

    def _add(self, event: Event) -> Replay:
        if self._replay is None:
            self._replay = Replay(event)
        else:
            self._replay.add(event)
        return self._replay

    async def _judge(self, replay: Replay, event: Event) -> Verdict:
        """The verdict after `event`, by what was known then."""
        while replay.fold():
            self.slices += 1
            await self._breather.pause()
        return self._view.judge(replay.aggregate.order, event.received_at)

    def _attempts_before(self, event: Event) -> list[TimelineEntry]:
        self._latest = max(self._latest, event.received_at)
        found = []
        while self._attempts and self._attempts[0].started_at < self._latest:
            found.append(_of_attempt(self._attempts.popleft()))
        return found


def _of_attempt(attempt: Attempt) -> TimelineEntry:
    return TimelineEntry(at=attempt.started_at, kind="attempt", attempt=attempt_shape(attempt))
