"""Webhooks pass by the application's routes: what is spelled otherwise goes through them, and is answered alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from aiohttp.http import SERVER_SOFTWARE
from conftest import Start
from servers import ACCOUNT, ENDPOINT, TOKEN, Rescind, account_of, endpoint_of, webhook
from yarl import URL

PATH = f"/webhooks/{ENDPOINT}"
TO = f"{PATH}?token={TOKEN}"
Head = tuple[str, dict[str, str]]


@asynccontextmanager
async def connected(rescind: Rescind) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    url = URL(rescind.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    yield reader, writer
    writer.close()
    await writer.wait_closed()


def post(target: str, order: str, *lines: str, version: str = "1.1") -> bytes:
    body = msgspec.json.encode(webhook("order.processed", order))
    head = [f"POST {target} HTTP/{version}", "Host: x", *lines, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(head).encode() + body


async def response(reader: asyncio.StreamReader) -> tuple[Head, bytes]:
    """((status line, headers), body) of the next response."""
    status_line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return (status_line, headers), await reader.readexactly(int(headers.get("Content-Length", "0")))


def without_date(head: Head) -> Head:
    return head[0], {name: value for name, value in head[1].items() if name != "Date"}


async def test_each_spelling_of_an_endpoint_s_path_is_served_and_recorded_alike(rescind: Rescind) -> None:
    host = URL(rescind.url).authority
    spellings = (PATH, f"http://{host}{PATH}", f"/webhooks/{ENDPOINT.replace('-', '%2D')}", f"{PATH}?a=%2F", PATH + "?")
    async with connected(rescind) as (reader, writer):
        for number, target in enumerate(spellings):
            writer.write(post(target, f"o-{number}", f"Authorization: Bearer {TOKEN}"))
            head, body = await response(reader)
            assert head[0] == "HTTP/1.1 200 OK", target
            receipt = await rescind.get(f"/v1/receipts/{msgspec.json.decode(body)['receipt']}")
            assert (receipt["endpoint"], receipt["status"]) == (ENDPOINT, "accepted"), target
        for target in (f"{PATH}/", f"/{TO}", f"/webhooks/x/../{ENDPOINT}", "/webhooks/", PATH.upper(), f"{PATH}%00"):
            writer.write(post(target, "o-none", f"Authorization: Bearer {TOKEN}"))
            head, body = await response(reader)
            assert (head[0], msgspec.json.decode(body)["status"]) == ("HTTP/1.1 404 Not Found", 404), target
    assert len(await rescind.pages("/v1/receipts", 100)) == len(spellings)


async def test_a_sender_that_expects_100_continue_gets_it(rescind: Rescind) -> None:
    async with connected(rescind) as (reader, writer):
        head, separator, body = post(TO, "o-1", "Expect: 100-continue").partition(b"\r\n\r\n")
        writer.write(head + separator)
        assert (await response(reader))[0][0] == "HTTP/1.1 100 Continue"
        writer.write(body)
        assert (await response(reader))[0][0] == "HTTP/1.1 200 OK"


async def test_requests_on_one_connection_are_answered_in_their_order(rescind: Rescind) -> None:
    async with connected(rescind) as (reader, writer):
        orders = [f"o-{number}" for number in range(5)]
        writer.write(b"".join(post(TO, order) for order in orders) + b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        receipts = [msgspec.json.decode((await response(reader))[1])["receipt"] for _ in orders]
        assert (await response(reader))[0][0] == "HTTP/1.1 200 OK"
    events = (await rescind.get(f"/v1/events?account={ACCOUNT}&limit=10"))["data"]
    assert {event["order"]: event["receipt"] for event in events} == dict(zip(orders, receipts, strict=True))


async def test_the_head_of_a_response_is_the_framework_s_own(rescind: Rescind) -> None:
    always = {"Content-Type": "application/json", "Server": SERVER_SOFTWARE}
    async with connected(rescind) as (reader, writer):
        writer.write(post(TO, "o-1") * 2 + post(TO, "o-2", "Connection: close"))
        for close in (False, False, True):
            (status_line, headers), body = await response(reader)
            at = headers.pop("Date")
            assert at.endswith(" GMT")
            connection = {"Connection": "close"} if close else {}
            assert (status_line, headers) == (
                "HTTP/1.1 200 OK",
                {**always, "Content-Length": str(len(body)), **connection},
            )
        assert await reader.read() == b"", "closed, as it was asked to be"
    for line, kept in (("Connection: keep-alive", True), ("X: y", False)):
        async with connected(rescind) as (reader, writer):
            writer.write(post(TO, "o-1", line, version="1.0"))
            head, body = await response(reader)
            connection = {"Connection": "keep-alive"} if kept else {}
            expected = {**always, "Content-Length": str(len(body)), **connection}
            assert without_date(head) == ("HTTP/1.0 200 OK", expected)
            if not kept:
                assert await reader.read() == b""


async def test_what_is_refused_on_the_short_way_is_a_problem(rescind: Rescind) -> None:
    async with connected(rescind) as (reader, writer):
        for target, status in ((PATH, 401), (f"{PATH}?token=wrong", 401), (TO, 200)):
            writer.write(post(target, "o-1"))
            (status_line, headers), body = await response(reader)
            assert int(status_line.split()[1]) == status
            if status != 200:
                assert headers["Content-Type"] == "application/problem+json"
                assert msgspec.json.decode(body)["type"] == "urn:rescind:problem:unauthentic-webhook"
    await rescind.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT, enabled=False))
    (await rescind.ask("POST", TO, key=None, data=b"{}")).problem(404, "not-found")
    await rescind.ask("DELETE", f"/v1/endpoints/{ENDPOINT}")
    (await rescind.ask("POST", TO, key=None, data=b"{}")).problem(404, "not-found")


async def test_a_server_that_drains_closes_the_connection_of_each_webhook(start: Start) -> None:
    rescind: Rescind = await start()
    await rescind.put("accounts", ACCOUNT, account_of("http://127.0.0.1:1"))
    await rescind.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
    async with connected(rescind) as (reader, writer):
        writer.write(post(TO, "o-1"))
        assert "Connection" not in (await response(reader))[0][1]
        rescind._runner.drain()
        writer.write(post(TO, "o-2"))
        (status_line, headers), _ = await response(reader)
        assert (status_line, headers["Connection"]) == ("HTTP/1.1 200 OK", "close")
        assert await reader.read() == b""
