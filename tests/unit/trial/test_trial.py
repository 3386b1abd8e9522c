"""A trial says what a server would do: with webhooks, with the orders that they make, and with answers."""

from __future__ import annotations

import hmac
import json
import sys
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from unit.trial.support import CONFIG, KEY, NOW, SECRET, URL, VERIFY, answer, given, placed, source, trial

from app.config.file import MissingVariablesError
from app.contract import Context, Flow, HandshakeResponse, HttpRequest
from app.dev.trial.calls import converse
from app.dev.trial.flows import CANCELLATION
from app.dev.trial.handshakes import handshake_of
from app.dev.trial.mask import Mask
from app.dev.trial.report import Proof
from app.dev.trial.run import Wanted, run
from app.dev.trial.signing import proven
from app.dev.trial.source import UnclearEndpointError
from app.dev.trial.webhooks import BODY_MAX


def _digest(body: bytes) -> bytes:
    return hmac.digest(SECRET.encode(), body, sha256)


def _hints(shop: Any, body: bytes, *headers: tuple[str, str]) -> list[str]:
    [webhook] = run(shop, shop.endpoint(None), [given(body, *headers)], Wanted(NOW)).webhooks
    assert webhook.proof is not None
    assert not webhook.proof.ok
    return webhook.proof.hints


def test_a_body_is_verified_byte_for_byte(tmp_path: Path) -> None:
    shop = source(tmp_path)
    body = b'\xef\xbb\xbf {"id": "o-1",\r\n "status":"placed", "version": 3e0 } \n'
    signature = b64encode(_digest(body)).decode()
    tried = run(shop, shop.endpoint(None), [given(body, ("X-Sign", signature))], Wanted(NOW))
    assert tried.webhooks[0].proof is not None
    assert tried.webhooks[0].proof.ok


def test_a_webhook_that_does_not_verify_is_told_what_would(tmp_path: Path) -> None:
    shop, body = source(tmp_path), placed()
    signed = b64encode(_digest(body)).decode()
    ended = "it verifies without the line end at the end of the body: save the body as it was received"
    assert _hints(shop, body + b"\r\n", ("X-Sign", signed)) == [ended]
    assert _hints(shop, body, ("X-Sign", _digest(body).hex())) == ["it verifies with verify.encoding: hex"]
    elsewhere = ("X-Other-Signature", f"v1={signed}")
    assert _hints(shop, body, elsewhere) == ["it verifies with verify.header: X-Other-Signature, prefix: v1="]
    assert _hints(shop, body, ("X-Shopify-Hmac-SHA256", signed))[0] == "it verifies with verify.scheme: shopify"
    timed = ("X-Sign", b64encode(_digest(URL.encode() + body)).decode())
    assert _hints(shop, body, timed) == ["it verifies with verify.signed: {url}{body}"]
    assert _hints(shop, body, ("X-Shop-Sig", signed)) == ["it verifies with verify.header: X-Shop-Sig"]
    wrong = ("X-Sign", b64encode(_digest(b"else")).decode())
    nothing = "no other option verifies it: the source has another secret, or signed another body"
    assert _hints(shop, body, wrong) == [nothing]
    by_url = source(tmp_path, verify={**VERIFY, "signed": "{url}{body}"})
    assert _hints(by_url, body, wrong) == [f"{nothing} or another URL than {URL}"]
    stripe = source(tmp_path, verify={"scheme": "stripe", "secrets": [SECRET]})
    old = 1_700_000_000
    signature = hmac.digest(SECRET.encode(), f"{old}.".encode() + body, sha256).hex()
    [hint] = _hints(stripe, body, ("Stripe-Signature", f"t={old},v1={signature}"))
    assert hint.endswith("--at 2023-11-14T22:13:20Z")


