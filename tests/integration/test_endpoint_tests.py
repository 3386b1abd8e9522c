"""`POST /v1/endpoints/{id}/test`: a signed sample goes the real way, and leaves nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from conftest import Start
from integration.test_endpoints import CONFIGS, SOURCE, create
from integration.test_fence_connecting import certify
from servers import ACCOUNT, TOKEN, Rescind, account_of, webhook

from app.config.secrets import Vault
from app.runtime.http_server import EndingRunner
from app.workers.sample_sender import TEST_HEADER, make_mark

STEPS = ["signed", "reached", "enabled", "verified", "parsed"]


async def test(rescind: Rescind, id: str, **body: Any) -> Any:
    reply = await rescind.ask("POST", f"/v1/endpoints/{id}/test", body)
    assert reply.status == 200, reply
    return reply.json


test.__test__ = False  # type: ignore[attr-defined]


def failed(result: Any) -> tuple[str, str]:
    """(the step that failed, why)."""
    assert not result["ok"]
    last = result["steps"][-1]
    assert not last["ok"]
    return last["step"], last["detail"]


async def left_nothing(rescind: Rescind) -> None:
    for path in ("/v1/receipts", "/v1/events", "/v1/orders"):
        assert (await rescind.get(path))["data"] == [], path


async def test_a_sample_of_every_handler_and_scheme_goes_through_and_leaves_nothing(rescind: Rescind) -> None:
    configs = {**CONFIGS, "cloud": {**SOURCE, "fields": {"order": "data.order", "status": "data.status"}}}
    for name, config in configs.items():
        provider = "generic" if name == "cloud" else name
        await rescind.put("accounts", name, {"provider": provider, "config": config})
        for scheme in ("handler", "token", "basic", "hmac", "standard_webhooks", "github", "stripe", "shopify"):
            made = await create(rescind, account=name, verify={"scheme": scheme})
            result = await test(rescind, made["id"])
            assert result["ok"], (name, scheme, result)
            assert [step["step"] for step in result["steps"]] == STEPS
            assert result["status"] == "accepted"
            assert result["events"][0]["order"], "which order it would be about"
    await left_nothing(rescind)


async def test_the_step_that_fails_is_named_with_its_cause(start: Start) -> None:
    rescind = await start()
    await rescind.put("accounts", "shop", {"provider": "generic", "config": SOURCE})
    await create(rescind, account="shop", id="in")
    broken = await test(rescind, "in", body='{"kind": "placed"}')
    assert failed(broken) == ("parsed", "it names no order: nothing stands at order.id (fields.order)")
    assert broken["status"] == "quarantined"
    own = await test(rescind, "in", body='{"kind": "placed", "order": {"id": 7, "status": "sent"}}')
    assert (own["events"][0]["order"], own["events"][0]["phase"]) == ("7", "completed")
    await rescind.ask("POST", "/v1/endpoints/in/disable")
    disabled = await test(rescind, "in")
    assert [step["ok"] for step in disabled["steps"]] == [True, True, False, True, True]
    await create(rescind, account="shop", id="key", verify={"scheme": "standard_webhooks", "secrets": ["whpk_AAAA"]})
    assert failed(await test(rescind, "key"))[0] == "signed"
    for headers in ({"rescind-test": "x"}, {"Rescind-Test": ""}):
        assert (await test(rescind, "in", headers=headers))["status"] == "accepted"
    for headers in ({"": "x"}, {"a b": "x"}, {"X": "a\r\nX-Y: b"}, {"X": "\u0100"}, {"X": "a" * 20_000}):
        tried = await test(rescind, "in", headers=headers)
        assert [step["step"] for step in tried["steps"][:2]] == ["signed", "reached"], headers
    reply = await rescind.ask("POST", "/v1/endpoints/in/test", {"via": "public_url"})
    assert "RESCIND_PUBLIC_URL" in reply.problem(422, "invalid-request")["detail"]
    (await rescind.ask("POST", "/v1/endpoints/nix/test", {})).problem(404, "not-found")
    await left_nothing(rescind)


@pytest.fixture
async def proxy() -> AsyncIterator[dict[str, Any]]:
    """A proxy in front; `drop` names headers that it removes, `to` is where it leads."""
    state: dict[str, Any] = {"drop": set(), "to": "", "seen": 0}

    async def forward(request: web.Request) -> web.Response:
        state["seen"] += 1
        headers = {name: value for name, value in request.headers.items() if name not in state["drop"]}
        async with (
            aiohttp.ClientSession() as session,
            session.post(state["to"] + request.path_qs, data=await request.read(), headers=headers) as response,
        ):
            kept = {name: response.headers[name] for name in (TEST_HEADER,) if name in response.headers}
            return web.Response(status=response.status, body=await response.read(), headers=kept)

    app = web.Application()
    app.router.add_post("/{path:.*}", forward)
    runner = EndingRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    state["url"] = "http://{}:{}".format(*runner.addresses[0][:2])
    yield state
    await runner.cleanup()


async def test_a_certificate_that_is_not_trusted_is_named_as_the_cause(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = certify(tmp_path, monkeypatch)
    monkeypatch.undo()  # nobody trusts it
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", ssl=tls)
    async with server:
        port = server.sockets[0].getsockname()[1]
        rescind = await start(public_url=f"https://127.0.0.1:{port}")
        await rescind.put("accounts", ACCOUNT, account_of("https://api.example.com"))
        await create(rescind, account=ACCOUNT, id="in", verify={"scheme": "hmac"})
        step, detail = failed(await test(rescind, "in", via="public_url"))
    assert (step, "its certificate is not trusted: self-signed certificate" in detail) == ("reached", True), detail


async def test_through_the_public_url_a_proxy_that_spoils_webhooks_is_found(
    start: Start, proxy: dict[str, Any]
) -> None:
    rescind = await start(public_url=proxy["url"])
    proxy["to"] = rescind.url
    await rescind.put("accounts", ACCOUNT, account_of("https://api.example.com"))
    await create(rescind, account=ACCOUNT, id="in", verify={"scheme": "hmac"})
    result = await test(rescind, "in", via="public_url")
    assert (result["ok"], result["url"]) == (True, f"{proxy['url']}/webhooks/in")
    proxy["drop"] = {"X-Signature"}
    step, detail = failed(await test(rescind, "in", via="public_url"))
    assert (step, "the header X-Signature is missing" in detail) == ("verified", True)
    proxy["drop"], proxy["seen"] = {TEST_HEADER}, 0
    step, detail = failed(await test(rescind, "in", via="public_url"))
    assert (step, TEST_HEADER in detail, proxy["seen"]) == ("reached", True, 1)
    await left_nothing(rescind)


async def test_no_stranger_can_mark_a_webhook_as_a_test(rescind: Rescind) -> None:
    await rescind.put("accounts", ACCOUNT, account_of("https://api.example.com"))
    for id in ("in", "other"):
        await create(rescind, account=ACCOUNT, id=id, verify={"scheme": "token", "secrets": [TOKEN]})
    now, vault = datetime.now(UTC), rescind.node.vault
    marks = [
        "",
        "x",
        make_mark(Vault(["another-key-of-32-characters-or-more"]), "in", now),
        make_mark(vault, "other", now),
        make_mark(vault, "in", now - timedelta(minutes=2)),
        vault.seal(b'{"kind":"accounts"}').decode(),
        vault.seal(b'["another/purpose/1","in",%f]' % now.timestamp()).decode(),
    ]
    for number, mark in enumerate(marks):
        reply = await rescind.hook(webhook("order.processed", f"o-{number}"), "in", headers={TEST_HEADER: mark})
        assert (reply.status, reply.json["status"]) == (200, "accepted"), number
        assert TEST_HEADER not in reply.headers
    assert len((await rescind.get("/v1/receipts"))["data"]) == len(marks)
    genuine = {TEST_HEADER: make_mark(vault, "in", now)}
    unsigned = await rescind.ask("POST", "/webhooks/in", webhook("order.processed", "1"), key=None, headers=genuine)
    assert unsigned.json["verified"] is False, "the mark itself proves nothing of the webhook"
