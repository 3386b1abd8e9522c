"""The event log as a live stream (server-sent events) that resumes where it ended.

A stream is a loop: it takes what is new from the node's shared reader, or from the log itself while it is behind, and
waits until its client has taken that. So a slow client holds one piece of the log at most.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from time import monotonic

import msgspec
import structlog
from aiohttp import web
from pydantic import Field

from app.core import event as core
from app.core.event_types import POLICY_DECIDED
from app.core.policy.decisions import decisions_of, split
from app.runtime.time_slice import TimeSlice
from app.store import CursorFault, LogCursorError, StoreError
from app.web import events
from app.web.fields import Flag, Moment, SourceName, TypeGlobs, split_globs
from app.web.lookup import find_order, missing
from app.web.pages import require_known
from app.web.problems import RETRY_AFTER, Kind, Problem, busy
from app.web.pulls import is_gone
from app.web.requests import NODE
from app.web.routes import AccountCheck, Call, EventStream, Query, RouteTable
from app.web.schemas import Event
from app.workers.log_feed import FeedEntry, TooManyTailsError

ROUTES = RouteTable(events.ROUTES.tag)
HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""Without the last, nginx would hold events back."""
HEARTBEAT_S = 15.0
RECONNECT_MS = 2000
WRITE_S = 30.0
"""A client that takes nothing for so long is disconnected, and may resume."""
PIECE_BYTES = 1 << 16


log = structlog.get_logger()


class StreamQuery(Query):
    """Filters of a stream, and where it begins."""

    account: str | None = None
    order: str | None = Field(None, description="Only those of this order, by its id or any alias; requires `account`.")
    type: TypeGlobs | None = Field(
        None,
        max_length=2000,
        description="Event types, separated by commas; a star stands for any characters: `appointment.*,order.*`.",
    )
    source: SourceName | None = Field(None, description="Only events that came this way.")
    policy: str | None = Field(None, description="Only decisions of this policy.")
    receipt: str | None = Field(None, description="Only events that were parsed from this receipt.")
    text: str | None = Field(None, min_length=2, max_length=200, description="Text in the event's facts or data.")
    after: str | None = Field(
        None, max_length=100, description="The `id` of the last event that was received; the stream goes on after it."
    )
    since: Moment | None = Field(None, description="Begin with events received at this time or later. Default: now.")
    follow: Flag = Field(default=True, description="Go on at the end of the log; with `false` the stream ends there.")


@ROUTES.get(
    "/v1/events/stream",
    problems=[
        Kind.NOT_FOUND,
        Kind.AMBIGUOUS,
        Problem(Kind.TOO_MANY, "this key has 20 streams open (RESCIND_STREAMS_PER_KEY)."),
    ],
    account_check=AccountCheck.HANDLER,
)
async def stream_events(call: Call, query: StreamQuery) -> EventStream[Event]:
    """Events as they are recorded, as server-sent events, in the order of the log.

    Each has the event as `data` and a cursor as `id`. With the header `Last-Event-ID`, which browsers send when they
    reconnect, or with `after`, the stream goes on after that event, without gaps or repeats; the header comes first.
    Lines without data only keep the connection open, and may move the `id` on past events that the filter leaves out.

    An event of type `reset` says that the log does not continue the one that was followed (the database was restored
    from a backup), or that events were pruned: drop what was made of the stream so far, and go on; `data` has the
    `reason`. The stream ends when the server stops or the key is no longer valid: connect again.
    """
    selection = await _Selection.make(call, query)
    try:
        with call.node.log_feed.join(call.key.holder):
            cursor, reset = await _start(call, query)
            response = EventStream[Event](headers=HEADERS)
            await response.prepare(call.request)
            await _serve(_Stream(call, response, selection, cursor, follow=query.follow), reset)
            return response
    except TooManyTailsError as error:
        if error.of_holder:
            raise Problem(Kind.TOO_MANY, f"{error}.", headers=RETRY_AFTER) from error
        raise busy(f"{error}.") from error


