"""What `app.kit.sign` signs is what `app.kit.signing` accepts."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from multidict import CIMultiDict
from pydantic import SecretStr
from unit.kit.signatures import CASES, NOW, URL, WHPK, url_hmac

from app.contract import HttpRequest, InboundRequest, VerificationError, VerifyOptions
from app.kit.sign import CannotSign, sign_scheme
from app.kit.signing import OPTIONS, unheeded, verify_scheme

ITEMS = {
    "scheme": "hmac",
    "items": "items[].one",
    "signature": "meta.signature",
    "signed": "{timestamp}:{json:id}:{json:price}:{json:on}",
    "timestamp_header": "X-Time",
}
TWO = (
    b'{"items": [{"one": {"id": 1, "price": 10.50, "on": true}}, {"one": {"id": "\xc3\xa9", "meta": {"a": 1}}}], '
    b'"live": 1}'
)


def signed(given: dict[str, Any], secret: str, body: bytes = b'{"id": "o-1"}', **headers: str) -> HttpRequest:
    options = VerifyOptions.model_validate({**given, "secrets": (SecretStr(secret),)})
    webhook = sign_scheme(HttpRequest("POST", "", headers, body), options, NOW, URL)
    token = webhook.url.partition("token=")[2]
    request = InboundRequest(CIMultiDict(webhook.headers), {"token": token} if token else {}, webhook.body, "POST", URL)
    verify_scheme(request, options, NOW)
    other = VerifyOptions.model_validate({**given, "secrets": (SecretStr("another"),)})
    with pytest.raises(VerificationError):
        verify_scheme(request, other, NOW)
    return webhook


def test_a_sample_of_every_scheme_is_accepted() -> None:
    for name, (_, options, secret) in CASES.items():
        if secret != WHPK:
            webhook = signed(options, secret)
            assert webhook.body == b'{"id": "o-1"}', name


def test_every_way_to_write_a_signature_is_accepted() -> None:
    for given in (
        {"algorithm": "sha1"},
        {"algorithm": "sha512", "encoding": "base64", "prefix": "sha512="},
        {"timestamp_header": "X-Time", "timestamp_format": "unix_ms"},
        {"timestamp_header": "X-Time", "timestamp_format": "iso8601"},
        {"timestamp_header": "X-Time", "signed": "{header:x-time}{timestamp}{sha256}"},
        {"signed": "{header:X-Id}|{method}|{crc32}{form}{json:id}"},
    ):
        signed({"scheme": "hmac", **given}, "s3cret")
    assert (
        signed({"scheme": "hmac", "signed": "{header:X-Id}{body}"}, "s3cret", **{"x-id": "mine"}).headers["x-id"]
        == "mine"
    )


def test_the_url_is_signed_as_it_is_called() -> None:
    given = {"scheme": "hmac", "encoding": "base64", "signed": "{url}{body}"}
    assert signed(given, "s3cret").headers == url_hmac(b'{"id": "o-1"}', "s3cret")


def test_items_are_signed_one_by_one_and_stay_as_they_are() -> None:
    webhook = signed(ITEMS, "s3cret", TWO)
    before, after = json.loads(TWO), json.loads(webhook.body)
    for one in after["items"]:
        del one["one"]["meta"]["signature"]
    assert after["items"][0]["one"].pop("meta") == {}
    assert after == before
    alone = {name: value for name, value in ITEMS.items() if name != "items"}
    signed(alone, "s3cret")


def test_what_cannot_be_signed_is_told() -> None:
    for given, body, says in (
        (ITEMS, b"{}", "no items at items"),
        (ITEMS, b"[]", "no items at items"),
        (ITEMS, b"no JSON", "no place for a signature"),
        (ITEMS, b'{"items": [{"one": {"meta": "text"}}]}', "no place for a signature"),
        (ITEMS, b'{"items": [{"one": {"price": 1e999}}]}', "no place for a signature"),
        (ITEMS, b'{"items": [{"one": {"id": {}}}]}', "holds no text"),
        ({"scheme": "hmac", "signed": "{json:id}"}, b"no JSON", "is no JSON"),
        ({"scheme": "hmac", "key": "hex"}, b"{}", "is not hex"),
    ):
        with pytest.raises(CannotSign, match=says):
            signed(given, "s3cret", body)
    options = VerifyOptions.model_validate({"scheme": "hmac", "signed": "{url}{body}", "secrets": ["s3cret"]})
    with pytest.raises(CannotSign, match="set RESCIND_PUBLIC_URL"):
        sign_scheme(HttpRequest("POST", ""), options, NOW, "/webhooks/in")


def test_the_options_of_these_tests_are_such_as_can_be_saved() -> None:
    for _, given, secret in CASES.values():
        options = VerifyOptions.model_validate({**given, "secrets": (SecretStr(secret),)})
        assert unheeded(options, OPTIONS[options.scheme]) is None
    stale = NOW - timedelta(days=1)
    options = VerifyOptions.model_validate({**ITEMS, "secrets": ["s3cret"]})
    webhook = sign_scheme(HttpRequest("POST", "", {}, TWO), options, stale, URL)
    with pytest.raises(VerificationError, match="tolerance_s"):
        verify_scheme(InboundRequest(CIMultiDict(webhook.headers), {}, webhook.body), options, NOW)
