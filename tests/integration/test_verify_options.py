"""What an endpoint is configured with: nothing in vain, and an acknowledgement that its provider takes for one."""

from __future__ import annotations

from typing import Any

import pytest
from servers import ACCOUNT, ENDPOINT, TOKEN, Rescind, endpoint_of, webhook

from app.config.faults import InvalidResourceError
from app.config.resolve import resolve

IN_VAIN: tuple[tuple[dict[str, Any], str], ...] = (
    ({"scheme": "shopify", "prefix": "sha256="}, "verify.prefix: the scheme shopify makes nothing of it"),
    ({"scheme": "shopify", "encoding": "hex"}, "verify.encoding: the scheme shopify makes nothing of it"),
    ({"scheme": "github", "tolerance_s": 60}, "verify.tolerance_s: the scheme github makes nothing of it"),
    ({"scheme": "stripe", "signed": "{timestamp}.{body}"}, "verify.signed: the scheme stripe makes nothing of it"),
    ({"scheme": "token", "username": "shop"}, "verify.username: the scheme token makes nothing of it"),
    ({"scheme": "basic", "timestamp_header": "X-Time"}, "verify.timestamp_header: the scheme basic makes nothing of"),
    ({"prefix": "v1="}, "verify.prefix: the scheme handler makes nothing of it"),
    ({"scheme": "hmac", "username": "shop"}, "verify.username: the scheme hmac makes nothing of it"),
    ({"scheme": "hmac", "signed": "{uri}.{body}"}, "verify.signed: {uri} is nothing that can be put in"),
    ({"scheme": "hmac", "key": "hex"}, "verify.secrets: key is hex, and a secret is not hex"),
    ({"scheme": "hmac", "items": "items", "signed": "{json:id}"}, "verify.signature: say where in one item"),
    ({"scheme": "hmac", "tolerance_s": 60}, "verify.tolerance_s: without timestamp_header"),
)
HEEDED: tuple[dict[str, Any], ...] = (
    {"header": "X-Token"},
    {"scheme": "shopify", "header": "X-Sig", "prefix": "", "signed": None},
    {"scheme": "stripe", "tolerance_s": 60},
    {"scheme": "hmac", "prefix": "v1=", "encoding": "base64", "timestamp_header": "X-Time", "tolerance_s": 60},
    {"scheme": "hmac", "signed": '{"body": {body}}'},
    {"scheme": "hmac", "signed": "{url}{form}", "algorithm": "sha1", "encoding": "base64"},
    {"scheme": "hmac", "items": "items[].one", "signature": "meta.signature", "signed": "{json:id}"},
    {"scheme": "basic", "username": "shop"},
)


def endpoint(**verify: Any) -> dict[str, Any]:
    return {"account": ACCOUNT, "verify": {"secrets": [TOKEN], **verify}}


async def test_an_option_that_a_scheme_ignores_is_refused_when_saved(rescind: Rescind) -> None:
    for given, said in IN_VAIN:
        reply = await rescind.ask("PUT", "/v1/endpoints/in-2", endpoint(**given))
        assert f"endpoint in-2: {said}" in reply.problem(422, "invalid-request")["detail"]
    for given in HEEDED:
        assert (await rescind.ask("PUT", "/v1/endpoints/in-2", endpoint(**given))).status in (200, 201), given


def test_one_that_an_earlier_release_let_pass_keeps_no_server_from_starting() -> None:
    account = {"id": ACCOUNT, "provider": "planomatic", "config": {"api_key": "k3y"}}
    old = {"id": "in-2", **endpoint(scheme="shopify", prefix="sha256=")}
    raw = {("accounts", ACCOUNT): (1, account), ("endpoints", "in-2"): (1, old)}
    assert resolve(raw, {("accounts", ACCOUNT)}).endpoints["in-2"].spec.verify.prefix == "sha256="
    with pytest.raises(InvalidResourceError, match="makes nothing of it"):
        resolve(raw, {("endpoints", "in-2")})


async def test_quarantine_may_be_acknowledged_with_200(rescind: Rescind) -> None:
    strange = webhook("order.never_heard_of", "o-1")
    reply = await rescind.hook(strange)
    assert (reply.status, reply.json["status"]) == (202, "quarantined")
    await rescind.put("endpoints", ENDPOINT, {**endpoint_of(ACCOUNT), "quarantine_status": 200})
    reply = await rescind.hook({**strange, "n": 1})
    assert (reply.status, reply.json["status"]) == (200, "quarantined")
    assert len((await rescind.get("/v1/receipts?status=quarantined"))["data"]) == 2
    bad = {**endpoint_of(ACCOUNT), "quarantine_status": 204}
    (await rescind.ask("PUT", f"/v1/endpoints/{ENDPOINT}", bad)).problem(422, "invalid-request")
