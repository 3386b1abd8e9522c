"""Clients of `/v1/events/stream`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
from providers import WAIT_S
from servers import BOOTSTRAP_KEY, Api, Rescind
from yarl import URL


@dataclass(frozen=True, slots=True)
class Frame:
    """One block of a stream."""

    id: str
    event: str
    data: Any
    """None for a block that only moves the id."""


class Stream:
    """An open stream."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.id = ""
        """The last id, by which the stream is resumed."""
        self._lines: list[bytes] = []
        self._part = b""

    async def frame(self) -> Frame | None:
        """The next block; None at the end of the stream."""
        fields: dict[str, str] = {}
        while True:
            line = await self._line()
            if line is None:
                return None
            if not line:
                self.id = fields.get("id", self.id)
                data = msgspec.json.decode(fields["data"]) if "data" in fields else None
                return Frame(self.id, fields.get("event", "message"), data)
            name, _, value = line.partition(": ")
            assert name not in fields or name == ""
            fields[name] = value

    async def _line(self) -> str | None:
        """The next line; None at the end. Events may be longer than what aiohttp takes for a line."""
        while not self._lines:
            async with asyncio.timeout(WAIT_S):
                chunk = await self.response.content.readany()
            if not chunk:
                return None
            *whole, self._part = (self._part + chunk).split(b"\n")
            self._lines = whole[::-1]
        return self._lines.pop().decode()

    async def take(self, number: int) -> list[dict[str, Any]]:
        """The next events."""
        events: list[dict[str, Any]] = []
        while len(events) < number:
            frame = await self.frame()
            assert frame is not None, f"the stream ended after {len(events)} events"
            if frame.data is not None:
                assert frame.event == "message", frame
                events.append(frame.data)
        return events

    async def rest(self) -> list[dict[str, Any]]:
        """The events up to the end of the stream."""
        events = []
        while (frame := await self.frame()) is not None:
            if frame.data is not None:
                assert frame.event == "message", frame
                events.append(frame.data)
        return events


@asynccontextmanager
async def stream(
    api: Api, query: str = "", *, last: str = "", key: str = BOOTSTRAP_KEY, session: aiohttp.ClientSession | None = None
) -> AsyncIterator[Stream]:
    """An open stream, whose first block (the id that it starts at) was read."""
    headers: Mapping[str, str] = {"Authorization": f"Bearer {key}", **({"Last-Event-ID": last} if last else {})}
    url = URL(f"{api.url}/v1/events/stream{'?' if query else ''}{query}", encoded=True)
    timeout = aiohttp.ClientTimeout(total=None)
    async with (session or api.session).get(url, headers=headers, timeout=timeout) as response:
        assert response.status == 200, await response.text()
        assert response.headers["Content-Type"].startswith("text/event-stream")
        opened = Stream(response)
        first = await opened.frame()
        assert first is not None
        assert first.data is None
        assert first.id
        yield opened


async def no_tails(rescind: Rescind) -> bool:
    """Whether no stream is open."""
    return rescind.node.log_feed.tails == 0
