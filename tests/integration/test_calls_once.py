"""A call is made once: no part below repeats it unseen when a connection breaks."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from ipaddress import ip_network

import pytest

from app.contract import Flow, HttpRequest
from app.runtime.http_client import CallFailedError, Conversation, converse, open_session


@pytest.mark.parametrize("method", ["DELETE", "PUT", "GET", "POST"])
async def test_a_connection_that_breaks_makes_no_second_call(method: str) -> None:
    seen: list[str] = []

    async def answer_the_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                seen.append(head.split(b" ")[0].decode())
                if len(seen) > 1:
                    break
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    async def permit(_: HttpRequest) -> None:
        return None

    def flow(url: str) -> Flow[None]:
        yield HttpRequest("GET", f"{url}/first", repeatable=True)
        yield HttpRequest(method, f"{url}/orders/1")

    server = await asyncio.start_server(answer_the_first, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    session, conversation = open_session((ip_network("127.0.0.0/8"),)), Conversation()
    with pytest.raises(CallFailedError):
        await converse(flow(url), session, conversation, permit)
    await session.close()
    server.close()
    assert seen == ["GET", method], "a repeat that no fence, probe or limit has seen"
    assert len(conversation.exchanges) == 2
