"""Scheme `public_key`: published vectors verify, and nothing that is not signed by the source's own key does."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from key_pairs import NOW, SIGN, der_of, jwk_of, pem_of, private_key, raw_signature, rsa_key, signature
from multidict import CIMultiDict
from pydantic import SecretStr, ValidationError

from app.contract import HttpRequest, InboundRequest, KeyRef, KeyUnavailable, VerificationError, VerifyOptions
from app.contract.published_keys import KeySource
from app.kit.sign import CannotSign, sign_scheme
from app.kit.signing import OPTIONS, unheeded, verify_scheme
from app.kit.signing.key_hosts import require_allowed
from app.kit.signing.key_material import UnusableKey, key_of, keys_of_jwks, kind_of

BODY = b'{"id": "o-1", "kid": "key-1", "proof": {"text": ""}}'
EBAY_KEY = (
    "-----BEGIN PUBLIC KEY-----MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEZhhxXKtR+TOvtDbgTPCkSof02qgBB7IsYOyf76ilExJ/upAa/vKI"
    "KheOoCyOpcLmi4t0b4uepb7LLjmMr90FUg==-----END PUBLIC KEY-----"
)
EBAY_SIGNATURE = (
    "eyJhbGciOiJlY2RzYSIsImtpZCI6Ijk5MzYyNjFhLTdkN2ItNDYyMS1hMGYxLTk2Y2NiNDI4YWY0OSIsInNpZ25hdHVyZSI6Ik1FWUNJUUNmeGZJV3"
    "V4bVdjSUJRSjljNS9YN2lHREpxczJSQ0dzQkVhQWppbnlycmZBSWhBSVY2d0djVGlCdVY1S0pVaWYyaG9reXJMK1E5c3NIa2FkK214Mm5FRTI1dyIs"
    "ImRpZ2VzdCI6IlNIQTEifQ=="
)
EBAY_ID = "9936261a-7d7b-4621-a0f1-96ccb428af49"
EBAY_BODY = {
    "metadata": {"topic": "MARKETPLACE_ACCOUNT_DELETION", "schemaVersion": "1.0", "deprecated": False},
    "notification": {
        "notificationId": "49feeaeb-4982-42d9-a377-9645b8479411_33f7e043-fed8-442b-9d44-791923bd9a6d",
        "eventDate": "2021-03-19T20:43:59.462Z",
        "publishDate": "2021-03-19T20:43:59.679Z",
        "publishAttemptCount": 1,
        "data": {
            "username": "test_user",
            "userId": "ma8vp1jySJC",
            "eiasToken": "nY+sHZ2PrBmdj6wVnY+sEZ2PrA2dj6wJnY+gAZGEpwmdj6x9nY+seQ==",
        },
    },
}
"""The vector of eBay's own SDK (github.com/eBay/event-notification-nodejs-sdk, test/test.json)."""
SENDGRID_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6w"
    "EA3F+g=="
)
SENDGRID_SIGNATURE = "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM="
SENDGRID_EVENT = {
    "email": "hello@world.com",
    "event": "dropped",
    "reason": "Bounced Address",
    "sg_event_id": "ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA",
    "sg_message_id": "LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0",
    "smtp-id": "<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>",
    "timestamp": 1600112492,
}
"""The vector of SendGrid's own library (github.com/sendgrid/sendgrid-python, test/unit/test_eventwebhook.py)."""
EBAY = VerifyOptions(
    scheme="public_key",
    algorithm="ecdsa-sha1",
    signature="{header:X-EBAY-SIGNATURE:signature}",
    key_id="{header:X-EBAY-SIGNATURE:kid}",
    keys=KeySource(url="https://api.ebay.com/commerce/notification/v1/public_key/{key_id}", read="key"),
)


class Ring:
    """Keys at hand, by URL."""

    def __init__(self, keys: dict[str, Any]) -> None:
        self._keys = keys
        self.asked: list[KeyRef] = []

    def find(self, ref: KeyRef) -> tuple[Any, ...]:
        self.asked.append(ref)
        if ref.url not in self._keys:
            raise KeyUnavailable(ref)
        return (self._keys[ref.url],)


