"""Challenges on the wire: what a sender gets, what a stranger gets, and that nothing of it is recorded."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import random
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from aiohttp import web
from integration.test_fence_connecting import certify
from prometheus_client import REGISTRY
from providers import until
from servers import TOKEN, Reply, Rescind
from unit.generic.test_challenges import ODD, SECRETS, SNS_URL, SOURCES

from app.contract import HandshakeResponse, InboundRequest
from app.runtime.http_server import EndingRunner
from app.web import rate_limits
from app.web.handshakes import BODY_MAX
from app.workers import confirmations
from app.workers.confirmations import Confirmation, Confirmations
from handlers import generic

SHOP, HOOK = "shop", "shop-in"
PUBLIC = "https://hooks.example.com"
CONFIG: dict[str, Any] = {
    "base_url": "https://api.example.com",
    "secrets": SECRETS,
    "fields": {"order": "id", "status": "status", "event": "event"},
    "phases": {"placed": "open", "gone": "canceled"},
    "cancel": "none",
}
KEY = "signing-key-of-the-shop"
SIGNED = {"scheme": "hmac", "secrets": [KEY], "header": "X-Signature"}


@pytest.fixture
async def shop(start: Any) -> Rescind:
    rescind: Rescind = await start(public_url=PUBLIC)
    return rescind


async def configure(rescind: Rescind, *challenges: Any, **verify: Any) -> None:
    await rescind.put("accounts", SHOP, {"provider": "generic", "config": {**CONFIG, "challenges": list(challenges)}})
    await rescind.put("endpoints", HOOK, {"account": SHOP, "verify": verify or SIGNED})


async def ask(rescind: Rescind, query: str, method: str = "GET", **headers: str) -> Reply:
    return await rescind.ask(method, f"/webhooks/{HOOK}?{query}", key=None, headers=headers)


async def post(rescind: Rescind, body: Any, *, signed: bool = True, kind: str = "application/json") -> Reply:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    headers = {"Content-Type": kind}
    if signed:
        headers["X-Signature"] = hmac.new(KEY.encode(), raw, hashlib.sha256).hexdigest()
    return await rescind.ask("POST", f"/webhooks/{HOOK}", data=raw, key=None, headers=headers)


async def recorded(rescind: Rescind) -> int:
    return len((await rescind.get("/v1/receipts"))["data"])


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, {"endpoint": HOOK, **labels}) or 0.0


async def test_a_get_is_answered_as_the_source_documents(shop: Rescind) -> None:
    await configure(shop, *SOURCES["ebay"], *SOURCES["meta"], *SOURCES["dropbox"])
    before = count("rescind_webhook_handshakes_total", method="GET", status="200")
    reply = await ask(shop, "challenge_code=a1b2")
    text = f"a1b2{SECRETS['verification_token']}{PUBLIC}/webhooks/{HOOK}"
    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/json")
    assert reply.json == {"challengeResponse": hashlib.sha256(text.encode()).hexdigest()}
    reply = await ask(shop, "hub.mode=subscribe&hub.challenge=115&hub.verify_token=meta-1")
    assert (reply.status, reply.raw) == (200, b"115")
    assert (await ask(shop, "hub.mode=subscribe&hub.challenge=115&hub.verify_token=meta-2")).status == 403
    none = await ask(shop, "other=1")
    none.problem(405, "method-not-allowed")
    assert none.headers["Allow"] == "GET,HEAD,OPTIONS,POST"
    assert (await ask(shop, "", "OPTIONS")).headers["Allow"] == "GET, HEAD, OPTIONS, POST"
    (await ask(shop, "hub.mode=subscribe", "POST")).problem(401, "unauthentic-webhook")
    reply = await ask(shop, "challenge=x", "HEAD")
    assert (reply.status, reply.raw) == (200, b"")
    assert count("rescind_webhook_handshakes_total", method="GET", status="200") == before + 2
    (await shop.ask("GET", "/webhooks/nobody?challenge=x", key=None)).problem(404, "not-found")
    await shop.ask("POST", f"/v1/endpoints/{HOOK}/disable")
    (await ask(shop, "challenge=x")).problem(404, "not-found")
    assert await recorded(shop) == 0
    await configure(shop, SOURCES["zoom"][0])
    await shop.ask("POST", f"/v1/endpoints/{HOOK}/enable")
    none = await ask(shop, "challenge=x")
    assert (none.status, none.headers["Allow"]) == (405, "OPTIONS,POST")


async def test_no_response_is_rendered_or_sets_anything(shop: Rescind) -> None:
    await configure(
        shop,
        {
            "when": "has(request.query.h)",
            "headers": {"X-Echo": "{{ request.query.h }}"},
            "body": "{{ request.query.h }}",
        },
        *SOURCES["dropbox"],
    )
    script = "<script>alert(1)</script>"
    reply = await ask(shop, f"challenge={quote(script)}", Accept="text/html")
    assert reply.raw.decode() == script
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert (reply.headers["X-Content-Type-Options"], reply.headers["Cache-Control"]) == ("nosniff", "no-store")
    assert (await ask(shop, "h=plain")).headers["X-Echo"] == "plain"
    for broken in ("a\r\nSet-Cookie: b=c", "a\nb", "é", "\x7f"):
        reply = await ask(shop, f"h={quote(broken)}")
        reply.problem(400, "bad-request")
        assert "Set-Cookie" not in reply.headers


async def test_what_a_handler_answers_is_made_safe(shop: Rescind, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the response is made by code."""
    answers: list[HandshakeResponse] = []

    def handshake(_: InboundRequest, __: Any) -> HandshakeResponse:
        return answers[-1]

    await configure(shop)
    handler = replace(generic.HANDLER, handshake=handshake)
    monkeypatch.setattr("app.config.resolve.handler", lambda _: handler)
    await configure(shop, **{**SIGNED, "header": "X-Other"})
    headers = {"Content-Type": "text/html", "X-Content-Type-Options": "off", "Cache-Control": "public", "X-A": "b"}
    answers.append(HandshakeResponse(headers=headers, body=b"<b>"))
    reply = await ask(shop, "")
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert (reply.headers["X-Content-Type-Options"], reply.headers["Cache-Control"]) == ("nosniff", "no-store")
    assert reply.headers["X-A"] == "b"
    answers.append(HandshakeResponse(body=b"x" * (BODY_MAX + 1)))
    (await ask(shop, "")).problem(400, "bad-request")
    answers.append(HandshakeResponse(confirm="https://hooks.example.com/"))
    (await ask(shop, "")).problem(401, "unauthentic-webhook")


