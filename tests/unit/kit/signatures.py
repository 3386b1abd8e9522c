"""Signatures made by the book, written down once more: a slip in `app.kit.signing` must not be made here as well."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

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
    "basic": (basic, {"scheme": "basic", "username": "shop"}, KEY),
    "token": (token, {"scheme": "token"}, KEY),
}
OTHERS = {WHSEC: "whsec_" + b64encode(b"another").decode(), WHPK: "whpk_" + b64encode(bytes(32)).decode(), KEY: "other"}
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
) -> None:
    given = VerifyOptions.model_validate({**options, "secrets": tuple(map(SecretStr, secrets))})
    verify_scheme(InboundRequest(CIMultiDict(headers), query or {}, body), given, now)


def refusal(headers: Mapping[str, str], options: Mapping[str, Any], *secrets: str, **more: Any) -> str:
    with pytest.raises(VerificationError) as caught:
        verify(headers, options, *secrets, **more)
    message = str(caught.value)
    assert not any(secret in message for secret in secrets if secret)
    return message
