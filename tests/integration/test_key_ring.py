"""Keys that sources publish, with a real node and a real key server: fetched, rotated, revoked, flooded, hostile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

import key_pairs
import msgspec
import pytest
from aiohttp import web
from key_pairs import Authority, jwk_of, pem, pem_of, private_key, rsa_key, signature
from providers import until
from servers import ACCOUNT, Reply, Rescind, account_of, webhook

from app.runtime.http_server import EndingRunner
from app.runtime.outgoing import OutgoingHttp
from app.runtime.outgoing import Reply as Fetched
from app.workers.key_documents import DOCUMENT_BYTES_MAX

ALGORITHM, RSA = "ecdsa-sha256", "rsa-sha256"
ENDPOINT = "keyed-in"


@dataclass
class KeyServer:
    """Publishes what the test says, and counts who asks. `held` keeps responses back."""

    url: str = ""
    status: int = 200
    documents: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    held: asyncio.Event | None = None

    async def serve(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        if self.held is not None:
            await self.held.wait()
        if self.status in (301, 302):
            return web.Response(status=self.status, headers={"Location": f"{self.url}/elsewhere"})
        if request.path not in self.documents:
            return web.Response(status=404)
        return web.Response(status=self.status, body=self.documents[request.path])

    def publish(self, *ids: str, path: str = "/jwks") -> None:
        keys = [jwk_of(key_for(id), id) for id in ids]
        self.documents[path] = json.dumps({"keys": keys}).encode()


@pytest.fixture
async def keys() -> AsyncIterator[KeyServer]:
    server = KeyServer()
    app = web.Application()
    app.router.add_get("/{path:.*}", server.serve)
    runner = EndingRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    if server.held is not None:
        server.held.set()
    await runner.cleanup()


def key_for(id: str) -> Any:
    return private_key(ALGORITHM, int(id.removeprefix("k")))


async def declare(rescind: Rescind, id: str = ENDPOINT, **verify: Any) -> None:
    verify = {"scheme": "public_key", "algorithm": ALGORITHM, "key_id": "{header:X-Key-Id}", **verify}
    reply = await rescind.ask("PUT", f"/v1/endpoints/{id}", {"account": ACCOUNT, "verify": verify})
    assert reply.status in (200, 201), reply


async def send(rescind: Rescind, id: str, to: str = ENDPOINT, *, key: Any = None, order: str = "o-1") -> Reply:
    body = msgspec.json.encode(webhook("order.processed", order))
    headers = {"X-Key-Id": id, "X-Signature": signature(ALGORITHM, body, key or key_for(id))}
    return await rescind.ask("POST", f"/webhooks/{to}", data=body, key=None, headers=headers)


async def accepted(rescind: Rescind, id: str, to: str = ENDPOINT) -> None:
    """The webhook is taken when it comes again; nothing else than 503 was said before."""

    async def look() -> bool:
        reply = await send(rescind, id, to)
        assert reply.status in (200, 503), reply
        return reply.status == 200

    await until(look)


async def refused(rescind: Rescind, id: str, to: str = ENDPOINT) -> str:
    """The reason, when it has been found out; nothing else than 503 was said before."""

    async def look() -> str:
        reply = await send(rescind, id, to)
        assert reply.status in (401, 503), reply
        return str(reply.json["detail"]) if reply.status == 401 else ""

    return await until(look)


async def test_a_key_set_is_there_before_the_first_webhook_and_follows_rotation_and_revocation(
    rescind: Rescind, keys: KeyServer
) -> None:
    keys.publish("k1")
    await declare(rescind, keys={"jwks_url": f"{keys.url}/jwks"})
    await until(lambda: _has(keys, 1))
    await accepted(rescind, "k1")
    assert (await send(rescind, "k1", key=key_for("k2"))).problem(401, "unauthentic-webhook")
    assert len(keys.asked) == 1
    keys.publish("k2")
    missing = await send(rescind, "k2")
    assert missing.problem(503, "busy")["cause"] == "key_unavailable"
    assert missing.headers["Retry-After"] == "10"
    await accepted(rescind, "k2")
    assert "no key of this id is published at 127.0.0.1" in await refused(rescind, "k1")
    assert len(keys.asked) <= 4
    refusals = (await rescind.get(f"/v1/endpoints/{ENDPOINT}/refusals"))["data"]
    assert {refusal["cause"] for refusal in refusals} == {"bad_signature", "key_unavailable"}


async def _has(keys: KeyServer, count: int) -> bool:
    return len(keys.asked) >= count


async def test_a_key_server_that_fails_makes_no_request_a_401(rescind: Rescind, keys: KeyServer) -> None:
    hostile = {
        "/large": b'{"keys": [' + b" " * DOCUMENT_BYTES_MAX + b"]}",
        "/many": json.dumps({"keys": [{"kty": "oct"}] * 10_000}).encode(),
        "/html": b"<html>the key server is being repaired</html>",
        "/deep": b"[" * 100_000,
    }
    keys.documents |= hostile
    for number, path in enumerate(("/none", *hostile)):
        await declare(rescind, f"keyed-{number}", keys={"jwks_url": keys.url + path})
        await until(lambda path=path: _asked(keys, path))
        for _ in range(5):
            (await send(rescind, "k1", f"keyed-{number}")).problem(503, "busy")
    keys.publish("k1")
    for status in (500, 503, 403, 302):
        keys.status = status
        await declare(rescind, f"keyed-{status}", keys={"jwks_url": f"{keys.url}/jwks?{status}"})
        before = len(keys.asked)
        await until(lambda before=before: _has(keys, before + 1))
        for _ in range(5):
            (await send(rescind, "k1", f"keyed-{status}")).problem(503, "busy")
    assert "/elsewhere" not in keys.asked, "a redirect was followed"
    assert (await rescind.hook(webhook("order.processed", "o-2"))).status == 200


async def _asked(keys: KeyServer, path: str) -> bool:
    return path in keys.asked


async def test_a_private_key_server_is_not_reached(start: Any, keys: KeyServer) -> None:
    rescind = await start(allow_networks=())
    await rescind.put("accounts", ACCOUNT, account_of("https://orders.example"))
    keys.publish("k1")
    await declare(rescind, keys={"jwks_url": f"{keys.url}/jwks"})
    for _ in range(20):
        (await send(rescind, "k1")).problem(503, "busy")
    assert keys.asked == []


async def test_a_flood_of_unknown_key_ids_makes_no_flood_of_fetches_and_delays_no_other_endpoint(
    rescind: Rescind, keys: KeyServer
) -> None:
    keys.documents["/k1"] = pem_of(key_for("k1")).encode()
    keys.documents["/k2"] = pem_of(key_for("k2")).encode()
    keys.documents["/k3"] = json.dumps({"key": {"pem": pem_of(key_for("k3"))}}).encode()
    await declare(rescind, keys={"url": keys.url + "/{key_id}"})
    await declare(rescind, "other-in", keys={"url": keys.url + "/{key_id}"})
    await declare(rescind, "json-in", keys={"url": keys.url + "/{key_id}", "read": "key.pem"})
    await accepted(rescind, "k1")
    await accepted(rescind, "k3", "json-in")
    began = monotonic()
    flood = await asyncio.gather(*(send(rescind, f"k{number}") for number in range(10, 1010)))
    took_s = monotonic() - began
    assert {reply.status for reply in flood} <= {401, 503}
    assert (await send(rescind, "k1")).status == 200
    await accepted(rescind, "k2", "other-in")
    assert len(keys.asked) <= 7 + took_s / 10, "3 at once and one every 10 s for the flood, and one for each key"


async def test_a_hanging_key_server_delays_no_other(rescind: Rescind, keys: KeyServer) -> None:
    keys.held = asyncio.Event()
    for number in range(5):
        await declare(rescind, f"hanging-{number}", keys={"jwks_url": f"{keys.url}/hanging-{number}"})
    await until(lambda: _has(keys, 5))
    held, keys.held = keys.held, None
    keys.publish("k1")
    await declare(rescind, keys={"jwks_url": f"{keys.url}/jwks"})
    await accepted(rescind, "k1")
    assert (await send(rescind, "k1", "hanging-0")).status == 503
    held.set()


async def test_a_certificate_is_taken_from_allowed_hosts_and_only_while_it_is_valid(
    rescind: Rescind, keys: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Local(OutgoingHttp):
        """Sends to the key server what is for the source's host."""

        async def send(self, method: str, url: str, *args: Any, **more: Any) -> Fetched:
            assert url.startswith("https://api.pay.example/"), url
            return await super().send(method, url.replace("https://api.pay.example", keys.url), *args, **more)

    monkeypatch.setattr(key_pairs, "NOW", datetime.now(UTC))
    monkeypatch.setattr(rescind.node.key_ring, "_open_http", lambda: Local(rescind.node.settings.allow_networks))
    authority, key = Authority(), rsa_key(2048, 3)
    leaf = authority.issue("sign.pay.example", key)
    expired = authority.issue("sign.pay.example", key, ends=timedelta(days=-1))
    other = authority.issue("shop.example", key)
    keys.documents |= {
        "/right": pem(leaf, authority.intermediate),
        "/alone": pem(leaf),
        "/expired": pem(expired, authority.intermediate),
        "/other": pem(other, authority.intermediate),
    }
    source = {
        "certificate_url": "{header:X-Cert-Url}",
        "hosts": ["api.pay.example"],
        "names": ["sign.pay.example"],
        "roots": pem(authority.root).decode(),
    }
    for path in keys.documents:
        verify = {"scheme": "public_key", "algorithm": RSA, "keys": source, "signed": "{header:X-Id}|{body}"}
        await rescind.put("endpoints", f"certified{path.replace('/', '-')}", {"account": ACCOUNT, "verify": verify})

    async def sent(path: str, url: str = "") -> Reply:
        body = msgspec.json.encode(webhook("order.processed", "o-1"))
        proof = signature(RSA, b"id-1|" + body, key)
        headers = {"X-Cert-Url": url or f"https://api.pay.example{path}", "X-Id": "id-1", "X-Signature": proof}
        to = f"/webhooks/certified{path.replace('/', '-')}"
        return await rescind.ask("POST", to, data=body, key=None, headers=headers)

    async def known(path: str) -> Reply | None:
        reply = await sent(path)
        return None if reply.status == 503 else reply

    assert (await until(lambda: known("/right"))).status == 200
    for path, why in (
        ("/alone", "leads to no trusted root"),
        ("/expired", "the certificate expired on"),
        ("/other", "the certificate is not for sign.pay.example"),
    ):
        reply = await until(lambda path=path: known(path))
        assert why in reply.problem(401, "unauthentic-webhook")["detail"]
    asked = len(keys.asked)
    for url in (
        "https://evil.example/right",
        "https://api.pay.example.evil.example/right",
        "http://api.pay.example/right",
    ):
        assert (await sent("/right", url)).problem(401, "unauthentic-webhook")
    assert len(keys.asked) == asked


