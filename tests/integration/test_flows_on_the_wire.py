"""Flows over real connections: what is lost, what was never sent, and what is asked before each call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator
from dataclasses import dataclass, field
from ipaddress import ip_network

import aiohttp
import pytest

from app.contract import HttpRequest, HttpResponse
from app.runtime.http_client import CallFailedError, Conversation, converse, open_session

OK = b"HTTP/1.1 200 OK\r\nX-Left: 7\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Wire:
    """A server that answers with bytes as they are, and then closes the connection."""

    answers: list[bytes] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    url: str = ""
    connected: asyncio.Event = field(default_factory=asyncio.Event)
    bytes_seen: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connected.set()
        try:
            first = await reader.read(1)
            self.bytes_seen += len(first)
            if not first:
                return
            head = first + await reader.readuntil(b"\r\n\r\n")
            self.seen.append(head.partition(b" HTTP")[0].decode())
            self.heads.append(head.decode().lower())
            writer.write(self.answers.pop(0) if self.answers else b"")
            await writer.drain()
        finally:
            writer.close()


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    wire = Wire()
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    wire.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield wire
    server.close()
    await server.wait_closed()


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    session = open_session((ip_network("127.0.0.0/8"),))
    yield session
    await session.close()


Flow = Generator[HttpRequest, HttpResponse, list[int]]


async def passes(_: HttpRequest) -> None:
    """Let every call pass."""


def flow(*requests: HttpRequest) -> Flow:
    answers = []
    for request in requests:
        answer = yield request
        answers.append(answer.status)
    return answers


@pytest.mark.parametrize(("repeatable", "lost"), [(False, True), (True, False)])
@pytest.mark.parametrize("answer", [b"", OK[:-1], b"HTTP/1.1 200 OK\r\n", b"nonsense\r\n\r\n"])
async def test_without_a_complete_answer_only_what_may_be_repeated_is_not_lost(
    wire: Wire, client: aiohttp.ClientSession, answer: bytes, repeatable: bool, lost: bool
) -> None:
    wire.answers, conversation = [answer], Conversation()
    request = HttpRequest("POST", f"{wire.url}/cancel", body=b"{}", repeatable=repeatable)
    with pytest.raises(CallFailedError) as failure:
        await converse(flow(request), client, conversation, passes)
    assert failure.value.may_have_applied is lost
    assert wire.seen == ["POST /cancel"], "it is sent once"
    assert ["error" in each for each in conversation.exchanges] == [True]


async def test_what_found_nobody_was_not_sent(wire: Wire, client: aiohttp.ClientSession) -> None:
    for url in ("http://127.0.0.1:1/cancel", "http://10.255.255.1/cancel", f"{wire.url}/orders/../cancel"):
        with pytest.raises(CallFailedError) as failure:
            await converse(flow(HttpRequest("POST", url)), client, Conversation(), passes)
        assert failure.value.may_have_applied is False, url
    assert wire.seen == []


async def test_leave_is_asked_before_each_call_and_a_refusal_closes_the_flow(
    wire: Wire, client: aiohttp.ClientSession
) -> None:
    wire.answers = [OK, OK]
    asked: list[str] = []
    closed: list[bool] = []

    async def once(request: HttpRequest) -> None:
        asked.append(f"{request.method} after {len(wire.seen)}")
        if len(asked) == 2:
            raise LookupError

    def watched() -> Flow:
        try:
            return (yield from flow(HttpRequest("GET", f"{wire.url}/token"), HttpRequest("POST", f"{wire.url}/cancel")))
        finally:
            closed.append(True)

    conversation = Conversation()
    with pytest.raises(LookupError):
        await converse(watched(), client, conversation, once)
    assert (asked, closed) == (["GET after 0", "POST after 1"], [True])
    assert (wire.seen, len(conversation.exchanges)) == (["GET /token"], 1)


@pytest.mark.parametrize("body", [b"", b"{}", b"x" * 200_000])
async def test_the_fence_stands_between_the_connection_and_the_first_byte(
    wire: Wire, client: aiohttp.ClientSession, body: bytes
) -> None:
    """aiohttp's trace hook is called where it must be: before anything is written, and able to stop it."""
    asked: list[tuple[str, bool]] = []

    async def fence(request: HttpRequest, waited: bool) -> None:
        await wire.connected.wait()
        asked.append((request.method, waited))
        assert wire.bytes_seen == 0
        raise LookupError

    request, conversation = HttpRequest("POST", f"{wire.url}/cancel", body=body), Conversation()
    with pytest.raises(LookupError):
        await converse(flow(request), client, conversation, passes, fence)
    assert (asked, conversation.exchanges) == ([("POST", True)], [])
    connector = client.connector
    assert connector is not None
    assert not connector._acquired, "the connection is given back"
    wire.answers = [OK]
    assert await converse(flow(HttpRequest("GET", f"{wire.url}/next")), client, conversation, passes) == [200]
    assert wire.seen == ["GET /next"], "nothing of the call that was stopped"


async def test_a_time_out_before_the_first_byte_has_lost_nothing(wire: Wire, client: aiohttp.ClientSession) -> None:
    async def never(_request: HttpRequest, _waited: bool) -> None:
        await asyncio.Event().wait()

    request = HttpRequest("POST", f"{wire.url}/cancel", timeout_s=0.05)
    with pytest.raises(CallFailedError) as failure:
        await converse(flow(request), client, Conversation(), passes, never)
    assert failure.value.may_have_applied is False
    assert wire.seen == []


async def test_a_redirect_is_an_answer_and_names_of_headers_are_lower_case(
    wire: Wire, client: aiohttp.ClientSession
) -> None:
    moved = b"HTTP/1.1 307 Moved\r\nLocation: /elsewhere\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    wire.answers = [moved, OK]
    answers: list[HttpResponse] = []

    def both() -> Generator[HttpRequest, HttpResponse, None]:
        for _ in range(2):
            answer = yield HttpRequest("POST", f"{wire.url}/cancel?key=s3cret", body=b"{}")
            answers.append(answer)

    conversation = Conversation()
    await converse(both(), client, conversation, passes)
    assert [each.status for each in answers] == [307, 200]
    assert (answers[0].headers["location"], answers[1].headers["x-left"]) == ("/elsewhere", "7")
    assert wire.seen == ["POST /cancel?key=s3cret"] * 2
    assert "s3cret" not in str(conversation.exchanges)


async def test_a_call_without_a_body_says_nothing_of_one(wire: Wire, client: aiohttp.ClientSession) -> None:
    def flow() -> Generator[HttpRequest, HttpResponse, None]:
        for method in ("POST", "PUT", "PATCH", "DELETE", "GET"):
            yield HttpRequest(method, wire.url)
        yield HttpRequest("POST", wire.url, {"Content-Type": "text/xml"}, b"<x/>")

    async def permit(_: HttpRequest) -> None:
        pass

    wire.answers = [OK] * 6
    await converse(flow(), client, Conversation(), permit)
    assert ["content-type" in head for head in wire.heads] == [False] * 5 + [True]