async def test_a_proven_post_is_answered_and_not_recorded(shop: Rescind) -> None:
    await configure(shop, *SOURCES["slack"])
    body = {"type": "url_verification", "challenge": "3eZb"}
    reply = await post(shop, body)
    assert (reply.status, reply.json) == (200, {"challenge": "3eZb"})
    (await post(shop, body, signed=False)).problem(401, "unauthentic-webhook")
    assert await recorded(shop) == 0
    reply = await post(shop, {"id": "o-1", "status": "placed", "event": "placed"})
    assert (reply.status, reply.json["status"]) == (200, "accepted")
    reply = await post(shop, {"type": "url_verification", "challenge": {"a": 1}, "id": "o-2", "status": "placed"})
    assert (reply.status, reply.json["challenge"]) == (200, {"a": 1})
    reply = await post(shop, {"type": "url_verification", "id": "o-3", "status": "placed", "event": "placed"})
    assert (reply.status, reply.json["status"]) == (200, "accepted"), "it lacks the challenge, so it is a webhook"
    assert await recorded(shop) == 2


async def test_a_post_that_proves_nothing_is_answered_only_where_it_is_said(shop: Rescind) -> None:
    await configure(shop, *SOURCES["woocommerce"])
    form = "application/x-www-form-urlencoded"
    reply = await post(shop, b"webhook_id=13", signed=False, kind=form)
    assert (reply.status, reply.raw) == (200, b"")
    (await post(shop, b"webhook_id=13&a=b", signed=False, kind=form)).problem(401, "unauthentic-webhook")
    assert (await post(shop, {"id": "o-1", "status": "placed", "event": "placed"})).json["status"] == "accepted"
    assert await recorded(shop) == 1
    assert shop.bodies.held == 0


