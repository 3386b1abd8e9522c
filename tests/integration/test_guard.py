"""Nothing that leaves on a user's word reaches a private network: real sockets, and a server that listens there."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from conftest import Start
from providers import WAIT_S, until

from app.contract import Flow, HttpRequest, HttpResponse
from app.runtime.http_client import CallFailedError, Conversation, converse, open_session
from app.runtime.http_server import EndingRunner
from app.runtime.outgoing import OutgoingHttp, SendFailedError

EVERYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))
NEIGHBOR = (ip_network("127.0.0.2/32"),)
"""An address on which the tests' other server listens: it stands for a public one."""
LITERALS = (
    *("127.0.0.1", "127.1", "127.0.1", "0", "0.0.0.0", "2130706433", "0x7f000001", "0X7F000001", "017700000001"),  # noqa: S104
    *("0x7f.0x0.0x0.0x1", "0177.0.0.01", "0177.1", "0x7f.1", "127.0.0.1.", "127.0.0.1..", "127.0.0.0x1"),
    *("[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "[::127.0.0.1]"),
    *(
        "[0000:0000:0000:0000:0000:0000:0000:0001]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1%25lo]",
        "[::1%25lo]",
    ),
    *("\uff11\uff12\uff17.0.0.1", "127\u30020\u30020\u30021", "\u2460\u2461\u2466.\u24ea.\u24ea.\u2460"),
    *("127\uff0e0\uff0e0\uff0e1", "user@127.0.0.1", "user:pass@127.0.0.1", "example.com@127.0.0.1", "127.0.0.1%2e"),
    *("%31%32%37.0.0.1", "10.0.0.1", "192.168.0.1", "172.16.0.1", "169.254.169.254", "[fd00:ec2::254]"),
    *("100.100.100.200", "168.63.129.16", "[fe80::a9fe:a9fe]", "192.0.0.192"),
)
NAMES = (
    *("localhost", "LOCALHOST", "localhost.", "\u24dbocalhost", "app.localhost", "localhost.localdomain"),
    *(
        "loopback.example.com",
        "LOOPBACK.example.com.",
        "127.0.0.1.nip.example",
        "127-0-0-1.example",
        "xn--bcher-kva.example",
    ),
    *(
        "metadata.google.internal",
        "b\u00fccher.example",
        "kubernetes.default.svc",
        "mapped.example",
        "private-first.example",
    ),
)


class Listener:
    """A server on one address that counts what reaches it."""

    def __init__(self, address: str) -> None:
        self.address, self.port, self.connections = address, 0, 0
        self.paths: list[str] = []
        self.headers: dict[str, str] = {}
        self.body = b"ok"

    async def start(self, port: int = 0) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = EndingRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.address, port).start()
        self.port = self._runner.addresses[0][1]

    async def _serve(self, request: web.Request) -> web.Response:
        self.paths.append(request.path)
        status = 302 if "Location" in self.headers else 200
        return web.Response(status=status, headers=self.headers, body=self.body)

    async def stop(self) -> None:
        await self._runner.cleanup()


@pytest_asyncio.fixture
async def private() -> AsyncIterator[Listener]:
    listener = Listener("127.0.0.1")
    await listener.start()
    yield listener
    await listener.stop()


@pytest_asyncio.fixture
async def neighbor(private: Listener) -> AsyncIterator[Listener]:
    listener = Listener("127.0.0.2")
    await listener.start(private.port)
    yield listener
    await listener.stop()


