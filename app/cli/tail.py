"""`rescind events tail`: the event log as it grows."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
import typer
from rich.text import Text

from app.cli import output
from app.cli.client import Api, connect
from app.cli.evidence import event_in_words
from app.cli.failure import AwayError, ProblemError
from app.cli.layout import flowed
from app.cli.options import (
    EventText,
    Json,
    OfAccount,
    OfOrder,
    OfPolicy,
    OfReceipt,
    OfSource,
    OfTypes,
    Since,
    check_order,
)
from app.cli.paging import Paging
from app.cli.times import rfc3339, shown

LAST = 10
QUIET_S = 60.0
"""A connection that is silent for longer than some heartbeats is dead."""
RETRY_S, OUTAGE_S = 1.0, 300.0
"""How often, and how long, the server is tried while it does not respond: a restart ends nothing."""
_PATH = "/v1/events"
_RESET = "reset"


def tail(
    account: OfAccount = None,
    order: OfOrder = None,
    type: OfTypes = None,
    source: OfSource = None,
    policy: OfPolicy = None,
    receipt: OfReceipt = None,
    text: EventText = None,
    since: Since = None,
    last: Annotated[
        int, typer.Option("--last", "-n", min=0, max=500, help="How many events to begin with, without --since.")
    ] = LAST,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", metavar="", help="Go on with events as they come, until Ctrl-C.")
    ] = False,
    json: Json = False,
) -> None:
    """Print the latest events, the oldest first, one on a line; with -f also those that come."""
    check_order(order, account)
    query = {
        "account": account,
        "order": order,
        "type": type,
        "source": source,
        "policy": policy,
        "receipt": receipt,
        "text": text,
    }
    # A shell starts what runs in the background with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    with connect() as api:
        tail = _Tail(api, query, as_json=json)
        try:
            if since is None and not follow:
                tail.show_last(last)
            else:
                api.run(tail.run(None if since is None else rfc3339(since), last, follow=follow))
        except KeyboardInterrupt:
            return


@dataclass(slots=True)
class _Tail:
    """Prints events once each, also where the connection is lost."""

    api: Api
    query: Mapping[str, Any]
    as_json: bool
    cursor: str = ""
    printed: set[str] = field(default_factory=set)
    """Ids of the events that were printed from the list: the stream may repeat them."""
    heard_at: float = 0.0

    def show_last(self, number: int) -> None:
        """Print the latest events."""
        pages = list(self.api.pages(_PATH, self.query, Paging(limit=number))) if number else []
        for row in reversed([row for page in pages for row in page["data"]]):
            self._print(row)

    async def run(self, since: str | None, last: int, *, follow: bool) -> None:
        """Print the events of the stream, to its end or for ever. Raises `Failure`."""
        query = {**self.query, "since": since, "follow": None if follow else "false"}
        away = False
        while True:
            try:
                headers = {"Last-Event-ID": self.cursor} if self.cursor else {}
                async with self.api.stream(f"{_PATH}/stream", query, headers, QUIET_S) as chunks:
                    if away:
                        output.say("Connected again; the stream goes on where it was.")
                    away = False
                    async for block in blocks(chunks):
                        self.heard_at = time.monotonic()
                        is_first, self.cursor = not self.cursor, block.get("id", self.cursor)
                        self._take(block)
                        if is_first and since is None:
                            await self._begin(last)
                if not follow:
                    return
            except AwayError as error:
                if not self.cursor or time.monotonic() - self.heard_at > OUTAGE_S:
                    raise
                if not away:
                    output.say(f"{error} Trying again…")
                away = True
            await asyncio.sleep(RETRY_S)

    async def _begin(self, last: int) -> None:
        """Print the latest events; the stream is open already, so that none is missed in between."""
        if not last:
            return
        try:
            page = await self.api.fetch(_PATH, {**self.query, "limit": last})
        except ProblemError:
            return  # a key for several accounts can list one of them at a time only, and follow all
        for row in reversed(page["data"]):
            self.printed.add(row["id"])
            self._print(row)

    def _take(self, block: Mapping[str, str]) -> None:
        if "data" not in block:
            return
        data = msgspec.json.decode(block["data"])
        if block.get("event") == _RESET:
            output.say(f"{data['detail']} The events that follow are those that are new.")
        elif data["id"] not in self.printed:
            self._print(data)

    def _print(self, event: Mapping[str, Any]) -> None:
        if self.as_json:
            output.print_json(event, indent=0)
        else:
            output.show(flowed(_parts(event), output.console()))


async def blocks(chunks: AsyncIterator[bytes]) -> AsyncIterator[dict[str, str]]:
    """The blocks of a stream of server-sent events, each as name → value; a comment has an empty name."""
    rest, block = b"", dict[str, str]()
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            name, _, value = line.decode().partition(":")
            if line:
                block[name] = value.removeprefix(" ")
            elif block:
                yield block
                block = {}


def _parts(event: Mapping[str, Any]) -> list[Text]:
    """An event in parts: when, what, about which order, what it says, its id."""
    kind = output.clean(event["type"])
    color = output.word(kind.rpartition(".")[2]).style
    parts = (
        Text(shown(event["received_at"]), style="dim"),
        Text(kind, style=color or "bold"),
        Text(output.clean(" ".join(filter(None, (event["account"], event["order"]))))),
        Text(event_in_words(event)),
        Text(output.clean(event["id"]), style="dim"),
    )
    return [part for part in parts if part]
