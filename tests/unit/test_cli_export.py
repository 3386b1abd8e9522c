"""An export of the log, where connections are lost and servers stop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.cli import export
from app.cli.event_rows import EventRow
from app.cli.failure import AwayError, Failure
from app.cli.files import replaced
from app.cli.progress import Progress

T0 = datetime(2026, 3, 2, tzinfo=UTC)
END = b": end\nid: g.99\n\n"
LOST = AwayError("The connection was lost.")


def event(number: int, minutes: float | None = None) -> bytes:
    at = (T0 + timedelta(minutes=number if minutes is None else minutes)).isoformat()
    body = {"id": f"evt_{number}", "account": "a", "order": "o", "type": "t", "source": "webhook"}
    data = msgspec.json.encode({**body, "occurred_at": at, "received_at": at, "facts": {}, "data": {}, "receipt": None})
    return b"id: g.%d\ndata: %b\n\n" % (number, data)


@dataclass
class Server:
    """What each connection sends: blocks, or an error in between."""

    connections: list[list[bytes | Exception]]
    resumed: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def stream(self, _path: str, _query: Any, headers: Mapping[str, str], _quiet_s: float) -> AsyncIterator[Any]:
        self.resumed.append(headers.get("Last-Event-ID", ""))
        parts = self.connections.pop(0)

        async def chunks() -> AsyncIterator[bytes]:
            for part in parts:
                if isinstance(part, Exception):
                    raise part
                yield part[:7]
                yield part[7:]

        yield chunks()


@dataclass
class Written:
    ids: list[str] = field(default_factory=list)

    def write(self, _raw: bytes, row: EventRow) -> None:
        self.ids.append(row.id)


async def run(server: Server, until: float | None = None) -> tuple[list[str], Any]:
    written = Written()
    end = None if until is None else T0 + timedelta(minutes=until)
    work = export._Export(server, {}, written, Progress("", None, quiet=True), end, "")  # type: ignore[arg-type]
    await work.run()
    return written.ids, work


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "RETRY_S", 0.0)


async def test_it_goes_on_after_the_last_event_until_the_log_ends():
    start = b"retry: 2000\nid: g.0\n\n"
    server = Server(
        [[start, event(1), event(2), LOST], [LOST], [event(3), b": heartbeat\nid: g.5\n\n"], [event(6), END]]
    )
    ids, work = await run(server)
    assert ids == ["evt_1", "evt_2", "evt_3", "evt_6"]
    assert server.resumed == ["", "g.2", "g.2", "g.5"], "also where a server that stops ended the stream"
    assert work.next_cursor == "g.99"


async def test_what_comes_after_the_end_is_left_to_the_next_export():
    late = [event(1), event(3, 5.0), event(4, 4.5), event(5, 6.5), event(6, 1.0)]
    ids, work = await run(Server([late]), until=5.0)
    assert ids == ["evt_1", "evt_4"], "one that was received earlier may stand behind"
    assert work.next_cursor == "g.1", "nothing is left out"


async def test_without_a_server_it_fails_at_once_and_later_when_patience_ends(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(AwayError):
        await run(Server([[LOST]]))
    monkeypatch.setattr(export, "OUTAGE_S", -1.0)
    with pytest.raises(AwayError):
        await run(Server([[event(1), LOST]]))


async def test_a_log_that_was_restored_is_not_mixed_with_the_former_one():
    reset = b'event: reset\nid: g.3\ndata: {"reason":"other_log","detail":"It was restored."}\n\n'
    with pytest.raises(Failure, match="Nothing was written"):
        await run(Server([[event(1), reset, event(2), END]]))


def names(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path):
    file = tmp_path / "events.jsonl"
    file.write_text("former")

    def interrupted() -> None:
        with replaced(file) as part:
            part.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (file.read_text(), names(tmp_path)) == ("former", ["events.jsonl"])
    with replaced(file) as part:
        part.write_text("whole")
        assert file.read_text() == "former"
    assert (file.read_text(), names(tmp_path)) == ("whole", ["events.jsonl"])
    with pytest.raises(Failure, match="cannot be written"), replaced(tmp_path / "none" / "x"):
        pass