def end_at_shutdown(app: web.Application) -> None:
    """End the streams when the server stops."""

    async def stop(app: web.Application) -> None:
        app[NODE].log_feed.stop()

    app.on_shutdown.append(stop)


async def _start(call: Call, query: StreamQuery) -> tuple[str, LogCursorError | None]:
    """(the cursor that the stream begins at, why that is not the one that was asked for)."""
    store, asked = call.node.store, call.request.headers.get("Last-Event-ID") or query.after
    if asked is None:
        return await (store.log_end() if query.since is None else store.log_since(query.since)), None
    try:
        await store.follow(asked, 1)
    except LogCursorError as error:
        if error.fault is CursorFault.UNREADABLE and asked == query.after:
            raise Problem(Kind.INVALID, f"The query parameter after: {error}.", field="after") from error
        return error.resume, error
    return asked, None


async def _serve(stream: _Stream, reset: LogCursorError | None) -> None:
    """Run a stream to its end, which a problem cannot be after the head of the response."""
    try:
        await stream.run(reset)
    except StoreError as error:
        log.warning("stream_ended", error=str(error))  # the client resumes
    except (ConnectionError, TimeoutError):
        stream.abort()  # the client has gone, or takes nothing
    except Exception:
        log.exception("stream_failed")
        stream.abort()


class _Selection:
    """The events that a stream is about."""

    def __init__(self, call: Call, query: StreamQuery) -> None:
        self._call, self._query, self._sees = call, query, call.key.sees
        self._types = _pattern(split_globs(query.type))
        self._text = query.text.lower() if query.text is not None else ""
        filters = (query.account, query.order, query.type, query.source, query.policy, query.receipt, query.since)
        self._is_everything = not any(filters) and not query.text and call.key.accounts is None
        self._orders: set[int] = set()
        """The numbers of the order that is followed: it may be merged with another one."""

    @classmethod
    async def make(cls, call: Call, query: StreamQuery) -> _Selection:
        """The selection of a query. Raises `Problem`."""
        if query.account is not None and not call.key.sees(query.account):
            raise missing("accounts", query.account, field="account")
        require_known(call, (), account=query.account, policy=query.policy)
        selection = cls(call, query)
        if query.order is not None:
            if query.account is None:
                raise Problem(Kind.INVALID, "The query parameter order requires account.", field="account")
            await find_order(call.node, query.account, query.order)
        return selection

    async def choose(self, entries: Sequence[FeedEntry]) -> Sequence[FeedEntry]:
        """Those of `entries` that it has."""
        query, chosen, time_slice = self._query, list[FeedEntry](), TimeSlice()
        if self._is_everything:
            return entries
        if query.order is not None:
            await self._find_order(entries)
        for entry in entries:
            if self._has(entry):
                chosen.append(entry)
            await time_slice.pause()
        return chosen

    def _has(self, entry: FeedEntry) -> bool:
        query, event = self._query, entry.event
        return (
            (query.account is None or event.account == query.account)
            and self._sees(event.account)
            and (query.order is None or entry.order_pk in self._orders)
            and (self._types is None or self._has_type(event, self._types))
            and (query.source is None or event.source == query.source)
            and (query.policy is None or any(one.get("policy") == query.policy for one in decisions_of(event)))
            and (query.receipt is None or event.receipt == query.receipt)
            and (query.since is None or event.received_at >= query.since)
            and (not self._text or self._text in entry.text)
        )

    def _has_type(self, event: core.Event, types: re.Pattern[str]) -> bool:
        """Whether the event is of one of the types, or a decision in it would be as an event of its own."""
        if types.fullmatch(event.type):
            return True
        wanted = self._query.policy
        alone = split(event) if event.type == POLICY_DECIDED else ()
        return any(types.fullmatch(one.type) and wanted in (None, one.data["policy"]) for one in alone)

    async def _find_order(self, entries: Sequence[FeedEntry]) -> None:
        """Look the order up again, where events are of an order that it may have become by now."""
        account, name = self._query.account, self._query.order
        others = any(entry.order_pk not in self._orders and entry.event.account == account for entry in entries)
        if others and account is not None and name is not None:
            try:
                stored = await find_order(self._call.node, account, name)
            except Problem:  # several orders carry the name by now
                return
            if stored is not None:
                self._orders.add(stored[0])


