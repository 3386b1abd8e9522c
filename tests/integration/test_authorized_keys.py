"""Keys that a source shows only to its clients, with a real node, token server and key server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from integration.test_key_ring import accepted, key_for, send
from key_pairs import pem_of
from providers import until
from servers import Rescind
from structlog.testing import capture_logs

from app.core import key_scope
from app.runtime.http_server import EndingRunner

SHOP, ENDPOINT, SECRET = "key-shop", "keyed-in", "the-client-secret"


@dataclass
class Source:
    """Issues tokens to the client, and shows keys to those who have the newest."""

    url: str = ""
    token: str = ""
    asked: list[str] = field(default_factory=list)
    refuses: bool = False
    forgets: bool = False
    """Whether no token is good."""

    async def issue(self, request: web.Request) -> web.Response:
        form = await request.post()
        self.asked.append("token")
        if self.refuses or form.get("client_secret") != SECRET:
            return web.json_response({"error": "invalid_client", "said": form.get("client_secret")}, status=401)
        self.token = f"token-{len(self.asked)}"
        return web.json_response({"access_token": self.token, "expires_in": 3600})

    async def show(self, request: web.Request) -> web.Response:
        self.asked.append(request.match_info["id"])
        if self.forgets or request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=401)
        return web.Response(text=json.dumps({"key": pem_of(key_for(request.match_info["id"]))}))


@pytest.fixture
async def source() -> AsyncIterator[Source]:
    source = Source()
    app = web.Application()
    app.router.add_post("/token", source.issue)
    app.router.add_get("/keys/{id}", source.show)
    runner = EndingRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    source.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield source
    await runner.cleanup()


def account(source: Source, *, secret: str = SECRET, **more: Any) -> dict[str, Any]:
    body = {"grant_type": "client_credentials", "client_secret": "{{ secrets.client }}"}
    config = {
        "base_url": source.url,
        "secrets": {"client": secret, "refresh": "user-refresh-token"},
        "key_token": {"url": f"{source.url}/token", "body": body},
        "fields": {"order": "order_id", "event": "event"},
        "events": {"order.processed": {"phase": "open"}},
        "cancel": "none",
    }
    return {"provider": "generic", "config": {**config, **more}}


def endpoint(source: Source) -> dict[str, Any]:
    keys = {"url": source.url + "/keys/{key_id}", "read": "key", "authorized": True}
    key_id = "{header:X-Key-Id}"
    verify = {"scheme": "public_key", "algorithm": "ecdsa-sha256", "key_id": key_id, "keys": keys}
    return {"account": SHOP, "verify": verify}


async def declare(rescind: Rescind, source: Source, **more: Any) -> None:
    await rescind.put("accounts", SHOP, account(source, **more))
    await rescind.put("endpoints", ENDPOINT, endpoint(source))


async def test_keys_are_fetched_with_one_token_that_is_replaced_when_it_is_refused(
    rescind: Rescind, source: Source
) -> None:
    await declare(rescind, source)
    await accepted(rescind, "k1")
    await accepted(rescind, "k2")
    assert source.asked == ["token", "k1", "k2"]
    source.token = "revoked at the source"
    await accepted(rescind, "k3")
    assert source.asked == ["token", "k1", "k2", "k3", "token", "k3"]


async def test_a_source_that_accepts_no_token_is_asked_a_bounded_number_of_times(
    rescind: Rescind, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_scope, "RETRY_S", key_scope.RETRY_MAX_S)  # longer than forty webhooks ever take
    source.forgets = True
    await declare(rescind, source)
    for _ in range(20):
        (await send(rescind, "k1")).problem(503, "busy")
    finding = await fault(rescind)
    assert source.asked == ["token", "k1", "token", "k1"]
    assert (finding["state"], finding["what"]) == ("fault", f"endpoint {ENDPOINT}")
    assert "brought none: the response was 401" in finding["detail"]
    for _ in range(20):
        (await send(rescind, "k1")).problem(503, "busy")
    assert len(source.asked) == 4, "a failure is left alone for a while"


async def test_a_refused_client_is_shown_without_its_secret_and_helped_by_another_configuration(
    rescind: Rescind, source: Source
) -> None:
    with capture_logs() as logs:
        await declare(rescind, source, secret="a-wrong-client-secret")
        (await send(rescind, "k1")).problem(503, "busy")
        detail = (await fault(rescind))["detail"]
    assert "does not accept the client" in detail
    assert source.asked == ["token"], "without a token the key server is not asked"
    assert any(each["event"] == "keys_not_fetched" for each in logs)
    with capture_logs() as more:
        await declare(rescind, source)
        await accepted(rescind, "k1")
    assert not [each for each in (await rescind.get("/v1/status"))["findings"] if each["code"] == "keys"]
    for shown in (detail, str(logs), str(more), str(await rescind.get(f"/v1/endpoints/{ENDPOINT}/refusals"))):
        assert "wrong-client-secret" not in shown
        assert SECRET not in shown
        assert "token-" not in shown


async def test_an_account_without_a_token_for_this_is_refused_when_the_endpoint_is_saved(
    rescind: Rescind, source: Source
) -> None:
    rotating = {
        "url": f"{source.url}/token",
        "body": {"grant_type": "refresh_token", "refresh_token": "{{ refresh_token }}"},
        "refresh_token": {"initial": "secrets.refresh"},
    }
    cancel = {"url": "/orders/{{ order.id }}", "method": "DELETE"}
    for more in ({"key_token": None}, {"key_token": None, "token": rotating, "cancel": cancel}):
        await rescind.put("accounts", SHOP, account(source, **more))
        refused = await rescind.ask("PUT", f"/v1/endpoints/{ENDPOINT}", endpoint(source))
        assert "has no token that keys can be fetched with" in refused.problem(422, "invalid-request")["detail"]
    refused = await rescind.ask("PUT", f"/v1/accounts/{SHOP}", account(source, key_token=rotating))
    assert "key_token.refresh_token: each node fetches keys by itself" in str(refused.problem(422, "invalid-request"))
    await rescind.put("accounts", SHOP, account(source, token=rotating, cancel=cancel))
    await rescind.put("endpoints", ENDPOINT, endpoint(source))
    await accepted(rescind, "k1")
    assert source.asked == ["token", "k1"], "the token of keys goes before that of calls"


async def fault(rescind: Rescind) -> dict[str, Any]:
    """What /v1/status says of the keys."""

    async def look() -> dict[str, Any] | None:
        findings = (await rescind.get("/v1/status"))["findings"]
        return next((each for each in findings if each["code"] == "keys"), None)

    found = await until(look)
    assert found is not None
    return found