def resolve_to(monkeypatch: pytest.MonkeyPatch, answer: Callable[[str], list[str]]) -> list[str]:
    """Let the system's resolver answer by `answer`. Returns the names that were looked up."""
    looked_up, system = [], socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *_args: Any, **_options: Any) -> list[Any]:
        looked_up.append(host)
        return [info for address in answer(host) for info in system(address, port, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return looked_up


async def send(url: str, allow: tuple[Any, ...], timeout_s: float = 0.5) -> None:
    """Send as deliveries do."""
    http = OutgoingHttp(allow)
    try:
        with suppress(SendFailedError):
            await http.send("POST", url, {}, b"{}", timeout_s=timeout_s)
    finally:
        await http.close()


async def call(url: str, allow: tuple[Any, ...], timeout_s: float = 0.5) -> None:
    """Send as handlers do."""

    def flow() -> Flow[HttpResponse]:
        response = yield HttpRequest("POST", url, {}, b"{}", timeout_s=timeout_s)
        return response

    async def permit(_request: HttpRequest) -> None:
        return None

    async with open_session(allow) as session:
        with suppress(CallFailedError):
            await converse(flow(), session, Conversation(), permit)


@pytest.mark.parametrize("way", [send, call])
async def test_no_spelling_of_a_private_address_is_reached(
    way: Callable[..., Any], private: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{private.port}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{private.port}")
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{private.port}")
    answers = {"mapped.example": ["::ffff:127.0.0.1"], "private-first.example": ["127.0.0.1", "127.0.0.2"]}
    resolve_to(monkeypatch, lambda host: answers.get(host, ["127.0.0.1"]))
    urls = [f"http://{host}:{private.port}/{number}" for number, host in enumerate((*LITERALS, *NAMES))]
    assert len(urls) >= 60
    await asyncio.gather(*(way(url, NEIGHBOR, timeout_s=WAIT_S) for url in urls))  # a refusal ends by itself
    assert private.paths == []
    # Without the guard the same requests do arrive. Those to other networks never end by themselves.
    asking = [asyncio.create_task(way(url, EVERYWHERE, timeout_s=2 * WAIT_S)) for url in urls]

    async def arrived() -> bool:
        return len(set(private.paths)) >= 20

    await until(arrived, "20 requests at the private address")
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)


async def test_a_name_is_connected_to_where_it_was_checked(
    private: Listener, neighbor: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([["127.0.0.2"], ["127.0.0.1"], ["127.0.0.2", "127.0.0.1"]])
    looked_up = resolve_to(monkeypatch, lambda _host: next(answers))
    url = f"http://rebinds.example:{private.port}/"
    http = OutgoingHttp(NEIGHBOR)
    reply = await http.send("POST", url, {"Connection": "close"}, b"{}", timeout_s=WAIT_S)
    assert (reply.status, looked_up, len(neighbor.paths)) == (200, ["rebinds.example"], 1), "one look-up, and no second"
    http._session.connector.clear_dns_cache()
    with pytest.raises(SendFailedError, match=r"127\.0\.0\.1 is in a private network"):
        await http.send("POST", url, {"Connection": "close"}, b"{}", timeout_s=WAIT_S)
    http._session.connector.clear_dns_cache()
    await neighbor.stop()
    with pytest.raises(SendFailedError):  # The allowed address does not answer: the other one is not tried instead.
        await http.send("POST", url, {"Connection": "close"}, b"{}", timeout_s=WAIT_S)
    await neighbor.start(private.port)
    assert (len(looked_up), private.paths) == (3, [])
    await http.close()


async def test_a_redirect_is_a_response_and_not_followed(private: Listener, neighbor: Listener) -> None:
    neighbor.headers = {"Location": f"http://127.0.0.1:{private.port}/elsewhere"}
    http = OutgoingHttp(EVERYWHERE)
    for method in ("POST", "GET"):
        reply = await http.send(method, f"http://127.0.0.2:{neighbor.port}/", {}, b"", timeout_s=WAIT_S)
        assert (reply.status, reply.headers["location"]) == (302, neighbor.headers["Location"])
    assert private.paths == []
    await http.close()


async def test_no_more_of_a_response_is_read_than_asked_for(neighbor: Listener) -> None:
    neighbor.body = b"x" * 50_000_000
    http = OutgoingHttp(NEIGHBOR)
    reply = await http.send("POST", f"http://127.0.0.2:{neighbor.port}/", {}, b"", timeout_s=WAIT_S, keep=100)
    assert (reply.body, reply.truncated) == (b"x" * 100, True)
    neighbor.body = b"x" * 100
    reply = await http.send("POST", f"http://127.0.0.2:{neighbor.port}/", {}, b"", timeout_s=WAIT_S, keep=100)
    assert (reply.body, reply.truncated) == (b"x" * 100, False)
    await http.close()


async def test_a_failure_does_not_repeat_the_url(neighbor: Listener) -> None:
    await neighbor.stop()
    http = OutgoingHttp(NEIGHBOR)
    for url in (
        "http://127.0.0.2:{}/t0k3n?t0k3n",
        "http://127.0.0.1:{}/t0k3n",
        "http://[::1:{}/t0k3n",
        "http://a..b/t0k3n",
    ):
        with pytest.raises(SendFailedError) as raised:
            await http.send("POST", url.format(neighbor.port), {}, b"", timeout_s=WAIT_S)
        assert "t0k3n" not in str(raised.value), url
    await neighbor.start()
    await http.close()


def test_nothing_else_in_the_server_makes_connections() -> None:
    """What leaves the server goes through one of the two guarded clients."""
    app = Path(__file__).resolve().parents[2] / "app"
    opening = re.compile(
        r"\b(ClientSession|TCPConnector|create_connection|open_connection|urlopen|SMTP)\(|aiosmtplib\.send\("
    )
    found = {
        str(file.relative_to(app))
        for folder in ("config", "core", "engine", "kit", "runtime", "store", "web", "workers", "node.py", "serve.py")
        for file in ((app / folder).rglob("*.py") if (app / folder).is_dir() else [app / folder])
        if opening.search(file.read_text(encoding="utf-8"))
    }
    # The sample sender calls this very server, at RESCIND_PUBLIC_URL; the mail server is a setting, and no user's word;
    # the metrics of other workers come through sockets in a private folder.
    its_own = {"workers/sample_sender.py", "runtime/mail.py", "web/worker_metrics.py"}
    assert found == {"runtime/guard.py", "runtime/http_client.py", *its_own}


async def test_a_subscription_to_a_private_address_is_refused_when_it_is_saved(start: Start) -> None:
    rescind = await start(allow_networks="127.0.0.2/32")
    for url in (
        "http://127.0.0.1/hooks",
        "http://2130706433/",
        "https://localhost/",
        "http://[::1]/",
        "http://169.254.169.254/",
    ):
        reply = await rescind.ask("PUT", "/v1/subscriptions/crm", {"url": url})
        problem = reply.problem(422, "invalid-request")
        expected = "write the address as 127.0.0.1" if "2130706433" in url else "RESCIND_ALLOW_NETWORKS"
        assert expected in problem["detail"], url
        assert problem["errors"][0]["path"] == ["url"]
    for url in ("http://127.0.0.2:9/hooks", "https://crm.example.com/hooks", "http://8.8.8.8/"):
        assert (await rescind.ask("PUT", "/v1/subscriptions/crm", {"url": url})).status in (200, 201), url