def test_a_recorded_webhook_is_told_the_form_of_its_time_and_when_to_try_it(tmp_path: Path) -> None:
    body, sent_ms = placed(), 1_700_000_000_000
    timed = {"scheme": "hmac", "header": "X-Sign", "timestamp_header": "X-Time", "secrets": [SECRET]}
    signature = hmac.digest(SECRET.encode(), f"{sent_ms}.".encode() + body, sha256).hex()
    headers = ("X-Sign", signature), ("X-Time", str(sent_ms))
    said = "it verifies with verify.timestamp_format: unix_ms and --at 2023-11-14T22:13:20Z"
    assert _hints(source(tmp_path, verify=timed), body, *headers) == [said]
    [hint] = _hints(source(tmp_path, verify={**timed, "timestamp_format": "unix_ms"}), body, *headers)
    assert hint == "it verifies as of the time that it signs: give --at 2023-11-14T22:13:20Z"


def test_secrets_and_what_is_made_of_them_are_masked(tmp_path: Path) -> None:
    tried = trial(source(tmp_path), placed())
    basic = b64encode(f"shop:{KEY}".encode()).decode()
    assert not [secret for secret in (SECRET, KEY, basic) if secret in repr(tried)]
    assert tried.orders[0].cancel is not None
    [call] = tried.orders[0].cancel.calls
    assert call.headers["Idempotency-Key"] == CANCELLATION
    assert (call.headers["Authorization"], call.body) == ("Basic **********", '{"version":3,"key":"**********"}')


def test_webhooks_that_name_one_order_fold_to_one_and_two_ids_of_one_are_refused(tmp_path: Path) -> None:
    shop = source(tmp_path)
    tried = trial(shop, placed(number="n-1"), placed("o-2"), placed(number="n-1", status="canceled"))
    assert [(order.id, order.phase) for order in tried.orders] == [("o-1", "canceled"), ("o-2", "open")]
    clash = trial(shop, placed(number="n-1"), placed("o-2", number="n-1"))
    assert clash.webhooks[1].status == "quarantined"
    assert "it would make the orders 'o-1' and 'o-2'" in clash.failure
    assert [order.id for order in clash.orders] == ["o-1"]


def test_a_redelivery_is_dropped(tmp_path: Path) -> None:
    tried = trial(source(tmp_path), placed(), placed())
    assert [webhook.status for webhook in tried.webhooks] == ["accepted", "duplicate"]
    assert tried.orders[0].order["version"] == 1


def test_what_cannot_be_the_body_of_a_webhook_is_said_to_be_so(tmp_path: Path) -> None:
    shop = source(tmp_path)
    largest = placed(note="x" * (BODY_MAX - len(placed(note=""))))
    fixture = json.dumps({"provenance": "synthetic", "request": {"body": json.loads(placed())}}).encode()
    for body, status, said in (
        (largest, 200, ""),
        (largest + b" ", 413, f"{BODY_MAX + 1} bytes, and a server takes {BODY_MAX} (RESCIND_BODY_MAX) by default"),
        (b" ", 202, "the body is empty"),
        (fixture, 202, "looks like a recipe's fixture: save what stands under request.body"),
    ):
        tried = trial(shop, body)
        assert tried.webhooks[0].http_status == status
        assert said in "\n".join([tried.failure, *tried.notes])
        assert tried.ok is not bool(said)


def test_a_cancel_that_begins_with_a_probe_says_so(tmp_path: Path) -> None:
    cancel = CONFIG["cancel"]
    for probes, admitted in ((False, "sent"), (True, "probed")):
        flow = trial(source(tmp_path, {"cancel": {**cancel, "probe_before": probes}}), placed()).orders[0].cancel
        assert flow is not None
        assert flow.admitted == admitted


def test_a_cancel_that_lacks_something_is_a_failure(tmp_path: Path) -> None:
    tried = trial(source(tmp_path), b'{"id": "o-1", "status": "placed"}')
    assert not tried.ok
    assert "cancel: The call that `cancel` describes cannot be made for this order" in tried.failure
    refused = trial(source(tmp_path), placed(), note="x" * 2000)
    assert refused.failure.startswith("order o-1: cancel: the cancel would be refused with 422: --note")