def request(body: bytes = BODY, ring: Ring | None = None, **headers: str) -> InboundRequest:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return InboundRequest(CIMultiDict(given), {}, body, keys=ring)


def static(key: str, **more: Any) -> VerifyOptions:
    return VerifyOptions(scheme="public_key", secrets=(SecretStr(key),), **more)


def refusal(given: InboundRequest, options: VerifyOptions) -> str:
    with pytest.raises(VerificationError) as caught:
        verify_scheme(given, options, NOW)
    return str(caught.value)


def test_a_published_vector_of_ebay_verifies_and_no_change_of_it() -> None:
    body = json.dumps(EBAY_BODY, separators=(",", ":")).encode()
    ring = Ring({f"https://api.ebay.com/commerce/notification/v1/public_key/{EBAY_ID}": key_of(EBAY_KEY)})
    verify_scheme(request(body, ring, x_ebay_signature=EBAY_SIGNATURE), EBAY, NOW)
    assert ring.asked[0].key_id == EBAY_ID
    changed = body.replace(b"test_user", b"test_usex")
    assert refusal(request(changed, ring, x_ebay_signature=EBAY_SIGNATURE), EBAY) == "the signature is wrong"
    other = EBAY.model_copy(update={"algorithm": "ecdsa-sha256"})
    assert refusal(request(body, ring, x_ebay_signature=EBAY_SIGNATURE), other) == "the signature is wrong"
    with pytest.raises(KeyUnavailable):
        verify_scheme(request(body, Ring({}), x_ebay_signature=EBAY_SIGNATURE), EBAY, NOW)


def test_a_published_vector_of_sendgrid_verifies_and_no_change_of_it() -> None:
    body = json.dumps([SENDGRID_EVENT], sort_keys=True, separators=(",", ":")).encode() + b"\r\n"
    options = static(
        SENDGRID_KEY,
        algorithm="ecdsa-sha256",
        header="X-Twilio-Email-Event-Webhook-Signature",
        timestamp_header="X-Twilio-Email-Event-Webhook-Timestamp",
        signed="{timestamp}{body}",
        tolerance_s=1e9,
    )
    headers = {
        "X-Twilio-Email-Event-Webhook-Signature": SENDGRID_SIGNATURE,
        "X-Twilio-Email-Event-Webhook-Timestamp": "1600112502",
    }
    verify_scheme(request(body, **headers), options, NOW)
    assert refusal(request(body[:-2], **headers), options) == "the signature is wrong"
    late = {**headers, "X-Twilio-Email-Event-Webhook-Timestamp": "1600112503"}
    assert refusal(request(body, **late), options) == "the signature is wrong"
    assert "its time is more than 300 s away" in refusal(
        request(body, **headers), options.model_copy(update={"tolerance_s": None})
    )


def test_each_algorithm_verifies_its_own_signatures_and_no_other_keys_or_bodies() -> None:
    for algorithm in SIGN:
        key, other = private_key(algorithm), private_key(algorithm, 1)
        for written in (pem_of(key), der_of(key), pem_of(key).replace("\n", "")):
            options = static(written, algorithm=algorithm)
            verify_scheme(request(x_signature=signature(algorithm, BODY, key)), options, NOW)
            assert refusal(request(x_signature=signature(algorithm, BODY, other)), options) == "the signature is wrong"
            assert refusal(request(BODY + b" ", x_signature=signature(algorithm, BODY, key)), options)
        both = VerifyOptions(
            scheme="public_key", algorithm=algorithm, secrets=(SecretStr(pem_of(other)), SecretStr(pem_of(key)))
        )
        verify_scheme(request(x_signature=signature(algorithm, BODY, key)), both, NOW)


def test_no_algorithm_verifies_what_another_has_signed() -> None:
    for signed_by in SIGN:
        proof = request(x_signature=signature(signed_by, BODY))
        for algorithm in SIGN.keys() - {signed_by}:
            # With the key that signed it: what differs is the algorithm alone.
            assert refusal(proof, static(pem_of(private_key(signed_by)), algorithm=algorithm))


