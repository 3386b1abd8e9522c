"""Whoever has proved nothing gets little: no memory, no connection for ever, no more of them than is his share."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from ipaddress import ip_network
from resource import RLIM_INFINITY
from typing import Any

import aiohttp
import pytest
from conftest import Start
from providers import until
from servers import ACCOUNT, BOOTSTRAP_KEY, ENDPOINT, TOKEN, Rescind, account_of, endpoint_of, webhook
from yarl import URL

from app.web.connections import address_of, connections_possible

MIB = 1 << 20
SIGNED = "signed-in"
UNPROVEN = 40


async def begin(start: Start, **settings: Any) -> Rescind:
    """A Rescind with an endpoint that takes a token, and one whose requests are signed."""
    started = await start(**settings)
    await started.put("accounts", ACCOUNT, account_of("http://127.0.0.1:9"))
    await started.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
    verify = {"scheme": "github", "secrets": [TOKEN]}
    await started.put("endpoints", SIGNED, {"account": ACCOUNT, "verify": verify})
    return started


class Stranger:
    """A connection whose every byte is said here."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, rescind: Rescind) -> Stranger:
        url = URL(rescind.url)
        return cls(*await asyncio.open_connection(url.host, url.port))

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def post(self, path: str, length: int, body: bytes, headers: str = "") -> None:
        """The head of a request with a body of that length, and as much of the body."""
        await self.say(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{headers}\r\n".encode() + body)

    async def status(self) -> int:
        """The status of the answer; 0: the connection was closed without one."""
        line = await self.reader.readline()
        return int(line.split()[1]) if line else 0

    async def closed(self) -> bytes:
        """What was said until the other side closed the connection."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""
        finally:
            self.writer.close()


async def held(rescind: Rescind, size: int) -> None:
    """Wait until the bodies held have exactly that size."""

    async def look() -> bool:
        return rescind.bodies.held == size

    await until(look, f"{size} bytes held")


async def alone(rescind: Rescind) -> None:
    """Close the connections of the test's own client, and wait until there are none."""
    await rescind.session.close()
    rescind.session = aiohttp.ClientSession()

    async def none_left() -> bool:
        return not rescind.server.connections

    await until(none_left, "no connection")


async def test_all_bodies_share_one_budget(start: Start) -> None:
    rescind = await begin(start, bodies_max=4 * MIB)
    strangers = [await Stranger.connect(rescind) for _ in range(UNPROVEN)]
    half = b"x" * (MIB // 2)
    for each in strangers[:8]:
        await each.post(f"/webhooks/{SIGNED}", MIB, half)
    await held(rescind, 4 * MIB)
    for each in strangers[8:]:
        await each.post(f"/webhooks/{SIGNED}", MIB, half)
        assert await each.status() == 503
        assert rescind.bodies.held <= 4 * MIB
        assert b"Retry-After" in await each.reader.readuntil(b"\r\n\r\n")
    # One that is turned away makes room for the others, who are served as ever and give back what they held.
    for n, each in enumerate(strangers[:8]):
        await each.say(half)
        assert await each.status() == (401 if n else 503)
    await held(rescind, 0)
    await rescind.tell("order.processed", "o-1")
    for each in strangers:
        each.writer.close()


async def test_a_body_counts_until_it_is_on_disk(start: Start) -> None:
    rescind = await begin(start, bodies_max=MIB)
    body = webhook("order.processed", "o-1", details="x" * 600_000)
    async with rescind.node.store.transaction():
        first = asyncio.create_task(rescind.hook(body))

        async def waits() -> bool:
            return rescind.bodies.held > 600_000

        await until(waits, "the first is held")
        reply = await rescind.hook(webhook("order.processed", "o-2", details="x" * 600_000))
        assert "RESCIND_BODIES_MAX" in reply.problem(503, "busy")["detail"]
        big = {"Authorization": f"Bearer {BOOTSTRAP_KEY}"}
        reply = await rescind.ask("POST", "/v1/apply", data=b"x" * 600_000, headers=big)
        reply.problem(503, "busy")
    assert (await first).status == 200
    assert rescind.bodies.held == 0


async def test_a_body_is_not_taken_in_before_the_proof_where_that_stands_in_the_head(start: Start) -> None:
    rescind = await begin(start)
    basic = {"account": ACCOUNT, "verify": {"scheme": "basic", "username": "u", "secrets": [TOKEN]}}
    await rescind.put("endpoints", "basic-in", basic)
    await rescind.put("endpoints", "own-in", {"account": ACCOUNT, "verify": {"secrets": [TOKEN]}})
    for path in (f"/webhooks/{ENDPOINT}?token=wrong", "/webhooks/basic-in", "/webhooks/own-in", "/v1/apply"):
        stranger = await Stranger.connect(rescind)
        await stranger.post(path, MIB, b"")
        # Nothing of the body was sent, and the answer is there.
        assert await stranger.status() == 401, path
        assert rescind.bodies.held == 0
        stranger.writer.close()
    good = await rescind.hook(webhook("order.processed", "o-1"), "own-in")
    assert good.json["status"] == "accepted"


async def test_a_body_that_does_not_come_is_not_waited_for(start: Start) -> None:
    rescind = await begin(start, body_timeout_s=0.05)
    strangers = [await Stranger.connect(rescind) for _ in range(UNPROVEN)]
    for n, each in enumerate(strangers):
        key = f"Authorization: Bearer {BOOTSTRAP_KEY}\r\n" if n % 2 else ""
        await each.post("/v1/apply" if n % 2 else f"/webhooks/{SIGNED}", MIB, b"{", key)
    for each in strangers:
        assert await each.status() == 400
    await held(rescind, 0)
    for each in strangers:
        each.writer.close()


@pytest.mark.parametrize("said", [b"", b"P", b"POST /webhooks/x HTTP/1.1\r\nHost: x\r\n"], ids=["none", "byte", "half"])
async def test_who_says_nothing_is_dropped(start: Start, said: bytes) -> None:
    rescind = await start(idle_timeout_s=0.05)
    strangers = [await Stranger.connect(rescind) for _ in range(UNPROVEN)]
    for each in strangers:
        with suppress(ConnectionError):
            await each.say(said)
    assert [await each.closed() for each in strangers] == [b""] * UNPROVEN


async def test_who_says_half_of_a_second_request_is_dropped(start: Start) -> None:
    rescind = await start(idle_timeout_s=2.0)
    stranger = await Stranger.connect(rescind)
    await stranger.say(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /heal")
    answer = await stranger.closed()
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.count(b"HTTP/1.1") == 1


async def test_an_address_has_its_share_of_connections(start: Start) -> None:
    rescind = await begin(start, connections_per_address=5, trusted_proxies="")
    await alone(rescind)
    strangers = [await Stranger.connect(rescind) for _ in range(9)]

    async def refused() -> bool:
        return len(rescind.server.connections) == 5

    await until(refused, "four are refused")
    answers = [await each.closed() for each in strangers[5:]]
    for answer in answers:
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 2" in answer
    for each in strangers[:5]:
        await each.say(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await each.closed()).startswith(b"HTTP/1.1 200")
    await alone(rescind)
    again = await Stranger.connect(rescind)
    await again.say(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert (await again.closed()).startswith(b"HTTP/1.1 200")


async def test_a_trusted_proxy_has_as_many_as_there_are_and_no_more(start: Start) -> None:
    rescind = await begin(start, connections_per_address=2, connections_max=12)
    await alone(rescind)
    strangers = [await Stranger.connect(rescind) for _ in range(16)]
    for each in strangers:
        await each.say(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answers = [(await each.closed())[9:12] for each in strangers]
    assert set(answers) <= {b"200", b"503", b""}
    assert answers.count(b"200") >= 12


async def test_who_does_not_take_his_answer_is_dropped(start: Start) -> None:
    rescind = await begin(start)
    stranger = await Stranger.connect(rescind)
    ask = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"

    async def stuck() -> bool:
        stranger.writer.write(ask)
        return any(each.transport.get_write_buffer_size() for each in rescind.server.connections if each.transport)

    await until(stuck, "an answer that is not taken")
    sizes: list[int] = []

    async def dropped() -> bool:
        rescind.server.end_stalled()
        sizes.append(len(rescind.server.connections))
        return not any(each.transport and each.transport.get_write_buffer_size() for each in rescind.server.connections)

    await until(dropped, "the connection's end")
    assert (await rescind.ask("GET", "/healthz", key=None)).status == 200
    stranger.writer.transport.abort()


def test_what_an_address_counts_as() -> None:
    trusted = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    for peer, known in (
        (("192.0.2.7", 1), ("192.0.2.7", False)),
        (("10.1.2.3", 1), ("10.1.2.3", True)),
        (("::ffff:10.1.2.3", 1, 0, 0), ("10.1.2.3", True)),
        (("2001:db8:1:2:3::4", 1, 0, 0), ("2001:db8:1:2::/64", False)),
        (("2001:db8:1:2:ffff::9", 1, 0, 0), ("2001:db8:1:2::/64", False)),
        (("fe80::1%eth0", 1, 0, 2), ("fe80::/64", False)),
        (("fd00::1", 1, 0, 0), ("fd00::/64", True)),
        (None, ("", False)),
    ):
        assert address_of(peer, trusted) == known


def test_connections_leave_files_for_everything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, wanted, possible in ((1024, 4096, 768), (1024, 100, 100), (64, 4096, 1), (RLIM_INFINITY, 4096, 4096)):
        monkeypatch.setattr("app.web.connections.resource.getrlimit", lambda _, limit=limit: (limit, limit))
        assert connections_possible(wanted) == possible
