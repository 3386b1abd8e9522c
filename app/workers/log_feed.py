"""The newest events of the log, read and encoded once for all who follow it live.

One reader keeps a bounded ring of the newest events while anybody follows. Commits wake it, at most ten times a second;
it also looks by itself every second, for events that another process committed. A tail that is behind the ring reads
the log for itself: in turn with the other tails, and slowly while webhooks wait to be recorded.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from time import monotonic

import msgspec
import structlog

from app.core.event import Event
from app.runtime import metrics
from app.runtime.log import LogLimiter
from app.runtime.time_slice import TimeSlice
from app.store import LogCursorError, LogEntry, Store, StoreError

READ_S = 0.1
"""Between two reads of the ring's reader, while it keeps up."""
LOOK_S = 1.0
"""Between two reads that no commit wakes."""
PAGE = 500
"""Events that are read at once."""
RING_MAX, RING_BYTES = 2048, 4 << 20
"""Events, and bytes of them, in the ring at most."""
BEHIND_PAGE = 200
BUSY_SHARE = 4
"""While webhooks wait, a tail that is behind pauses for so many times what a page took."""
ERROR_LOG_S = 10.0

log = structlog.get_logger()


class FeedEntry:
    """An event of the log, with its encodings."""

    def __init__(self, entry: LogEntry) -> None:
        self.cursor, self.order_pk, self.event = entry
        self.frame = b"id: %b\ndata: %b\n\n" % (self.cursor.encode(), msgspec.json.encode(self.event))
        """The event as the API shows it, as a server-sent event."""

    @cached_property
    def text(self) -> str:
        """What searches look at, in lower case."""
        event: Event = self.event
        return msgspec.json.encode((event.facts, event.data)).decode().lower()


class TooManyTailsError(Exception):
    """As many follow the log as may."""

    def __init__(self, message: str, *, of_holder: bool) -> None:
        super().__init__(message)
        self.of_holder = of_holder
        """Whether the limit is that of one key, not that of the server."""


class LogFeed:
    """The shared reader. `run` runs while the node does."""

    def __init__(self, store: Store, *, tails_max: int, per_key_max: int, is_busy: Callable[[], bool]) -> None:
        self._store, self._is_busy = store, is_busy
        self._tails_max, self._per_key_max = tails_max, per_key_max
        self._holders: Counter[str] = Counter()
        self._joined, self._woken = asyncio.Event(), asyncio.Event()
        self._news = asyncio.Event()
        self._behind = asyncio.Lock()
        self._errors = LogLimiter(ERROR_LOG_S)
        self._ring: list[FeedEntry] = []
        self._bytes = 0
        self._numbers: dict[str, int] = {}
        """Cursor → the number of the entry that follows it; `_first` is that of the first in the ring."""
        self._first = 0
        self._cursor = ""
        """Where the ring ends; empty before the first read."""
        self.epoch = 0
        """Raised whenever events lose personal data: what was read in an earlier one is stale."""
        self.stopping = False

    @property
    def tails(self) -> int:
        """How many follow the log."""
        return self._holders.total()

    @contextmanager
    def join(self, holder: str) -> Iterator[None]:
        """Count one who follows the log with a key of this holder. Raises `TooManyTailsError`."""
        if self._holders[holder] >= self._per_key_max:
            message = f"this key has {self._per_key_max} streams open (RESCIND_STREAMS_PER_KEY)"
            raise TooManyTailsError(message, of_holder=True)
        if self.tails >= self._tails_max:
            raise TooManyTailsError(f"{self.tails} streams are open (RESCIND_STREAMS_MAX)", of_holder=False)
        self._holders[holder] += 1
        metrics.STREAMS.set(self.tails)
        self._joined.set()
        try:
            yield
        finally:
            self._holders[holder] -= 1
            self._holders += Counter()  # forget those without any
            metrics.STREAMS.set(self.tails)

    def wake(self) -> None:
        """Events were committed."""
        if self._holders:
            self._woken.set()

    def forget(self) -> None:
        """Events lost personal data: read again from the log what is sent from now on."""
        self.epoch += 1
        self._clear(self._cursor)

    def stop(self) -> None:
        """End all tails."""
        self.stopping = True
        self.announce()

    def news(self) -> asyncio.Event:
        """An event that is set when there is more, and at least every second. Get it before you look."""
        return self._news

    def after(self, cursor: str) -> list[FeedEntry] | None:
        """What the ring has after `cursor`, which may be nothing; None if the cursor is not in the ring."""
        number = self._numbers.get(cursor)
        return None if number is None else self._ring[number - self._first :]

    async def read_behind(self, cursor: str) -> tuple[list[FeedEntry], bool]:
        """(the next events of the log after `cursor`, whether there are no more).

        Raises `LogCursorError`, `StoreError`.
        """
        async with self._behind:
            began = monotonic()
            page = await self._store.follow(cursor, BEHIND_PAGE)
            entries = await _encoded(page.entries)
            if self._is_busy():
                await asyncio.sleep((monotonic() - began) * BUSY_SHARE)
        return entries, page.at_end

    async def run(self) -> None:
        """Read while anybody follows, until canceled."""
        while True:
            if not self._holders:
                self._clear("")
                self._joined.clear()
                await self._joined.wait()
            self._woken.clear()
            began = monotonic()
            is_behind = False
            try:
                is_behind = not await self._read()
            except StoreError as error:
                if self._errors.admit() is not None:
                    log.warning("log_not_read", error=str(error))
            self.announce()
            await asyncio.sleep(0 if is_behind else max(0.0, READ_S - (monotonic() - began)))
            if not is_behind:
                await _wait(self._woken, LOOK_S)

    async def _read(self) -> bool:
        """Read the next events into the ring; whether there are no more."""
        try:
            if not self._cursor:
                self._clear(await self._store.log_end())
            epoch = self.epoch
            page = await self._store.follow(self._cursor, PAGE)
        except LogCursorError as error:
            self._clear(error.resume)
            return False
        entries = await _encoded(page.entries)
        if epoch != self.epoch:
            return False
        for entry in entries:
            self._ring.append(entry)
            self._bytes += len(entry.frame)
            self._numbers[entry.cursor] = self._first + len(self._ring)
            self._cursor = entry.cursor
        self._trim()
        return page.at_end

    def _trim(self) -> None:
        dropped = 0
        while len(self._ring) - dropped > RING_MAX or (self._bytes > RING_BYTES and dropped < len(self._ring)):
            self._bytes -= len(self._ring[dropped].frame)
            dropped += 1
        if dropped:
            del self._ring[:dropped]
            self._first += dropped
            self._numbers = {cursor: n for cursor, n in self._numbers.items() if n >= self._first}

    def _clear(self, cursor: str) -> None:
        self._ring, self._bytes, self._first = [], 0, 0
        self._cursor, self._numbers = cursor, {cursor: 0} if cursor else {}

    def announce(self) -> None:
        """Let all tails look: there is more, or one is to end."""
        news, self._news = self._news, asyncio.Event()
        news.set()


async def _encoded(entries: list[LogEntry]) -> list[FeedEntry]:
    time_slice, encoded = TimeSlice(), []
    for entry in entries:
        encoded.append(FeedEntry(entry))
        await time_slice.pause()
    return encoded


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        pass
