"""nginx and Caddy as shipped, before a server, through TLS: what they pass, what they refuse, and what they log."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import hmac
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp.abc import AbstractResolver, ResolveResult
from processes import lasting_port
from programs import DEPLOY, run
from providers import until
from proxies import HASTY_BODY_S, HOST, ORDINARY_S, Proxy, client_context, configured
from servers import (
    ACCOUNT,
    BOOTSTRAP_KEY,
    ENDPOINT,
    STREAM,
    TOKEN,
    Api,
    Reply,
    Server,
    account_of,
    endpoint_of,
    webhook,
)
from streams import Stream
from yarl import URL

from app.config.settings import Settings
from app.web.pulls import PullBody
from app.web.stream import HEARTBEAT_S

pytestmark = pytest.mark.asyncio(loop_scope="module")
NAMES = ("nginx", "caddy")
US, OTHER, STRANGER = "127.0.0.1", "127.0.0.2", "127.0.0.9"
"""Addresses of clients: us and another one from inside, and one that is not."""
HEADERS, SECRET = {"nginx": "X_Acme_Signature", "caddy": "X-Acme-Signature"}, "signing-secret-0123456789"
FORGED = {"X-Forwarded-For": "203.0.113.7", "Forwarded": "for=203.0.113.7", "X-Real-IP": "203.0.113.7"}
PATIENT = {"Expect": "100-continue"}
"""A client that sends its body when it may: else its connection may be reset before it reads the refusal."""
BODY_S = 5.0
BODY_MAX = Settings.model_fields["body_max"].default


class Behind(Server):
    """A server that trusts the proxies alone, whose clients are on loopback, too."""

    def _environment(self) -> dict[str, str]:
        return {
            **super()._environment(),
            "RESCIND_TRUSTED_PROXIES": f"{US}/32",
            "RESCIND_PUBLIC_URL": f"https://{HOST}",
            "RESCIND_AUTH_FAILURES_PER_MIN": "3",
            "RESCIND_BODY_TIMEOUT_S": str(BODY_S),
            # More than the proxies pass: with the same limit, either could be the first to refuse a body in pieces.
            "RESCIND_BODY_MAX": str(2 * BODY_MAX),
        }


@dataclass(frozen=True, slots=True)
class Setup:
    """A server, and both proxies before it."""

    server: Server
    proxies: dict[str, Proxy]

    @asynccontextmanager
    async def via(self, name: str, address: str = US) -> AsyncIterator[Api]:
        """A client at `address` that calls through the proxy `name`."""
        proxy = self.proxies[name]
        connector = aiohttp.TCPConnector(
            ssl=client_context(proxy.folder),
            local_addr=(address, 0),
            resolver=_Loopback(),
            family=socket.AF_INET,
            force_close=True,  # a proxy may end a connection after a refusal, just as the next request comes
        )
        async with aiohttp.ClientSession(connector=connector) as session:
            yield Api(proxy.url, session)

    @asynccontextmanager
    async def raw(self, name: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A connection to the proxy `name`."""
        proxy = self.proxies[name]
        context = client_context(proxy.folder)
        reader, writer = await asyncio.open_connection(US, proxy.https, ssl=context, server_hostname=HOST)
        with closing(writer):
            yield reader, writer