def test_what_an_answer_means_is_what_the_ledger_makes_of_it(tmp_path: Path) -> None:
    shop = source(tmp_path)
    cases: list[tuple[Any, tuple[str, str, str]]] = [
        (answer(200), ("succeeded", "succeeded", "nothing")),
        (answer(409), ("refused", "refused", "nothing")),
        (answer(429, None, **{"retry-after": "7"}), ("throttled", "scheduled", "throttled")),
        (answer(401), ("unauthorized", "scheduled", "credentials")),
        (answer(503), ("indeterminate", "indeterminate", "probe")),
    ]
    for given_answer, expected in cases:
        [order] = trial(shop, placed(), answers=[given_answer]).orders
        assert order.cancel is not None
        result = order.cancel.result
        assert result is not None
        assert result.next is not None
        assert (result.outcome, result.next.state, result.next.waiting) == expected
        assert result.phase == ("canceled" if expected[0] == "succeeded" else "open")
    unheard = trial(shop, order="o-9", answers=[answer(409)]).orders[0].cancel
    assert unheard is not None
    assert unheard.admitted == "probed"
    assert unheard.result is not None
    assert unheard.result.next is not None
    probed = trial(shop, placed(), flow="probe", answers=[answer(200, {"id": "o-1", "status": "canceled"})])
    assert probed.orders[0].cancel is not None
    assert probed.orders[0].cancel.admitted == "rejected"
    assert probed.orders[0].probe is not None
    assert probed.orders[0].probe.result is not None
    assert probed.orders[0].probe.result.phase == "canceled"


def test_a_token_is_fetched_first_and_is_never_shown(tmp_path: Path) -> None:
    token = {
        "url": "https://login.shop.example/token",
        "body": {"client_id": "a", "client_secret": "{{ secrets.api_key }}"},
        "access_token": "data.token",
    }
    call = {"url": "/orders/{{ order.id }}/cancel", "body": {"token": "{{ token }}"}}
    shop = source(tmp_path, {"token": token, "cancel": call})
    [order] = trial(shop, placed()).orders
    assert order.cancel is not None
    assert [call.purpose for call in order.cancel.calls] == ["token", "cancel"]
    assert order.cancel.calls[0].body == "client_id=a&client_secret=**********"
    assert order.cancel.calls[1].body == '{"token":"**********"}'
    given_token = answer(200, {"data": {"token": "issued-by-the-shop"}})
    [order] = trial(shop, placed(), flow="token", answers=[given_token, answer(409, "issued-by-the-shop")]).orders
    assert order.cancel is not None
    assert order.cancel.result is not None
    assert order.cancel.result.outcome == "refused"
    assert "issued-by-the-shop" not in repr(order)
    [order] = trial(shop, placed(), flow="token", answers=[answer(200, {"data": {}})]).orders
    assert order.cancel is not None
    assert order.cancel.result is not None
    assert "gave no token" in order.cancel.result.detail
    # A rejected token is replaced, and the call made again: that wants an answer of its own.
    [order] = trial(shop, placed(), answers=[answer(401)]).orders
    assert order.cancel is not None
    assert [call.purpose for call in order.cancel.calls] == ["token", "cancel", "token", "cancel"]
    assert (order.cancel.ok, order.cancel.result) == (True, None)
    assert "give an --answer or a --status for it, too" in order.cancel.problem


def test_what_only_the_source_can_sign_is_taken_for_authentic_if_that_is_said(tmp_path: Path) -> None:
    key = "whpk_" + b64encode(bytes(range(32))).decode()
    shop = source(tmp_path, verify={"scheme": "standard_webhooks", "secrets": [key]})
    endpoint = shop.endpoint(None)
    tried = run(shop, endpoint, [proven(endpoint, given(placed()), NOW)], Wanted(NOW))
    assert tried.ok, tried.failure
    assert tried.webhooks[0].proof is not None
    assert not tried.webhooks[0].proof.checked
    assert not run(shop, endpoint, [given(placed())], Wanted(NOW)).ok


