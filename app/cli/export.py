"""`rescind events export`: the event log as a file, in JSON Lines or Parquet.

The events come from the stream of the log, in its order, and are written as they come: memory does not grow with the
log. If the connection is lost, the stream goes on after the last event. The file appears when it is complete.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import msgspec
import typer

from app.cli import output
from app.cli.client import Api, connect
from app.cli.event_rows import EventRow, Writer
from app.cli.failure import AwayError, Failure
from app.cli.files import replaced
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
    Until,
    check_order,
    check_range,
)
from app.cli.progress import Progress, progress
from app.cli.tail import OUTAGE_S, QUIET_S, RETRY_S, blocks
from app.cli.times import rfc3339, shown

_STREAM = "/v1/events/stream"
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_DISORDER = timedelta(minutes=1)
"""A webhook may stand behind others in the log that were received so much later."""
_REPORT_S = 0.2
_END = "end"
"""The comment that ends a stream which does not go on at the end of the log."""
_STANDARD_OUTPUT = Path("-")


class Format(StrEnum):
    """The format of the file."""

    JSONL = "jsonl"
    PARQUET = "parquet"


def export_events(
    file: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write; - for standard output.")
    ],
    format: Annotated[Format, typer.Option(help="The format; parquet requires `rescind[parquet]`.")] = Format.JSONL,
    account: OfAccount = None,
    order: OfOrder = None,
    type: OfTypes = None,
    source: OfSource = None,
    policy: OfPolicy = None,
    receipt: OfReceipt = None,
    text: EventText = None,
    since: Since = None,
    until: Until = None,
    after: Annotated[
        str | None,
        typer.Option(metavar="CURSOR", help="Only what came after an earlier export, which printed this cursor."),
    ] = None,
    json: Json = False,
) -> None:
    """Export events to a file, in the order of the log; it appears when it is complete."""
    check_order(order, account)
    check_range(since, until)
    if after is not None and since is not None:
        raise typer.BadParameter("give either --after or --since")
    if file == _STANDARD_OUTPUT and (format is Format.PARQUET or json):
        raise typer.BadParameter("only JSON Lines, without --json, can be written to standard output")
    query = {
        "account": account,
        "order": order,
        "type": type,
        "source": source,
        "policy": policy,
        "receipt": receipt,
        "text": text,
        "since": rfc3339(since or _BEGINNING),
        "follow": "false",
    }
    # A shell starts what runs in the background with SIGINT ignored; a signal must not leave the unfinished file.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        with connect(json) as api, _open(file, format) as writer, progress("Exported (%)", 100, quiet=True) as bar:
            export = _Export(api, query, writer, bar, until, after or "")
            api.run(export.run())
    except KeyboardInterrupt:
        raise Failure("The export was interrupted; nothing was written.") from None
    export.report(file, as_json=json)


@dataclass(slots=True)
class _Export:
    """An export under way."""

    api: Api
    query: Mapping[str, Any]
    writer: Writer
    bar: Progress
    until: datetime | None
    cursor: str
    next_cursor: str = ""
    """Where the next export begins: before the first event that was too late for this one."""
    events: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None
    heard_at: float = 0.0
    _reported_at: float = 0.0
    _past_end: bool = False
    _done: bool = False

    async def run(self) -> None:
        """Write all events. Raises `Failure`."""
        while not self._done:
            headers = {"Last-Event-ID": self.cursor} if self.cursor else {}
            try:
                async with self.api.stream(_STREAM, self.query, headers, QUIET_S) as chunks:
                    async for block in blocks(chunks):
                        self.heard_at = time.monotonic()
                        self._take(block)
                        if self._done:
                            return
            except AwayError:
                if not self.heard_at or time.monotonic() - self.heard_at > OUTAGE_S:
                    raise
            # The server stopped, or the connection was lost.
            await asyncio.sleep(RETRY_S)

    def report(self, file: Path, *, as_json: bool) -> None:
        """Say what was exported, and how to go on."""
        if as_json:
            first, last = (moment and rfc3339(moment) for moment in (self.first_at, self.last_at))
            output.print_json(
                {
                    "file": str(file),
                    "events": self.events,
                    "first_at": first,
                    "last_at": last,
                    "cursor": self.next_cursor,
                }
            )
        else:
            where = "" if file == _STANDARD_OUTPUT else f" to {file}"
            output.say(f"Exported {self.events} events{where}. What comes later: --after {self.next_cursor}")

    def _take(self, block: Mapping[str, str]) -> None:
        if block.get("event") == "reset":
            detail = msgspec.json.decode(block["data"])["detail"]
            raise Failure(f"{detail} Nothing was written: export again, without --after.")
        if "data" in block:
            raw = block["data"].encode()
            row = msgspec.json.decode(raw, type=EventRow)
            if self.until is not None and row.received_at >= self.until:
                self._past_end = True
                self._done = row.received_at >= self.until + _DISORDER
            else:
                self.writer.write(raw, row)
                self.events += 1
                self.first_at, self.last_at = self.first_at or row.received_at, row.received_at
                self._show_progress()
        self._done = self._done or block.get("") == _END
        self.cursor = block.get("id", self.cursor)
        if not self._past_end:
            self.next_cursor = self.cursor

    def _show_progress(self) -> None:
        now = time.monotonic()
        if self.first_at is None or self.last_at is None or now - self._reported_at < _REPORT_S:
            return
        self._reported_at = now
        end = min(self.until or datetime.now(UTC), datetime.now(UTC))
        share = (self.last_at - self.first_at) / max(end - self.first_at, timedelta(microseconds=1))
        self.bar.to(min(99, int(100 * share)), f"{self.events} events, up to {shown(self.last_at.isoformat())}")


class _JsonLines:
    """One event on a line, as the API shows it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, raw: bytes, row: EventRow) -> None:  # noqa: ARG002 - Parquet needs the row
        self._file.write(raw)
        self._file.write(b"\n")


@contextmanager
def _open(file: Path, format: Format) -> Iterator[Writer]:
    if file == _STANDARD_OUTPUT:
        yield _JsonLines(sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    with replaced(file) as part:
        if format is Format.JSONL:
            with part.open("wb") as opened:
                yield _JsonLines(opened)
        else:
            try:
                from app.cli.parquet import open_parquet  # noqa: PLC0415 - an extra, slow to import
            except ModuleNotFoundError as error:
                raise Failure("Parquet requires pyarrow: pip install 'rescind[parquet]'.") from error
            with open_parquet(part) as writer:
                yield writer
