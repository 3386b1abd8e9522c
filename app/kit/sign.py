"""Signs webhooks as a provider would: the counterpart of `app.kit.signing`, for samples sent to one's own endpoints.

Each function takes an unsigned webhook, and returns it with the proof made by the first of the endpoint's secrets.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from urllib.parse import quote

from msgspec.structs import replace

from app.contract import HttpRequest, VerifyOptions
from app.kit.signing import QUERY_TOKEN, HmacScheme, as_bytes, secrets_of

PUBLIC_KEY = "whpk_"
SAMPLE_ID = "msg_rescind_test"


class CannotSign(Exception):
    """Nobody but the provider can sign for this endpoint; the message says why."""


def sign_scheme(webhook: HttpRequest, options: VerifyOptions, now: datetime) -> HttpRequest:
    """Sign by `options.scheme`, which must not be `handler`. Raises `CannotSign`."""
    return _SCHEMES[options.scheme](webhook, options, now)


def sign_token(webhook: HttpRequest, options: VerifyOptions, _now: datetime | None = None) -> HttpRequest:
    """The webhook with the token where a provider would send it: in the header of `options`, else in the URL."""
    token = _key(options).decode()
    if options.header is None:
        return replace(
            webhook, url=f"{webhook.url}{'&' if '?' in webhook.url else '?'}{QUERY_TOKEN}={quote(token, '')}"
        )
    bearer = options.header.lower() == "authorization"
    return _with_headers(webhook, {options.header: f"Bearer {token}" if bearer else token})


def sign_hmac(scheme: HmacScheme, webhook: HttpRequest, options: VerifyOptions, now: datetime) -> HttpRequest:
    """The webhook with the HMAC-SHA256 that `scheme.verify` wants. The header of `options` outranks the scheme's."""
    timestamp = str(int(now.timestamp()))
    parts = scheme.signed.partition("{body}")
    before, after = (as_bytes(part.replace("{timestamp}", timestamp)) for part in (parts[0], parts[2]))
    digest = hmac.digest(_key(options), before + (webhook.body if parts[1] else b"") + after, hashlib.sha256)
    text = digest.hex() if scheme.encoding == "hex" else b64encode(digest).decode()
    proof = {options.header or scheme.header: scheme.prefix + text}
    if scheme.timestamp_header is not None:
        proof[scheme.timestamp_header] = timestamp
    return _with_headers(webhook, proof)


def _sign_basic(webhook: HttpRequest, options: VerifyOptions, _now: datetime) -> HttpRequest:
    credentials = b64encode(options.username.encode() + b":" + _key(options)).decode()
    return _with_headers(webhook, {options.header or "Authorization": f"Basic {credentials}"})


def _sign_by_configuration(webhook: HttpRequest, options: VerifyOptions, now: datetime) -> HttpRequest:
    signed = options.signed or ("{timestamp}.{body}" if options.timestamp_header else "{body}")
    scheme = HmacScheme("X-Signature", options.encoding, options.prefix, options.timestamp_header, signed)
    return sign_hmac(scheme, webhook, options, now)


def _sign_standard_webhooks(webhook: HttpRequest, options: VerifyOptions, now: datetime) -> HttpRequest:
    secret = next((key for key in secrets_of(options) if not key.startswith(PUBLIC_KEY.encode())), None)
    if secret is None:
        raise CannotSign("the endpoint has only a public key (whpk_…): the sender alone has the key that signs")
    timestamp = str(int(now.timestamp()))
    id = next((value for name, value in webhook.headers.items() if name.lower() == "webhook-id"), SAMPLE_ID)
    try:
        key = b64decode(secret.removeprefix(b"whsec_"), validate=True)
    except ValueError as error:
        raise CannotSign("the secret is not base64, as Standard Webhooks wants it: whsec_…") from error
    digest = hmac.digest(key, f"{id}.{timestamp}.".encode() + webhook.body, hashlib.sha256)
    proof = {
        "webhook-id": id,
        "webhook-timestamp": timestamp,
        options.header or "webhook-signature": f"v1,{b64encode(digest).decode()}",
    }
    return _with_headers(webhook, proof)


def _sign_stripe(webhook: HttpRequest, options: VerifyOptions, now: datetime) -> HttpRequest:
    timestamp = str(int(now.timestamp()))
    digest = hmac.digest(_key(options), f"{timestamp}.".encode() + webhook.body, hashlib.sha256).hex()
    return _with_headers(webhook, {options.header or "Stripe-Signature": f"t={timestamp},v1={digest}"})


def _key(options: VerifyOptions) -> bytes:
    return secrets_of(options)[0]


def _with_headers(webhook: HttpRequest, proof: Mapping[str, str]) -> HttpRequest:
    """The webhook with these headers instead of any of the same name."""
    replaced = {name.lower() for name in proof}
    kept = {name: value for name, value in webhook.headers.items() if name.lower() not in replaced}
    return replace(webhook, headers={**kept, **proof})


_SCHEMES: dict[str, Callable[[HttpRequest, VerifyOptions, datetime], HttpRequest]] = {
    "token": sign_token,
    "basic": _sign_basic,
    "hmac": _sign_by_configuration,
    "standard_webhooks": _sign_standard_webhooks,
    "github": partial(sign_hmac, HmacScheme("X-Hub-Signature-256", prefix="sha256=")),
    "stripe": _sign_stripe,
    "shopify": partial(sign_hmac, HmacScheme("X-Shopify-Hmac-SHA256", encoding="base64")),
}