class _Loopback(AbstractResolver):
    """Finds every host on this machine."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host=US, port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        pass


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def setup(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Setup]:
    """Everything started."""
    folder = tmp_path_factory.mktemp("proxy")
    async with aiohttp.ClientSession() as session:
        server = Behind(folder, session)
        server.port = lasting_port()
        await server.start()
        await server.put("accounts", ACCOUNT, account_of("http://127.0.0.1:9"))
        await server.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
        for name, header in HEADERS.items():  # Caddy 2.11 drops those with an underscore
            verify = {"scheme": "hmac", "header": header, "secrets": [SECRET]}
            await server.put("endpoints", f"signed-{name}", {"account": ACCOUNT, "verify": verify})
        await server.put("subscriptions", "queue", {"events": ["cancellation.*"]})
        names = (*NAMES, *(f"hasty-{name}" for name in NAMES))
        made = Setup(server, {name: configured(name, folder / name, server.port) for name in names})
        with ExitStack() as stack:
            for proxy in made.proxies.values():
                stack.enter_context(proxy.running())
            for name in names:
                await until(lambda name=name: _answers(made, name), f"{name} to serve")
            yield made
        await server.stop()


async def _answers(setup: Setup, name: str) -> bool:
    try:
        async with setup.via(name) as api:
            return (await api.ask("GET", "/healthz")).status == 200
    except (aiohttp.ClientError, OSError):
        return False


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    """Each proxy in turn."""
    return str(request.param)


async def signed(api: Api, name: str, body: bytes, *, data: Any = None, headers: dict[str, str] | None = None) -> Reply:
    """Send a signed webhook."""
    signature = hmac.digest(SECRET.encode(), body, hashlib.sha256).hex()
    sent = {HEADERS[name]: signature, **(headers or {})}
    return await api.ask("POST", f"/webhooks/signed-{name}", data=data or body, key=None, headers=sent)


async def test_each_accepts_its_file(setup: Setup, tmp_path: Path) -> None:
    nginx = setup.proxies["nginx"]
    assert "successful" in run("nginx", "-t", "-p", nginx.folder, "-c", nginx.folder / "nginx.conf")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    run("caddy", "validate", "--adapter", "caddyfile", "--config", DEPLOY / "proxy" / "Caddyfile", env=environment)


async def test_a_signed_webhook_arrives_byte_for_byte(setup: Setup, name: str) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(odd), 1000):
            yield odd[at : at + 1000]

    odd = b'{"event":\r\n\t"\xc3\xa4\xff\x00", "n": 1.0e0 }\n' + bytes(range(256)) * 800
    packed = gzip.compress(b'{"event": "order.processed"}')
    async with setup.via(name) as api:
        for body, more in ((odd, {}), (odd, {"data": pieces()}), (packed, {"headers": {"Content-Encoding": "gzip"}})):
            reply = await signed(api, name, body, **more)
            assert reply.status in (200, 202), (reply, more)
            assert await setup.server.receipt_body(reply.json["receipt"]) == body
        (await signed(api, name, odd, data=odd[:-1])).problem(401, "unauthentic-webhook")


async def test_the_client_is_who_calls_the_proxy_whatever_it_says(setup: Setup, name: str) -> None:
    async with setup.via(name, STRANGER) as api:
        reply = await api.hook(webhook("order.processed", "o"), token="", headers=FORGED)
        reply.problem(401, "unauthentic-webhook")
    [refusal, *_] = (await setup.server.get(f"/v1/endpoints/{ENDPOINT}/refusals"))["data"]
    assert refusal["address"] == STRANGER

    # Nor does a client whose own address Rescind would trust speak for others.
    async with setup.via(name) as api:
        assert (await api.hook(webhook("order.processed", "o"), token="", headers=FORGED)).status == 401
    [refusal, *_] = (await setup.server.get(f"/v1/endpoints/{ENDPOINT}/refusals"))["data"]
    assert refusal["address"] == US

    place = f"from-{name}"
    await setup.server.put("endpoints", place, endpoint_of(ACCOUNT, allow_from=[f"{OTHER}/32"]))
    async with setup.via(name, OTHER) as api:
        assert (await api.hook(webhook("order.processed", f"o-{name}"), place, headers=FORGED)).status == 200
    async with setup.via(name, STRANGER) as api:
        forged = {"X-Forwarded-For": OTHER, "Forwarded": f"for={OTHER}"}
        reply = await api.hook(webhook("order.processed", "o"), place, headers=forged)
        assert STRANGER in reply.problem(403, "address-not-allowed")["detail"]


async def test_failures_count_by_the_clients_own_address(setup: Setup, name: str) -> None:
    guesser, neighbor = {"nginx": (OTHER, "127.0.0.3"), "caddy": ("127.0.0.3", US)}[name]
    async with setup.via(name, guesser) as api:
        for number in range(10):
            invented = {"X-Forwarded-For": f"203.0.113.{number}", "Forwarded": f"for=203.0.113.{number}"}
            reply = await api.ask("GET", "/v1/status", key="rk_wrong", headers=invented)
            if reply.status == 429:
                break
        assert reply.status == 429
        assert int(reply.headers["Retry-After"]) >= 1
        assert (await api.ask("GET", "/v1/status")).status == 200
    async with setup.via(name, neighbor) as api:
        reply = await api.ask("GET", "/v1/status", key="rk_wrong")
        assert reply.status == (401 if name == "nginx" or neighbor == US else 429)


INNER = (
    "/",
    "/v1/status",
    "/v1/events/stream",
    "/events/stream",
    "/orders",
    "/orders/x",
    "/docs",
    "/openapi.json",
    "/healthz",
    "/readyz",
    "/static/console.js",
    "/webhooks",
    f"/webhooks/../v1/status?{ENDPOINT}",
    "/v1/endpoints/..%2F..%2Fwebhooks%2Fx",
    "/v1/endpoints/..%2f..%2fapprovals%2fx",
    "/webhooks/..%2f..%2fv1%2fstatus",
    "/webhooks/x/../../v1/status",
    "/webhooks/./x",
    "//webhooks/x",
    "/%77ebhooks/x",
)


async def test_only_webhooks_and_approvals_are_open_to_everyone(setup: Setup, name: str) -> None:
    async with setup.via(name, STRANGER) as api:
        for path in (*INNER, "/metrics"):
            reply = await api.ask("GET", path)
            assert reply.status in (400, 403, 404), (path, reply)
            assert b"urn:rescind" not in reply.raw, (path, reply)
            assert "X-Request-Id" not in reply.headers, (path, reply)
        page = await api.ask("GET", "/approvals/gAAAAA-unknown_", key=None)
        assert (page.status, page.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
        assert b"link" in page.raw
        (await api.hook({}, "unknown")).problem(404, "not-found")
    async with setup.via(name) as api:
        for path in ("/v1/status", "/docs", "/openapi.json", "/healthz", "/sign-in"):
            reply = await api.ask("GET", path)
            assert reply.status == 200, (path, reply)
            assert reply.headers["Strict-Transport-Security"] == "max-age=31536000"
        assert (await setup.server.ask("GET", "/metrics")).status == 200
        assert (await api.ask("GET", "/metrics")).status == 404
        # The session's cookie is bound to HTTPS only if the server hears of it.
        async with api.session.post(f"{api.url}/sign-in", data={"key": BOOTSTRAP_KEY}, allow_redirects=False) as page:
            assert "Secure" in page.headers["Set-Cookie"]


async def test_what_is_too_large_is_refused(setup: Setup, name: str) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(BODY_MAX // 65536):
            yield b"x" * 65536
        yield b"x"  # the last: who refuses it has read everything, and its end of the connection resets nothing

    async with setup.via(name, STRANGER) as api:
        assert (await api.hook(b"x" * BODY_MAX)).status == 202
        path = f"/webhooks/{ENDPOINT}?token={TOKEN}"
        for data, headers in ((b"x" * (BODY_MAX + 1), PATIENT), (pieces(), {})):
            reply = await api.ask("POST", path, data=data, key=None, headers=headers)
            assert (reply.status, b"urn:rescind" in reply.raw) == (413, False)
        reply = await api.ask("POST", path, data=b"x", headers={"X-Long": "x" * 40_000})
        assert reply.status in (400, 431)


async def test_a_slow_body_holds_no_connection_of_rescind_for_long(setup: Setup, name: str) -> None:
    head = f"POST /webhooks/{ENDPOINT}?token={TOKEN} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\n\r\n{{".encode()
    async with setup.raw(name) as (reader, writer):
        writer.write(head)
        await writer.drain()
        if name == "caddy":
            # It passes on what it has: Rescind's own limit ends it. Caddy's answers when its own is over, too.
            assert b" 400 " in await reader.readline()
            return
        # Rescind's limit is over for the same request without a proxy; nginx has not called Rescind yet.
        assert (await setup.server.raw(head))[0] == 400
        writer.write(b"}")
        assert b" 202 " in await reader.readline()


async def test_a_stream_is_not_buffered_and_outlives_the_ordinary_limit(setup: Setup, name: str) -> None:
    headers = {"Authorization": f"Bearer {BOOTSTRAP_KEY}"}
    async with setup.via(f"hasty-{name}") as api, setup.via(f"hasty-{name}") as other:
        timeout = aiohttp.ClientTimeout(total=None)
        async with api.session.get(api.url + STREAM, headers=headers, timeout=timeout) as response:
            assert response.status == 200
            stream = Stream(response)
            assert (await stream.frame()) is not None
            # Meanwhile an ordinary response exceeds its limit, and the one for bodies passes.
            reply = await other.ask("POST", "/v1/subscriptions/queue/pull", {"wait_s": 30})
            assert reply.status in (502, 504)
            receipt = await setup.server.tell("order.processed", f"streamed-{name}")
            [event, *_] = await stream.take(1)
            assert event["receipt"] == receipt


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_tls_is_modern_and_for_this_host_alone(setup: Setup, name: str) -> None:
    proxy = setup.proxies[name]
    context = client_context(proxy.folder)
    context.set_alpn_protocols(["h2", "http/1.1"])
    _reader, writer = await asyncio.open_connection(US, proxy.https, ssl=context, server_hostname=HOST)
    session = writer.get_extra_info("ssl_object")
    assert (session.version(), session.selected_alpn_protocol()) == ("TLSv1.3", "h2")
    writer.close()
    with pytest.raises(ssl.SSLError, match=r"(?i)alert|unrecognized"):
        await asyncio.open_connection(US, proxy.https, ssl=context, server_hostname="other.example")
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection(US, proxy.https, ssl=context, server_hostname=HOST)
    async with aiohttp.ClientSession() as plain:
        url = URL(f"http://{US}:{proxy.http}/orders?a=b")
        async with plain.get(url, headers={"Host": HOST}, allow_redirects=False) as response:
            assert response.status == 308
            assert re.fullmatch(rf"https://{HOST}(:\d+)?/orders\?a=b", response.headers["Location"])


async def test_logs_have_no_secret_whatever_fails_and_a_restart_costs_no_request(setup: Setup, name: str) -> None:
    link = "gAAAAA-approval-link-token"
    secrets = (TOKEN, BOOTSTRAP_KEY, link, SECRET, "rk_wrong")
    async with setup.via(name) as api:

        async def call() -> set[int]:
            large = b"x" * (BODY_MAX + 1)
            path = f"/webhooks/{ENDPOINT}?token={TOKEN}"
            replies = [
                await api.hook({}),
                await api.ask("POST", path, data=large, headers={**PATIENT, "Referer": f"https://{HOST}{path}"}),
                await api.ask("GET", f"/approvals/{link}"),
                await api.ask("GET", "/v1/status"),
            ]
            return {reply.status for reply in replies}

        assert await call() == {202, 413, 404, 200}
        # Connections that are kept open end with the server; the next requests come before anyone has looked.
        await setup.server.kill()
        assert await call() == {502, 413}
        await setup.server.start()
        assert await call() == {202, 413, 404, 200}

        async def logged() -> bool:
            return setup.proxies[name].logs().count("/v1/status") >= 3

        await until(logged, "the log")
    text = setup.proxies[name].logs()
    assert f"/webhooks/{ENDPOINT}" in text
    assert not [secret for secret in secrets if secret in text]


async def test_limits_and_time_outs_fit_rescinds() -> None:
    """What is only right in relation to what Rescind does by default."""
    nginx, caddy = ((DEPLOY / "proxy" / file).read_text() for file in ("nginx.conf", "Caddyfile"))
    idle_s = Settings.model_fields["idle_timeout_s"].default
    wait_s = next(m.le for m in PullBody.model_fields["wait_s"].metadata if hasattr(m, "le"))
    upstream = re.search(r"upstream rescind \{.*?keepalive_timeout (\d+)s;", nginx, re.DOTALL)
    assert upstream is not None
    for kept_s in (int(upstream[1]), _seconds(caddy, r"\skeepalive")):
        assert kept_s <= idle_s - 10
    for response_s in (_seconds(nginx, "    proxy_read_timeout"), _seconds(caddy, "response_header_timeout")):
        assert response_s > 1.5 * wait_s
    streams = [int(minutes) * 60 for minutes in re.findall(r"proxy_read_timeout (\d+)m;", nginx)]
    assert streams
    assert min(streams) > 4 * HEARTBEAT_S
    assert f"client_max_body_size {BODY_MAX};" in nginx
    assert BODY_MAX == 1 << 20
    assert "max_size 1MiB" in caddy
    assert _seconds(nginx, "client_body_timeout") <= Settings.model_fields["body_timeout_s"].default
    # Were Caddy the first to end a slow body, it would answer 200 to a webhook that nobody has.
    assert _seconds(caddy, "read_body") > Settings.model_fields["body_timeout_s"].default + _seconds(
        caddy, "read_header"
    )
    assert "> 1048576" in caddy
    assert HASTY_BODY_S < ORDINARY_S < HEARTBEAT_S


def _seconds(text: str, name: str) -> int:
    match = re.search(rf"{name} (\d+)s", text)
    assert match is not None, name
    return int(match[1])