def test_the_algorithm_that_a_request_names_decides_nothing() -> None:
    key = private_key("ecdsa-sha256")
    ring = Ring({"https://keys.example/k1": key.public_key()})
    source = KeySource(url="https://keys.example/{key_id}")
    options = VerifyOptions(
        scheme="public_key",
        algorithm="ecdsa-sha256",
        signature="{header:X-Proof:signature}",
        key_id="{header:X-Proof:kid}",
        keys=source,
    )
    for named in ("none", "HS256", "RS256", "ES256", ""):
        for text, is_right in ((signature("ecdsa-sha256", BODY, key), True), ("", False), ("AA==", False)):
            proof = b64encode(json.dumps({"alg": named, "kid": "k1", "signature": text}).encode()).decode()
            if is_right:
                verify_scheme(request(ring=ring, x_proof=proof), options, NOW)
            else:
                assert refusal(request(ring=ring, x_proof=proof), options)
    rsa = options.model_copy(update={"algorithm": "rsa-sha256"})
    proof = b64encode(json.dumps({"kid": "k1", "signature": "AA=="}).encode()).decode()
    assert refusal(request(ring=ring, x_proof=proof), rsa) == (
        "the endpoint's algorithm is rsa-sha256, and the source's key is one for ecdsa"
    )


def test_a_signature_may_be_written_in_each_usual_way() -> None:
    key = private_key("ecdsa-sha256")
    options = static(pem_of(key), algorithm="ecdsa-sha256")
    plain = signature("ecdsa-sha256", BODY, key)
    verify_scheme(request(x_signature=plain.rstrip("=").replace("+", "-").replace("/", "_")), options, NOW)
    verify_scheme(request(x_signature=raw_signature(BODY, key)), options, NOW)
    hexadecimal = static(pem_of(key), algorithm="ecdsa-sha256", encoding="hex", header="X-Sig", prefix="v1=")
    verify_scheme(request(x_sig="v1=" + b64decode(plain).hex()), hexadecimal, NOW)
    assert refusal(request(x_sig=b64decode(plain).hex()), hexadecimal) == "the signature does not begin as it must"
    assert refusal(request(x_sig="v1=zz"), hexadecimal) == "the signature is not hexadecimal"
    body = json.dumps({"proof": {"text": plain}}).encode()
    in_body = static(pem_of(key), algorithm="ecdsa-sha256", signature="{json:proof.text}")
    assert refusal(request(body), in_body) == "the signature is wrong"


def test_a_refusal_says_what_is_missing() -> None:
    options = static(pem_of(private_key("ed25519")), algorithm="ed25519")
    assert refusal(request(), options) == "the header X-Signature is missing"
    assert refusal(request(x_signature="%%%"), options) == "the signature is not base64"
    assert refusal(request(x_signature="A" * 5000), options) == "the signature is not base64"
    assert refusal(request(), EBAY) == "the header X-EBAY-SIGNATURE is missing"
    assert refusal(request(x_ebay_signature="e30="), EBAY) == (
        "the signature is missing: signature of X-EBAY-SIGNATURE holds no text"
    )
    assert refusal(request(x_ebay_signature="nonsense!"), EBAY) == "the header X-EBAY-SIGNATURE is not base64 of JSON"
    for kid in ("..", ".", "x" * 300):
        proof = b64encode(json.dumps({"kid": kid, "signature": "AA=="}).encode()).decode()
        assert "the key id" in refusal(request(x_ebay_signature=proof), EBAY)
    # Bytes in a header that are no text.
    by_header = EBAY.model_copy(update={"key_id": "{header:X-Kid}"})
    proof = b64encode(json.dumps({"kid": "k", "signature": "AA=="}).encode()).decode()
    for kid in ("\udcff", "a\udc80b"):
        assert "the key id cannot" in refusal(request(x_ebay_signature=proof, x_kid=kid), by_header)
    proof = b64encode(json.dumps({"kid": "a/../b?c#d", "signature": "AA=="}).encode()).decode()
    ring = Ring({})
    with pytest.raises(KeyUnavailable):
        verify_scheme(request(ring=ring, x_ebay_signature=proof), EBAY, NOW)
    assert ring.asked[0].url.endswith("/public_key/a%2F..%2Fb%3Fc%23d")
    proof = b64encode(json.dumps({"kid": "k", "signature": "AA=="}).encode()).decode()
    assert "only a running server fetches" in refusal(request(x_ebay_signature=proof), EBAY)


