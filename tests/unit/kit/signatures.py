"""Signatures made by the book, written down once more: a slip in `app.kit.signing` must not be made here as well."""

from __future__ import annotations

import hashlib
import hmac
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from multidict import CIMultiDict
from pydantic import SecretStr

from app.contract import InboundRequest, VerificationError, VerifyOptions
from app.kit.signing import verify_scheme

NOW = datetime(2026, 3, 2, 16, 4, 6, tzinfo=UTC)
SECONDS = str(int(NOW.timestamp()))
BODY = b'{"id": "o-1", "status": "placed"}'
KEY = "a-secret-of-the-source"
HEX_KEY = "9f" * 32
URL = "https://hooks.example.com/webhooks/shop-in?a=1&b=%2F"
WHSEC = "whsec_" + b64encode(b"thirty-two bytes of a secret key").decode()
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
WHPK = "whpk_" + b64encode(PRIVATE.public_key().public_bytes_raw()).decode()

Case = tuple[Callable[..., dict[str, str]], dict[str, Any], str]


def digest(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()


def standard(body: bytes = BODY, secret: str = WHSEC, at: str = SECONDS, id: str = "msg_1") -> dict[str, str]:
    signature = digest(b64decode(secret.removeprefix("whsec_")), f"{id}.{at}.".encode() + body)
    return {"webhook-id": id, "webhook-timestamp": at, "webhook-signature": "v1," + b64encode(signature).decode()}


def asymmetric(body: bytes = BODY, secret: str = WHPK, at: str = SECONDS, id: str = "msg_1") -> dict[str, str]:
    assert secret == WHPK
    signature = b64encode(PRIVATE.sign(f"{id}.{at}.".encode() + body)).decode()
    return {"webhook-id": id, "webhook-timestamp": at, "webhook-signature": "v1a," + signature}


def github(body: bytes = BODY, secret: str = KEY, at: str = SECONDS) -> dict[str, str]:
    del at
    return {"X-Hub-Signature-256": "sha256=" + digest(secret.encode(), body).hex()}


def shopify(body: bytes = BODY, secret: str = KEY, at: str = SECONDS) -> dict[str, str]:
    del at
    return {"X-Shopify-Hmac-SHA256": b64encode(digest(secret.encode(), body)).decode()}


def stripe(body: bytes = BODY, secret: str = KEY, at: str = SECONDS) -> dict[str, str]:
    return {"Stripe-Signature": f"t={at},v0=abc,v1={digest(secret.encode(), at.encode() + b'.' + body).hex()}"}


def plain_hmac(body: bytes = BODY, secret: str = KEY, at: str = SECONDS) -> dict[str, str]:
    del at
    return {"X-Signature": digest(secret.encode(), body).hex()}


def timed_hmac(body: bytes = BODY, secret: str = KEY, at: str = SECONDS) -> dict[str, str]:
    signature = b64encode(digest(secret.encode(), f"v0:{at}:".encode() + body)).decode()
    return {"X-Shop-Time": at, "X-Shop-Signature": f"v0={signature}"}


def url_hmac(body: bytes = BODY, secret: str = KEY, at: str = SECONDS, url: str = URL) -> dict[str, str]:
    del at
    return {"X-Signature": b64encode(digest(secret.encode(), url.encode() + body)).decode()}


def form_hmac(body: bytes = BODY, secret: str = KEY, at: str = SECONDS, url: str = URL) -> dict[str, str]:
    del at
    # Latin-1 gives every byte a character, so that fields that are no text are read too.
    fields = parse_qsl(body.decode("latin-1"), keep_blank_values=True, encoding="latin-1")
    joined = "".join(name + value for name, value in sorted(set(fields))).encode("latin-1")
    made = hmac.new(secret.encode(), url.encode() + joined, hashlib.sha1).digest()
    return {"X-Signature": b64encode(made).decode()}


def digest_hmac(body: bytes = BODY, secret: str = HEX_KEY, at: str = SECONDS, id: str = "id-7") -> dict[str, str]:
    del at
    message = f"POST|{id}|{zlib.crc32(body)}|{hashlib.sha256(body).hexdigest()}"
    key = bytes(int(secret[index : index + 2], 16) for index in range(0, len(secret), 2))
    return {"X-Id": id, "X-Signature": hmac.new(key, message.encode(), hashlib.sha512).hexdigest()}


def field_hmac(item: Mapping[str, Any], *keys: str, secret: str = KEY) -> str:
    """Of fields of a JSON object, with colons between them; a field that is not there is empty."""
    spelled = [repr(value).lower() if isinstance(value, bool) else str(value) for value in map(item.get, keys)]
    return digest(secret.encode(), ":".join("" if each == "None" else each for each in spelled).encode()).hex()


TIMED = {
    "header": "X-Shop-Signature",
    "timestamp_header": "X-Shop-Time",
    "encoding": "base64",
    "prefix": "v0=",
    "signed": "v0:{timestamp}:{body}",
}


def basic(body: bytes = BODY, secret: str = KEY, at: str = SECONDS) -> dict[str, str]:
    del body, at
    return {"Authorization": "Basic " + b64encode(f"shop:{secret}".encode()).decode()}


def token(body: bytes = BODY, secret: str = KEY, at: str = SECONDS) -> dict[str, str]:
    del body, at
    return {"Authorization": f"Bearer {secret}"}


CASES: dict[str, Case] = {
    "standard_webhooks": (standard, {"scheme": "standard_webhooks"}, WHSEC),
    "standard_webhooks ed25519": (asymmetric, {"scheme": "standard_webhooks"}, WHPK),
    "github": (github, {"scheme": "github"}, KEY),
    "shopify": (shopify, {"scheme": "shopify"}, KEY),
    "stripe": (stripe, {"scheme": "stripe"}, KEY),
    "hmac": (plain_hmac, {"scheme": "hmac"}, KEY),
    "hmac with a time": (timed_hmac, {"scheme": "hmac", **TIMED}, KEY),
    "hmac of the URL": (url_hmac, {"scheme": "hmac", "encoding": "base64", "signed": "{url}{body}"}, KEY),
    "hmac of a form": (
        form_hmac,
        {"scheme": "hmac", "algorithm": "sha1", "encoding": "base64", "signed": "{url}{form}"},
        KEY,
    ),
    "hmac of digests": (
        digest_hmac,
        {
            "scheme": "hmac",
            "algorithm": "sha512",
            "key": "hex",
            "signed": "{method}|{header:X-Id}|{crc32}|{sha256}",
        },
        HEX_KEY,
    ),
    "basic": (basic, {"scheme": "basic", "username": "shop"}, KEY),
    "token": (token, {"scheme": "token"}, KEY),
}
OTHERS = {
    WHSEC: "whsec_" + b64encode(b"another").decode(),
    WHPK: "whpk_" + b64encode(bytes(32)).decode(),
    KEY: "other",
    HEX_KEY: "00ff",
}
SIGNED = {name: case for name, case in CASES.items() if name not in ("basic", "token")}
FRESH = {
    name: case for name, case in SIGNED.items() if "at" in case[0].__annotations__ and case[0](at="1") != case[0]()
}


def verify(
    headers: Mapping[str, str],
    options: Mapping[str, Any],
    *secrets: str,
    body: bytes = BODY,
    query: Mapping[str, str] | None = None,
    now: datetime = NOW,
    url: str = URL,
) -> None:
    given = VerifyOptions.model_validate({**options, "secrets": tuple(map(SecretStr, secrets))})
    verify_scheme(InboundRequest(CIMultiDict(headers), query or {}, body, url=url), given, now)


def refusal(headers: Mapping[str, str], options: Mapping[str, Any], *secrets: str, **more: Any) -> str:
    with pytest.raises(VerificationError) as caught:
        verify(headers, options, *secrets, **more)
    message = str(caught.value)
    assert not any(secret in message for secret in secrets if secret)
    return message
