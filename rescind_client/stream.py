"""Streams of server-sent events that resume after the connection is lost, without gaps or repeats."""

from __future__ import annotations

import time
from asyncio import sleep as sleep_async
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import httpx
import msgspec

from rescind_client.problem import RescindError

T = TypeVar("T")

OUTAGE_S = 300.0
"""How long the server may be away before an iteration ends with an error: a restart ends none."""
QUIET_S = 60.0
"""A connection that is silent for longer than some heartbeats is dead."""
RECONNECT_S = 1.0
RESET = "reset"


class Away(Exception):
    """The server cannot be reached, or has no room; `error` is raised if that lasts."""

    def __init__(self, error: Exception, wait_s: float | None = None) -> None:
        super().__init__(str(error))
        self.error, self._wait_s = error, wait_s

    def wait_s(self, heard_at: float) -> float:
        """Seconds to wait before the next try. Raises `error` if nothing was heard for too long."""
        if time.monotonic() - heard_at > OUTAGE_S:
            raise self.error
        return RECONNECT_S if self._wait_s is None else self._wait_s


class StreamReset(RescindError):
    """The log does not continue the one that was followed, or events were pruned: drop what was made of the stream.

    Iterate again to go on with what is left and new.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{detail} ({reason})")
        self.reason = reason
        """`other_log`, `pruned` or `unreadable`."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One block of a stream; one without data only moves the id."""

    id: str | None
    event: str
    data: bytes | None


class Parser:
    """Makes blocks of the bytes of a stream, as the HTML standard says."""

    def __init__(self) -> None:
        self._rest = b""
        self._fields: dict[str, list[bytes]] = {}

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """The blocks that `chunk` completes."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            name, _, value = line.removesuffix(b"\r").partition(b":")
            if name:
                self._fields.setdefault(name.decode(), []).append(value.removeprefix(b" "))
            elif not line.strip(b"\r") and self._fields:
                yield self._frame()

    def _frame(self) -> Frame:
        fields, self._fields = self._fields, {}
        id, data = fields.get("id"), fields.get("data")
        event = fields.get("event", [b"message"])[-1].decode()
        return Frame(id[-1].decode() if id else None, event, b"\n".join(data) if data is not None else None)


class _Position(Generic[T]):
    """Where a stream is."""

    def __init__(self, kind: type[T], *, follow: bool) -> None:
        self._kind, self.follow = kind, follow
        self.cursor = ""
        """The id of the last event, by which another stream goes on (`after`); empty before the first response."""
        self.heard_at = time.monotonic()

    def headers(self) -> dict[str, str]:
        return {"Accept": "text/event-stream", **({"Last-Event-ID": self.cursor} if self.cursor else {})}

    def read(self, frame: Frame) -> Iterator[T]:
        """The value of a block, if it has one. Raises `StreamReset`."""
        self.cursor = frame.id or self.cursor
        if frame.event == RESET:
            told: dict[str, Any] = msgspec.json.decode(frame.data or b"{}")
            raise StreamReset(told.get("reason", ""), told.get("detail", "the log was replaced"))
        if frame.data is not None:
            yield msgspec.json.decode(frame.data, type=self._kind)


class EventStream(_Position[T]):
    """Iterates over a stream, and connects again as often as needed. `cursor` is the id of the last event."""

    def __init__(
        self,
        connect: Callable[[Mapping[str, str]], AbstractContextManager[httpx.Response]],
        kind: type[T],
        *,
        follow: bool,
    ) -> None:
        super().__init__(kind, follow=follow)
        self._connect = connect
        self._open: Generator[T] | None = None

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._open is None:
            self._open = self._values()
        try:
            return next(self._open)
        except BaseException:
            self._open = None
            raise

    def close(self) -> None:
        """End the connection."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _values(self) -> Generator[T]:
        while True:
            wait = RECONNECT_S
            try:
                with self._connect(self.headers()) as response:
                    parser = Parser()
                    for chunk in response.iter_bytes():
                        self.heard_at = time.monotonic()
                        for frame in parser.feed(chunk):
                            yield from self.read(frame)
                if not self.follow:
                    return
            except Away as away:
                wait = away.wait_s(self.heard_at)
            except httpx.TransportError as error:
                wait = Away(error).wait_s(self.heard_at)
            time.sleep(wait)


class AsyncEventStream(_Position[T]):
    """Iterates over a stream, and connects again as often as needed. `cursor` is the id of the last event."""

    def __init__(
        self,
        connect: Callable[[Mapping[str, str]], AbstractAsyncContextManager[httpx.Response]],
        kind: type[T],
        *,
        follow: bool,
    ) -> None:
        super().__init__(kind, follow=follow)
        self._connect = connect
        self._open: AsyncGenerator[T] | None = None

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        if self._open is None:
            self._open = self._values()
        try:
            return await anext(self._open)
        except BaseException:
            self._open = None
            raise

    async def aclose(self) -> None:
        """End the connection."""
        if self._open is not None:
            await self._open.aclose()
            self._open = None

    async def _values(self) -> AsyncGenerator[T]:
        while True:
            wait = RECONNECT_S
            try:
                async with self._connect(self.headers()) as response:
                    parser = Parser()
                    async for chunk in response.aiter_bytes():
                        self.heard_at = time.monotonic()
                        for frame in parser.feed(chunk):
                            for value in self.read(frame):
                                yield value
                if not self.follow:
                    return
            except Away as away:
                wait = away.wait_s(self.heard_at)
            except httpx.TransportError as error:
                wait = Away(error).wait_s(self.heard_at)
            await sleep_async(wait)