def test_a_request_names_a_url_only_at_an_allowed_host() -> None:
    allowed = ("api.paypal.com", "*.keys.example")
    for url in (
        "https://api.paypal.com/v1/notifications/certs/CERT-360caa42",
        "https://new.keys.example/k.pem",
    ):
        assert require_allowed(url, allowed, "it") == url
    for url in (
        "http://api.paypal.com/c",
        "https://api.paypal.com.evil.example/c",
        "https://evil-api.paypal.com/c",
        "https://evil.example/api.paypal.com",
        "https://api.paypal.com@evil.example/c",
        "https://evil.example@api.paypal.com/c",
        "https://api.paypal.com:443/c",
        "https://api.paypal.com:8443/c",
        "https://api.paypal.com./c",
        "https://API.PAYPAL.COM/c",
        "HTTPS://api.paypal.com/c",
        "https://api.paypal.com/c?x=1",
        "https://api.paypal.com/c#x",
        "https://api.paypal.com",
        "https://api.paypal.com\\@evil.example/c",
        "https://api.paypal.com/../c",
        "https://api.paypal.com/a/%2e%2e/c",
        "https://api.paypal.com/a%2fb",
        "https://api.paypal.com/c\n",
        " https://api.paypal.com/c",
        "https://api.p\u0430ypal.com/c",
        "https://api\u3002paypal.com/c",
        "https://keys.example/c",
        "https://old.new.keys.example/c",
        "https://evilkeys.example/c",
        "https://127.0.0.1/c",
        "https://[::1]/c",
        "https://2130706433/c",
        "file:///etc/passwd",
        "//api.paypal.com/c",
        "https://api.paypal.com/" + "c" * 3000,
        "",
    ):
        with pytest.raises(VerificationError):
            require_allowed(url, allowed, "it")


def test_what_cannot_work_is_refused_when_it_is_saved() -> None:
    rsa, ecdsa = pem_of(private_key("rsa-sha256")), pem_of(private_key("ecdsa-sha256"))
    https, place = "https://keys.example/k", "{header:X-Cert-Url}"
    faults: tuple[tuple[dict[str, Any], str, str], ...] = (
        ({"secrets": [rsa]}, "algorithm", "say which algorithm"),
        ({"secrets": [rsa], "algorithm": "sha512"}, "algorithm", "say which algorithm"),
        ({"secrets": [rsa], "algorithm": "ecdsa-sha256"}, "secrets", "the key is one for rsa"),
        ({"secrets": ["nonsense"], "algorithm": "ed25519"}, "secrets", "no public key in PEM"),
        ({"secrets": [ecdsa], "algorithm": "ecdsa-sha256", "key_id": "{header:A}"}, "key_id", "nothing to look up"),
        ({"secrets": [ecdsa], "algorithm": "ecdsa-sha256", "signature": "proof"}, "signature", "no place of a request"),
        ({"secrets": [ecdsa], "algorithm": "ecdsa-sha256", "tolerance_s": 5}, "tolerance_s", "no time to compare"),
        ({"secrets": [ecdsa], "timestamp_header": "T", "signed": "{body}"}, "timestamp_header", "change the time"),
        ({"secrets": [ecdsa], "keys": {"jwks_url": https}}, "secrets", "leave secrets out"),
        ({"keys": {"jwks_url": "http://keys.example/k"}}, "keys", "begins with https://"),
        ({"keys": {"jwks_url": "https://u:p@keys.example/k"}}, "keys", "leave user, password"),
        ({"keys": {"jwks_url": https, "hosts": ["keys.example"]}}, "keys", "hosts is for a URL"),
        ({"keys": {"jwks_url": https, "read": "a"}}, "keys", "read is for url"),
        ({"keys": {"jwks_url": https, "names": ["keys.example"]}}, "keys", "for certificate_url"),
        ({"keys": {"certificate_url": place}}, "keys", "hosts must list"),
        ({"keys": {"certificate_url": place, "hosts": ["Keys.Example"]}}, "keys", "is no host"),
        ({"keys": {"certificate_url": place, "hosts": ["*"]}}, "keys", "is no host"),
        ({"keys": {"certificate_url": place, "hosts": ["*.com"]}}, "keys", "is no host"),
        ({"keys": {"certificate_url": place, "hosts": ["127.0.0.1"]}}, "keys", "is no host"),
        ({"keys": {"certificate_url": "{headers:X}", "hosts": ["a.example"]}}, "keys", "is no place"),
        ({"keys": {"certificate_url": https, "roots": "nonsense"}}, "keys", "no certificate in PEM"),
        ({"keys": {"jwks_url": "https://{key_id}.example/k"}, "key_id": "{json:kid}"}, "keys", "is for url"),
        ({"keys": {"url": "https://{key_id}.example/k"}, "key_id": "{json:kid}"}, "keys", "must stand behind the host"),
        ({"keys": {"url": "https://keys.example/{key_id}"}}, "keys", "say in key_id"),
        ({"keys": {"url": https, "read": "a["}}, "keys", "JMESPath"),
    )
    for given, option, text in faults:
        algorithm = {} if option == "algorithm" else {"algorithm": "ecdsa-sha256"}
        options = VerifyOptions.model_validate({"scheme": "public_key", **algorithm, **given})
        fault = unheeded(options, OPTIONS["public_key"])
        assert fault is not None, given
        assert fault[0] == option, (given, fault)
        assert text in fault[1], (given, fault)
    assert unheeded(EBAY, OPTIONS["public_key"]) is None
    for source in ({}, {"jwks_url": https, "url": https}):
        with pytest.raises(ValidationError, match="give one of"):
            KeySource.model_validate(source)


