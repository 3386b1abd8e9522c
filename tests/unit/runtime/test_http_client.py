from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable

import aiohttp
import pytest
import uvloop
from aiohttp.client_reqrep import ConnectionKey

from app.contract import Flow, HttpRequest, HttpResponse
from app.core.lane.unreachable import Unreachable
from app.kit.destinations import EVERYWHERE
from app.runtime.guard import PrivateAddressError
from app.runtime.http_client import (
    Conversation,
    Fence,
    _Departure,
    _literal_url,
    converse,
    explain,
    no_fence,
    open_session,
    unreachable,
)
from app.runtime.redaction import REDACTED


@pytest.mark.parametrize("id", ["..", ".", "%2e%2E", ".%2E", "%2E"])
def test_an_order_s_name_does_not_lead_elsewhere(id: str) -> None:
    with pytest.raises(aiohttp.InvalidURL, match="cannot be a part"):
        _literal_url(f"https://shop.example/orders/{id}/cancel")


def test_nor_does_it_where_the_host_is_spelled_in_other_letters() -> None:
    with pytest.raises(aiohttp.InvalidURL, match="cannot be a part"):
        _literal_url("https://b\u00fccher.example/orders/../cancel")


@pytest.mark.parametrize("id", ["a%2Fb", "a%2F..%2Fb", "...", "%C3%A9", "a%3Fb%23c", "a+b", "%25"])
def test_a_url_goes_out_as_it_was_spelled(id: str) -> None:
    assert str(_literal_url(f"https://shop.example/orders/{id}/cancel")) == f"https://shop.example/orders/{id}/cancel"


def test_what_holds_credentials_is_not_noted() -> None:
    conversation = Conversation()
    token = HttpRequest("POST", "https://x.example/token", {}, b"", repeatable=True, confidential=True)
    conversation.note(token, time.monotonic(), HttpResponse(200, {}, b'{"access_token":"t0k3n"}'))
    echoed = HttpRequest("POST", "https://x.example/cancel", {"Authorization": "Bearer t0k3n"})
    conversation.note(echoed, time.monotonic(), HttpResponse(401, {}, b'{"error":"t0k3n is no token"}'))
    assert [each["answer"] for each in conversation.exchanges] == [REDACTED, f'{{"error":"{REDACTED} is no token"}}']


def test_what_kept_a_call_from_the_provider_is_told() -> None:
    key = ConnectionKey("provider.example", 443, True, True, None, None, None)
    names = {
        Unreachable.NAME: aiohttp.ClientConnectorDNSError(key, socket.gaierror(socket.EAI_NONAME, "not known")),
        Unreachable.CONNECTION: aiohttp.ClientConnectorDNSError(key, socket.gaierror(socket.EAI_AGAIN, "try again")),
        Unreachable.CERTIFICATE: aiohttp.ClientConnectorCertificateError(key, ssl.SSLCertVerificationError("expired")),
        Unreachable.ADDRESS: PrivateAddressError("10.0.0.1 is in a private network"),
    }
    assert {reason: unreachable(error) for reason, error in names.items()} == {each: each for each in names}
    assert unreachable(aiohttp.ConnectionTimeoutError()) is Unreachable.CONNECTION
    refused = aiohttp.ClientConnectorError(key, ConnectionRefusedError(111, "refused"))
    assert unreachable(refused) is Unreachable.CONNECTION
    assert unreachable(aiohttp.ServerDisconnectedError()) is None, "it was connected"


def test_a_url_that_should_not_be_https_is_told() -> None:
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    client = ssl.create_default_context().wrap_bio(theirs, ours, server_hostname="provider.example")
    with pytest.raises(ssl.SSLError) as raised:
        client.do_handshake()
    key = ConnectionKey("provider.example", 80, True, True, None, None, None)
    said = explain(aiohttp.ClientConnectorSSLError(key, raised.value))
    assert said.startswith("no connection to provider.example:80: what listens there speaks no TLS")


async def test_bytes_of_a_response_that_is_no_http_are_not_told() -> None:
    """They may repeat the token of the request."""
    head = b"HTTP/1.1 200 OK\r\n"
    responses = (
        head + b"X-Echo Bearer t0k3n\r\n\r\n",
        b"t0k3n is nonsense\r\n\r\n",
        head + b"Content-Length: t0k3n\r\n\r\n",
        head + b"Transfer-Encoding: chunked\r\n\r\nt0k3n\r\n",
        head + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\nt0k3n\r\n",
    )
    waiting = list(responses)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(waiting.pop(0))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, open_session(EVERYWHERE) as session:
        for response in responses:
            with pytest.raises(aiohttp.ClientError) as raised:
                async with session.get(url, trace_request_ctx=_Departure(HttpRequest("GET", url), no_fence)) as reply:
                    await reply.read()
            told = explain(raised.value)
            assert "t0k3n" not in told, response
            assert told.startswith(("the response is no valid HTTP: ", "the response cannot be read: ")), told


@pytest.mark.parametrize("body", [b"", b"a body"])
@pytest.mark.parametrize("loops", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_the_first_byte_leaves_in_the_iteration_of_the_event_loop_in_which_the_fence_let_it(
    loops: Callable[[], asyncio.AbstractEventLoop], body: bytes
) -> None:
    """A process that is stopped later has sent it; one that is stopped earlier asks the fence when it goes on."""

    async def look() -> bytes:
        seen = asyncio.get_running_loop().create_future()
        with socket.create_server(("127.0.0.1", 0)) as server:

            def receive() -> None:
                accepted, _ = server.accept()
                with accepted:
                    # What was sent may take a moment; nothing is sent meanwhile, as this holds the event loop.
                    accepted.settimeout(10)
                    try:
                        seen.set_result(accepted.recv(1000))
                    except TimeoutError:
                        seen.set_result(b"")

            async def fence(_: HttpRequest, _waited: bool) -> None:
                asyncio.get_running_loop().call_soon(receive)

            request = HttpRequest("POST", f"http://127.0.0.1:{server.getsockname()[1]}/", {}, body)
            async with open_session(EVERYWHERE) as session, asyncio.TaskGroup() as tasks:
                sent = tasks.create_task(asyncio.wait_for(call(session, request, fence), 10))
                received: bytes = await seen
                sent.cancel()
        return received

    with asyncio.Runner(loop_factory=loops) as runner:
        assert runner.run(look()).endswith(b"\r\n\r\n" + body)


@pytest.mark.parametrize("body", [b"", b"a body"])
async def test_what_the_fence_refuses_sends_nothing_and_is_told_as_what_it_raised(body: bytes) -> None:
    class RefusedError(Exception):
        pass

    async def fence(_: HttpRequest, _waited: bool) -> None:
        raise RefusedError

    received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.set_result(await reader.read())
        writer.close()

    server = await asyncio.start_server(receive, "127.0.0.1", 0)
    request = HttpRequest("POST", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", {}, body)
    async with server, open_session(EVERYWHERE) as session:
        with pytest.raises(RefusedError):
            await call(session, request, fence)
        assert await received == b""


async def call(session: aiohttp.ClientSession, request: HttpRequest, fence: Fence) -> HttpResponse:
    def flow() -> Flow[HttpResponse]:
        return (yield request)

    async def permit(_: HttpRequest) -> None:
        pass

    return await converse(flow(), session, Conversation(), permit, fence)