async def test_a_challenge_in_the_body_is_read_where_the_proof_is_in_the_headers(shop: Rescind) -> None:
    await configure(shop, *SOURCES["woocommerce"], scheme="token", secrets=[TOKEN])
    reply = await post(shop, b"webhook_id=13", signed=False, kind="application/x-www-form-urlencoded")
    assert reply.status == 200
    (await post(shop, {"id": "o-1"}, signed=False)).problem(401, "unauthentic-webhook")
    placed = {"id": "o-1", "status": "placed", "event": "placed"}
    assert (await shop.hook(placed, HOOK)).json["status"] == "accepted"


async def test_a_challenge_that_fails_loses_no_webhook(shop: Rescind, monkeypatch: pytest.MonkeyPatch) -> None:
    await configure(shop, *SOURCES["slack"])

    def fail(*_: object) -> None:
        raise KeyError("a fault of the handler's")

    monkeypatch.setattr("handlers.generic.challenges.respond", fail)
    assert (await post(shop, {"id": "o-1", "status": "placed", "event": "placed"})).json["status"] == "accepted"


async def test_strangers_are_limited_by_address_and_webhooks_are_not(
    shop: Rescind, monkeypatch: pytest.MonkeyPatch
) -> None:
    await configure(shop, *SOURCES["dropbox"], *SOURCES["woocommerce"])
    limits = shop._runner.app[rate_limits.RATE_LIMITS]  # type: ignore[index]
    monkeypatch.setattr(limits, "_handshakes", rate_limits.Buckets(0.001, 3000.0))
    replies = [(await ask(shop, "challenge=x")).status for _ in range(4)]
    assert replies == [200, 200, 200, 429]
    ping = await post(shop, b"webhook_id=13", signed=False, kind="application/x-www-form-urlencoded")
    ping.problem(429, "too-many-requests")
    assert (await post(shop, {"id": "o-1", "status": "placed", "event": "placed"})).json["status"] == "accepted"
    assert await recorded(shop) == 1


async def test_whatever_strangers_send_the_server_does_not_fail(shop: Rescind, monkeypatch: pytest.MonkeyPatch) -> None:
    await configure(shop, *[challenge for name in SOURCES for challenge in SOURCES[name]])
    limits = shop._runner.app[rate_limits.RATE_LIMITS]  # type: ignore[index]
    monkeypatch.setattr(limits, "_handshakes", rate_limits.Buckets(0.0, 1.0))
    chance = random.Random(16)  # noqa: S311 - which bytes, and nothing secret
    names = ["challenge_code", "hub.mode", "hub.challenge", "hub.verify_token", "challenge", "%00", "%FF", "a[]"]
    for _ in range(150):
        values = ["%" + f"{chance.randrange(256):02x}", "subscribe", "", "x" * chance.randrange(3000), "%C3%A9"]
        query = "&".join(f"{chance.choice(names)}={chance.choice(values)}" for _ in range(chance.randrange(4)))
        reply = await ask(shop, query, chance.choice(["GET", "HEAD", "OPTIONS"]))
        assert reply.status in (200, 400, 403, 405), (query, reply)
    for body in ODD:
        for signed in (True, False):
            for kind in ("application/x-www-form-urlencoded", "application/json", "x/y"):
                reply = await post(shop, body, signed=signed, kind=kind)
                assert reply.status in (200, 202, 400, 401, 403), (body[:60], reply)


# -- Confirmations -------------------------------------------------------------------------------


async def test_a_subscription_is_confirmed_before_it_is_acknowledged(
    shop: Rescind, monkeypatch: pytest.MonkeyPatch
) -> None:
    await configure(shop, *SOURCES["sns"])
    results, asked = [Confirmation.FAILED, Confirmation.CONFIRMED], []

    async def confirm(endpoint: str, url: str) -> Confirmation:
        asked.append((endpoint, url))
        return results[len(asked) - 1]

    monkeypatch.setattr(shop.node.confirmations, "confirm", confirm)
    body = {"Type": "SubscriptionConfirmation", "SubscribeURL": SNS_URL}
    failed = await post(shop, body, kind="text/plain")
    failed.problem(503, "busy")
    assert int(failed.headers["Retry-After"]) > 0
    assert (await post(shop, body, kind="text/plain")).status == 200
    assert asked == [(HOOK, SNS_URL)] * 2
    (await post(shop, body, signed=False)).problem(401, "unauthentic-webhook")
    reply = await post(shop, {**body, "SubscribeURL": "https://evil.example/"})
    assert (reply.status, reply.json["status"]) == (202, "quarantined")
    assert len(asked) == 2