def _pattern(globs: Sequence[str]) -> re.Pattern[str] | None:
    """What matches any of the globs; None for none."""
    return re.compile("|".join(map(_expression, globs))) if globs else None


def _expression(glob: str) -> str:
    """A glob as a regular expression that takes linear time: no part between two stars is looked for again."""
    first, *parts = map(re.escape, glob.split("*"))
    if not parts:
        return first
    return first + "".join(f"(?>.*?{part})" for part in parts[:-1] if part) + ".*" + parts[-1]


class _Stream:
    """One open stream."""

    def __init__(
        self, call: Call, response: web.StreamResponse, selection: _Selection, cursor: str, *, follow: bool
    ) -> None:
        self._call, self._response, self._selection = call, response, selection
        self._feed, self._cursor, self._follow = call.node.log_feed, cursor, follow
        self._written_at = 0.0

    async def run(self, reset: LogCursorError | None) -> None:
        """Send what there is and what comes, until the stream is to end."""
        await self._write(f"retry: {RECONNECT_MS}\nid: {self._cursor}\n\n".encode())
        if reset is not None:
            await self._reset(reset)
        while not await self._is_over():
            news, epoch = self._feed.news(), self._feed.epoch
            try:
                entries, at_end = await self._next()
            except LogCursorError as error:
                self._cursor = error.resume
                await self._reset(error)
                continue
            if not await self._send(entries, epoch):
                continue
            if at_end and not self._follow:
                # Where it ended may be past the last event that the filter let through.
                # The comment tells the end of the log from that of a server that stops.
                await self._write(f": end\nid: {self._cursor}\n\n".encode())
                return
            if monotonic() - self._written_at >= HEARTBEAT_S:
                await self._write(f": heartbeat\nid: {self._cursor}\n\n".encode())
            if at_end:
                await news.wait()

    def abort(self) -> None:
        """End the connection, whatever is still to be sent."""
        if self._call.request.transport is not None:
            self._call.request.transport.abort()

    async def _is_over(self) -> bool:
        call = self._call
        if self._feed.stopping or is_gone(call.request) or not call.node.keys.is_in_force(call.key):
            return True
        return call.session is not None and not await call.node.sessions.is_open(call.session)

    async def _next(self) -> tuple[Sequence[FeedEntry], bool]:
        """(the next events, whether there are no more for now)."""
        # The ring may end before the log does: a stream that is to end with the log reads the log.
        entries = self._feed.after(self._cursor) if self._follow else None
        return await self._feed.read_behind(self._cursor) if entries is None else (entries, True)

    async def _send(self, entries: Sequence[FeedEntry], epoch: int) -> bool:
        """Send the events that are selected, in pieces; each is taken by the client before the next is made.

        False if not all were sent: the stream is over, or events lost personal data since these were read, in `epoch`.
        """
        piece, size = list[bytes](), 0
        for entry in await self._selection.choose(entries):
            piece.append(entry.frame)
            size += len(entry.frame)
            if size >= PIECE_BYTES:
                if await self._is_over() or self._feed.epoch != epoch:
                    return False
                await self._write(b"".join(piece))
                self._cursor = entry.cursor
                piece, size = [], 0
        if self._feed.epoch != epoch:
            return False
        if piece:
            await self._write(b"".join(piece))
        if entries:
            self._cursor = entries[-1].cursor
        return True

    async def _reset(self, error: LogCursorError) -> None:
        data = msgspec.json.encode({"reason": error.fault.value, "detail": f"{error}."})
        await self._write(b"event: reset\nid: %b\ndata: %b\n\n" % (error.resume.encode(), data))

    async def _write(self, frames: bytes) -> None:
        async with asyncio.timeout(WRITE_S):
            await self._response.write(frames)
        self._written_at = monotonic()
