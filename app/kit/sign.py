"""Signs webhooks as a provider would: the counterpart of `app.kit.signing`, for samples sent to one's own endpoints.

Each function takes an unsigned webhook, and returns it with the proof made by the first of the endpoint's secrets.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import quote

from msgspec.structs import replace

from app.contract import HttpRequest, InboundRequest, VerificationError, VerifyOptions
from app.kit.signing import (
    QUERY_TOKEN,
    HmacScheme,
    TimestampFormat,
    header_names,
    items_of,
    keys_of,
    read_document,
    scheme_of,
    secrets_of,
    signed_parts,
)
from app.kit.signing.hmac_scheme import GITHUB, SHOPIFY

PUBLIC_KEY = "whpk_"
SAMPLE_ID = "msg_rescind_test"


class CannotSign(Exception):
    """Nobody but the provider can sign for this endpoint; the message says why."""


def sign_scheme(webhook: HttpRequest, options: VerifyOptions, now: datetime, url: str = "") -> HttpRequest:
    """Sign by `options.scheme`, which must not be `handler`. Raises `CannotSign`.

    `url` is the one that the server will take for the URL that was called: some signatures hold it.
    """
    if options.scheme == "hmac":
        return sign_hmac(scheme_of(options), webhook, options, now, url)
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


def sign_hmac(
    scheme: HmacScheme, webhook: HttpRequest, options: VerifyOptions, now: datetime, url: str = ""
) -> HttpRequest:
    """The webhook with the HMAC that `scheme.verify` wants. The header of `options` outranks the scheme's.

    Headers that are signed and not there are made up. Raises `CannotSign`.
    """
    timestamp = _timestamp(now, scheme.timestamp_format)
    lower = {name.lower() for name in webhook.headers}
    headers = {name: SAMPLE_ID for name in header_names(scheme.signed) if name.lower() not in lower}
    if scheme.timestamp_header is not None:
        headers = {name: value for name, value in headers.items() if name.lower() != scheme.timestamp_header.lower()}
        headers[scheme.timestamp_header] = timestamp
    webhook = _with_headers(webhook, headers)
    request = InboundRequest(_LowerCased(webhook.headers), {}, webhook.body, webhook.method, url)
    try:
        if scheme.signature is not None:
            return replace(webhook, body=_with_signatures(scheme, scheme.signature, request, options, timestamp))
        signature = _signature(scheme, signed_parts(scheme.signed).message(request, timestamp), options)
    except VerificationError as error:
        raise CannotSign(f"there is nothing to sign: {error}") from error
    return _with_headers(webhook, {options.header or scheme.header: signature})


class _LowerCased(dict[str, str]):
    """Headers, looked up without regard to case."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__({name.lower(): value for name, value in headers.items()})

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)


def _timestamp(now: datetime, form: TimestampFormat) -> str:
    if form == "iso8601":
        return now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return str(int(now.timestamp() * (1000 if form == "unix_ms" else 1)))


def _signature(scheme: HmacScheme, message: bytes, options: VerifyOptions) -> str:
    keys = keys_of(options, scheme.key)[:1]
    if not keys:
        raise CannotSign(f"the secret is not {scheme.key}, as verify.key says it is")
    return scheme.prefix + scheme.signatures(message, keys)[0].decode()


def _with_signatures(
    scheme: HmacScheme, place: str, request: InboundRequest, options: VerifyOptions, timestamp: str
) -> bytes:
    """The body with a signature in each of its items, or in itself."""
    parts = signed_parts(scheme.signed)
    try:
        document = json.loads(request.body)
        # What is verified are numbers as the body spells them, so they are read out of what is sent.
        read = read_document(_encoded(document))
        for item, as_read in zip(_items(scheme, document), _items(scheme, read), strict=True):
            *above, last = place.split(".")
            inner = item
            for key in above:
                inner = inner.setdefault(key, {})
            inner[last] = _signature(scheme, parts.message(request, timestamp, as_read), options)
        return _encoded(document)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise CannotSign(f"the body has no place for a signature at {place}") from error


def _items(scheme: HmacScheme, document: Any) -> list[Any]:
    return [document] if scheme.items is None else items_of(scheme.items, document)


def _encoded(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, allow_nan=False).encode()


def _sign_basic(webhook: HttpRequest, options: VerifyOptions, _now: datetime) -> HttpRequest:
    credentials = b64encode(options.username.encode() + b":" + _key(options)).decode()
    return _with_headers(webhook, {options.header or "Authorization": f"Basic {credentials}"})


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


def _sign_by_key(_webhook: HttpRequest, options: VerifyOptions, _now: datetime) -> HttpRequest:
    raise CannotSign(
        f"the scheme {options.scheme} verifies by a public key: the source alone has the private key that signs"
    )


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
    "standard_webhooks": _sign_standard_webhooks,
    "github": partial(sign_hmac, GITHUB),
    "stripe": _sign_stripe,
    "shopify": partial(sign_hmac, SHOPIFY),
    "public_key": _sign_by_key,
    "sns": _sign_by_key,
}