class Topic:
    """A server with TLS that confirms subscriptions."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.status, self.url = 200, ""
        self.gate = asyncio.Event()
        self.gate.set()

    async def serve(self, request: web.Request) -> web.Response:
        self.asked.append(str(request.rel_url))
        await self.gate.wait()
        return web.Response(status=self.status, headers={"Location": "https://127.0.0.1:1/"}, body=b"x" * 100_000)


@pytest.fixture
async def topic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rescind: Rescind) -> Any:
    made = Topic()
    app = web.Application()
    app.router.add_get("/", made.serve)
    runner = EndingRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=certify(tmp_path, monkeypatch)).start()
    made.url = f"https://127.0.0.1:{runner.addresses[0][1]}/?Token="
    yield made
    await rescind.stop()  # its connections keep the server open
    await runner.cleanup()


async def test_a_url_is_called_once(topic: Topic, rescind: Rescind) -> None:
    worker = rescind.node.confirmations
    topic.gate.clear()
    calls = [asyncio.create_task(worker.confirm(HOOK, topic.url + "1")) for _ in range(3)]

    async def arrived() -> bool:
        return bool(topic.asked)

    await until(arrived, "the call")
    topic.gate.set()
    assert await asyncio.gather(*calls) == [Confirmation.CONFIRMED] * 3
    assert await worker.confirm(HOOK, topic.url + "1") is Confirmation.CONFIRMED
    assert topic.asked == ["/?Token=1"]


async def test_only_2xx_confirms_and_no_redirect_is_followed(topic: Topic, rescind: Rescind) -> None:
    worker = rescind.node.confirmations
    before = count("rescind_webhook_confirmations_total", result="refused")
    for number, status in enumerate((301, 307, 404, 500)):
        topic.status = status
        assert await worker.confirm(HOOK, f"{topic.url}{number}") is Confirmation.REFUSED
    assert len(topic.asked) == 4
    assert count("rescind_webhook_confirmations_total", result="refused") == before + 4
    topic.status = 204
    assert await worker.confirm(HOOK, f"{topic.url}0") is Confirmation.CONFIRMED, "a refusal is not remembered"


async def test_an_endpoint_causes_few_calls(topic: Topic, rescind: Rescind, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    worker = Confirmations(rescind.node._outgoing, lambda: now[0])
    monkeypatch.setattr(confirmations, "CALLS_MAX", 3)
    results = [await worker.confirm(HOOK, f"{topic.url}{number}") for number in range(5)]
    assert results == [Confirmation.CONFIRMED] * 3 + [Confirmation.LIMITED] * 2
    assert await worker.confirm("another", f"{topic.url}9") is Confirmation.CONFIRMED
    assert await worker.confirm(HOOK, f"{topic.url}0") is Confirmation.CONFIRMED, "it is confirmed already"
    assert len(topic.asked) == 4
    now[0] = confirmations.SPAN_S + 1
    assert await worker.confirm(HOOK, f"{topic.url}7") is Confirmation.CONFIRMED


async def test_no_private_network_and_no_plain_http_is_called(start: Any) -> None:
    rescind = await start(allow_networks=())
    worker = rescind.node.confirmations
    for url in ("https://127.0.0.1:9/", "https://[::1]/", "https://169.254.169.254/latest", "https://localhost/"):
        assert await worker.confirm(HOOK, url) is Confirmation.FAILED, url
    for url in ("http://127.0.0.1:9/", "file:///etc/passwd", "", "https:", "//a", "https://[/"):
        assert await worker.confirm("other", url) in (Confirmation.NOT_HTTPS, Confirmation.FAILED), url
    assert await worker.confirm("plain", "http://198.51.100.1/") is Confirmation.NOT_HTTPS


async def test_the_log_tells_the_host_and_not_the_token(
    topic: Topic, rescind: Rescind, capsys: pytest.CaptureFixture[str]
) -> None:
    await rescind.node.confirmations.confirm(HOOK, topic.url + "t0ken-of-sns")
    await rescind.node.confirmations.confirm(HOOK, "https://127.0.0.1:1/?Token=t0ken-of-sns")
    written = capsys.readouterr()
    assert "t0ken-of-sns" not in written.out + written.err