async def test_a_static_key_verifies_and_is_rotated_by_hand(rescind: Rescind) -> None:
    await declare(rescind, secrets=[pem_of(key_for("k1"))], key_id=None)
    assert (await send(rescind, "k1")).status == 200
    assert (await send(rescind, "k2")).status == 401
    rotated = await rescind.ask("POST", f"/v1/endpoints/{ENDPOINT}/rotate", {"secret": pem_of(key_for("k2"))})
    assert rotated.status == 200, rotated
    assert [(await send(rescind, id)).status for id in ("k1", "k2", "k3")] == [200, 200, 401]
    generated = await rescind.ask("POST", f"/v1/endpoints/{ENDPOINT}/rotate", {})
    assert "the sender alone has the private key" in generated.problem(422, "invalid-request")["detail"]
    report = (await rescind.ask("POST", f"/v1/endpoints/{ENDPOINT}/test", {})).json
    assert report["steps"][0]["detail"].endswith("the source alone has the private key that signs")


async def test_an_endpoint_is_created_without_a_secret_where_keys_are_published(
    rescind: Rescind, keys: KeyServer
) -> None:
    verify = {"scheme": "public_key", "algorithm": ALGORITHM, "keys": {"jwks_url": f"{keys.url}/jwks"}}
    made = await rescind.ask("POST", "/v1/endpoints", {"id": ENDPOINT, "account": ACCOUNT, "verify": verify})
    assert made.status == 201, made
    assert made.json.get("secret") is None
    nothing_to_rotate = await rescind.ask("POST", f"/v1/endpoints/{ENDPOINT}/rotate", {})
    assert "nothing to rotate" in nothing_to_rotate.problem(422, "invalid-request")["detail"]
    del verify["keys"]
    bare = await rescind.ask("POST", "/v1/endpoints", {"id": "bare", "account": ACCOUNT, "verify": verify})
    assert "must name at least one secret" in bare.problem(422, "invalid-request")["detail"]