def test_a_weak_a_huge_or_a_private_key_is_none() -> None:
    key = private_key("ed25519")
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    for text, why in ((pem_of(rsa_key(1024)), "has 1024 bits"), (private, "private key"), ("A" * 20_000, "characters")):
        with pytest.raises(UnusableKey, match=why):
            key_of(text)


def test_a_key_set_is_read_and_what_is_weak_in_it_is_named() -> None:
    keys = [private_key(name) for name in ("rsa-sha256", "ecdsa-sha256", "ed25519")]
    huge = {"kty": "RSA", "kid": "huge", "e": "AQAB", "n": "_" * 3000}
    given = [jwk_of(key, kind_of(key.public_key())) for key in keys]
    odd = [jwk_of(rsa_key(1024), "weak"), huge, {"kty": "oct", "kid": "oct", "k": "AA"}, {"kty": "EC", "kid": "bad"}]
    found = keys_of_jwks(json.dumps({"keys": [*given, *odd, 5, {"kty": "RSA", "use": "enc", "kid": "enc"}]}).encode())
    for key in keys:
        assert found[kind_of(key.public_key())] == key.public_key()
    assert {id for id, key in found.items() if isinstance(key, UnusableKey)} == {"weak", "huge", "oct", "bad"}
    for hostile in (
        json.dumps({"keys": [given[1]] * 10_000}).encode(),
        b"[" * 100_000,
        b'{"keys": {}}',
        b"<html>",
        b"[]",
        b"",
    ):
        with pytest.raises(UnusableKey):
            keys_of_jwks(hostile)


def test_only_the_source_can_sign() -> None:
    for options in (EBAY, VerifyOptions(scheme="sns", topics=("arn",))):
        with pytest.raises(CannotSign, match="the source alone has the private key"):
            sign_scheme(HttpRequest("POST", ""), options, NOW)


def test_a_public_key_is_no_secret() -> None:
    """An endpoint that is changed from public_key to hmac keeps its secrets: anybody could sign by them."""
    for algorithm in ("rsa-sha256", "ecdsa-sha256", "ed25519"):
        pem = pem_of(private_key(algorithm))
        der = "".join(line for line in pem.splitlines() if not line.startswith("-----"))
        for scheme in ("hmac", "token", "github", "shopify", "stripe", "handler"):
            for secret in (pem, der):
                fault = unheeded(
                    VerifyOptions.model_validate({"scheme": scheme, "secrets": ["s", secret]}), frozenset()
                )
                assert fault is not None, (algorithm, scheme)
                assert (fault[0], "is a public key" in fault[1]) == ("secrets", True)
