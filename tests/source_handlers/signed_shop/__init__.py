"""The Signed shop, made up: its API and its webhooks are signed, each request with a nonce of its own.

A handler of generic's kind: an account is configured as the Example shop's is, and this module adds what a
configuration cannot say. “Signing requests”: `X-Shop-Signature` is the hex HMAC-SHA256, by the merchant's key, of

    method \\n path and query \\n unix seconds \\n nonce \\n SHA-256 of the body in hex

A nonce counts once. A webhook is signed likewise, with `POST` and an empty path.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from urllib.parse import urlsplit

from handlers.signed_shop.simulator import SignedShop
from msgspec.structs import replace
from pydantic import Field

from app.contract import Context, Flow, HttpRequest, InboundRequest, ProbeUnavailable, VerificationError, VerifyOptions
from app.kit.config import HeaderSecret
from app.kit.signing import TOLERANCE_S, as_bytes, header_of, require_fresh, require_match, secrets_of, unix_time
from handlers import generic

TIME, NONCE, SIGNATURE = "X-Shop-Time", "X-Shop-Nonce", "X-Shop-Signature"
MERCHANT = "X-Shop-Merchant"


class Config(generic.Config):
    """An account at the Signed shop."""

    merchant: str = Field(pattern=r"^[a-z0-9-]{1,40}$", description="The merchant's id at the shop.")
    signing_key: HeaderSecret = Field(description="The key that signs the calls.")


def signature(key: bytes, method: str, target: str, time: str, nonce: str, body: bytes) -> str:
    """What the shop's document says, in hex."""
    text = "\n".join([method, target, time, nonce, sha256(body).hexdigest()])
    return hmac.new(key, text.encode("utf-8", "surrogateescape"), sha256).hexdigest()


def authorize(request: HttpRequest, config: Config, context: Context) -> Flow[HttpRequest | ProbeUnavailable]:
    """Sign a call. After a 401 it is signed once more, with another nonce."""
    url = urlsplit(request.url)
    target = url.path + (f"?{url.query}" if url.query else "")
    time, nonce = str(int(context.now.timestamp())), context.unique()
    key = config.signing_key.get_secret_value().encode()
    proof = _headers(time, nonce, signature(key, request.method, target, time, nonce, request.body))
    yield from ()  # A flow may call for a token here, say.
    return replace(request, headers={**request.headers, MERCHANT: config.merchant, **proof})


def verify(request: InboundRequest, options: VerifyOptions, now: datetime) -> None:
    """Check a webhook's signature and its time. Raises `VerificationError`."""
    given, time = header_of(request, SIGNATURE), header_of(request, TIME)
    nonce = request.headers.get(NONCE, "")
    if not nonce:
        raise VerificationError(f"the header {NONCE} is missing", cause="missing_signature")
    require_fresh(unix_time(time, TIME), now, TOLERANCE_S if options.tolerance_s is None else options.tolerance_s)
    made = [signature(key, "POST", "", time, nonce, request.body).encode() for key in secrets_of(options)]
    require_match(as_bytes(given), made, "signature")


def sign(webhook: HttpRequest, options: VerifyOptions, now: datetime) -> HttpRequest:
    """The webhook, signed as the shop signs it."""
    time, nonce = str(int(now.timestamp())), f"test-{now.timestamp()}"
    [key, *_] = secrets_of(options)
    proof = _headers(time, nonce, signature(key, "POST", "", time, nonce, webhook.body))
    return replace(webhook, headers={**webhook.headers, **proof})


def _headers(time: str, nonce: str, made: str) -> Mapping[str, str]:
    return {TIME: time, NONCE: nonce, SIGNATURE: made}


HANDLER = generic.source_handler(
    "signed_shop",
    "The Signed shop",
    docs=["https://signed-shop.example.com/docs/signing-requests"],
    config=Config,
    verify=verify,
    verify_options=frozenset({"tolerance_s"}),
    signed_headers=(TIME, NONCE),
    sign=sign,
    authorize=authorize,
    simulator=SignedShop,
)