def test_a_key_that_the_source_publishes_is_not_fetched(tmp_path: Path) -> None:
    keys = {"url": "https://shop.example/key"}
    shop = source(
        tmp_path,
        verify={"scheme": "public_key", "header": "X-Sign", "algorithm": "ed25519", "keys": keys},
    )
    endpoint = shop.endpoint(None)
    tried = run(shop, endpoint, [given(placed(), ("X-Sign", b64encode(bytes(64)).decode()))], Wanted(NOW))
    assert tried.webhooks[0].proof is not None
    assert tried.webhooks[0].proof.cause == "key_unavailable"
    assert "what the source answers at https://shop.example/key" in tried.failure
    assert "--keys FILE" in tried.webhooks[0].proof.hints[0]
    assert run(shop, endpoint, [proven(endpoint, given(placed()), NOW)], Wanted(NOW)).ok


def test_handshakes_are_answered(tmp_path: Path) -> None:
    shop = source(tmp_path, {"handshake": {"origins": ["shop.example"]}})
    asked = given(b"", ("WebHook-Request-Origin", "shop.example"), method="OPTIONS")
    tried = run(shop, shop.endpoint(None), [asked], Wanted(NOW))
    assert (tried.ok, tried.webhooks[0].status) == (True, "handshake")
    assert tried.webhooks[0].handshake is not None
    assert tried.webhooks[0].handshake.headers["WebHook-Allowed-Origin"] == "shop.example"
    nobody = run(shop, shop.endpoint(None), [given(b"", method="GET")], Wanted(NOW))
    assert (nobody.ok, nobody.webhooks[0].http_status) == (False, 405)
    assert "it fits no challenge or handshake of the account" in nobody.failure


def test_only_who_has_proved_who_it_is_confirms_a_subscription(tmp_path: Path) -> None:
    endpoint = source(tmp_path).endpoint(None)

    def handshake(_request: Any, _config: Any) -> HandshakeResponse:
        return HandshakeResponse(confirm="https://shop.example/confirm")

    handler = replace(endpoint.account.handler, handshake=handshake)
    endpoint = replace(endpoint, account=replace(endpoint.account, handler=handler))
    asked = given(b"", method="GET").inbound
    unproven = handshake_of(endpoint, "GET", asked)
    assert unproven is not None
    assert (unproven.status, unproven.http_status) == ("refused", 401)
    proved = handshake_of(endpoint, "GET", asked, Proof(ok=True, scheme="hmac"))
    assert proved is not None
    assert proved.handshake is not None
    assert proved.handshake.confirm == "https://shop.example/confirm"


def test_credentials_that_a_flow_came_by_last_are_masked_too(tmp_path: Path) -> None:
    context, mask = Context(NOW), Mask(source(tmp_path).endpoint(None))

    def flow() -> Flow[list[str]]:
        yield HttpRequest("GET", "https://api.shop.example/")
        context.conceal("credential-of-the-end")
        return ["credential-of-the-end"]

    dialogue = converse(flow(), context, "probe", [answer(200)], mask, None)
    assert mask.text(dialogue.result) == "**********"


def test_a_recipe_is_tried_with_its_examples(tmp_path: Path) -> None:
    recipe = {"source": "Shop", "setup": ["Give ${OTHER} to nobody."]}
    asks = {"HOOK": {"text": "The secret", "secret": True, "example": "example-of-the-recipe"}}
    shop = source(tmp_path, **recipe, asks=asks)
    tried = trial(shop, placed())
    assert tried.ok, tried.failure
    assert tried.notes == ["HOOK is not set: the recipe's example stands in for it"]
    with pytest.raises(MissingVariablesError) as raised:
        source(tmp_path, **recipe)
    assert raised.value.names == ("HOOK",)


def test_an_endpoint_is_named_or_the_only_one(tmp_path: Path) -> None:
    shop = source(tmp_path)
    assert shop.endpoint("shop-in") is shop.endpoint(None)
    with pytest.raises(UnclearEndpointError, match="has no endpoint other; there are shop-in"):
        shop.endpoint("other")


def test_a_handler_that_fails_is_a_fault_and_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = source(tmp_path)
    monkeypatch.setattr(sys.modules["handlers.generic.cancel"], "make_call", _fails)
    tried = trial(shop, placed())
    assert tried.failure == "order o-1: cancel: the handler failed: ValueError: no **********"


def _fails(*_: Any, **__: Any) -> Any:
    raise ValueError(f"no {KEY}")