async def test_keys_of_endpoints_that_are_gone_are_not_kept(rescind: Rescind, keys: KeyServer) -> None:
    ring = rescind.node.key_ring
    keys.publish("k1")
    await declare(rescind, keys={"jwks_url": f"{keys.url}/jwks"})
    await accepted(rescind, "k1")
    assert ring.documents == 1
    assert (await rescind.ask("DELETE", f"/v1/endpoints/{ENDPOINT}")).status in (200, 204)
    assert ring.documents == 0


async def test_the_keys_of_a_source_that_no_endpoint_names_any_more_are_dropped(
    rescind: Rescind, keys: KeyServer
) -> None:
    await declare(rescind, "other-in", keys={"url": keys.url + "/other/{key_id}"})
    for number in range(5):
        for owner in ("other", str(number)):
            keys.documents[f"/{owner}/k1"] = pem_of(key_for("k1")).encode()
        await declare(rescind, keys={"url": f"{keys.url}/{number}/{{key_id}}"})
        await accepted(rescind, "k1")
        await accepted(rescind, "k1", "other-in")
        assert rescind.node.key_ring.documents == 2
    asked = len(keys.asked)
    await declare(rescind, tolerance_s=None, keys={"url": keys.url + "/4/{key_id}"})
    assert (await send(rescind, "k1")).status == 200
    # What fails of a former source is no fault any more.
    keys.status = 500
    await declare(rescind, keys={"url": keys.url + "/broken/{key_id}"})
    (await send(rescind, "k1")).problem(503, "busy")
    await until(lambda: _has(keys, asked + 1))
    await until(lambda: _faults(rescind, 1))
    await rescind.put("endpoints", ENDPOINT, {"account": ACCOUNT, "verify": {"scheme": "token", "secrets": ["t"]}})
    assert list(rescind.node.key_ring.faults) == []
    assert rescind.node.key_ring.documents == 1


async def _faults(rescind: Rescind, count: int) -> bool:
    return len(list(rescind.node.key_ring.faults)) == count
