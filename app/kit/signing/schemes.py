"""Proofs of origin that serve any provider. Every comparison takes constant time.

| scheme | proof | source |
|---|---|---|
| `token` | the secret itself, as a bearer token, in a header, or as `?token=` | |
| `basic` | user and secret as HTTP basic credentials | RFC 7617 |
| `hmac` | HMAC of the body, or of what else is signed (`parts`); every part is configuration | |
| `standard_webhooks` | `webhook-signature` over id, time and body: HMAC (`whsec_`) or ed25519 (`whpk_`) | its 1.0 |
| `github` | `X-Hub-Signature-256`, hexadecimal HMAC of the body | GitHub, “Validating webhook deliveries” |
| `stripe` | `Stripe-Signature`, hexadecimal HMAC of time and body | Stripe, “Verify webhook signatures manually” |
| `shopify` | `X-Shopify-Hmac-SHA256`, base64 HMAC of the body | Shopify, “Verify webhook deliveries” |
| `public_key` | RSA, ECDSA or ed25519 by a key of the configuration, or one that the source publishes | |
| `sns` | RSA by the certificate of Amazon SNS | “Verifying the signatures of Amazon SNS messages” |
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from app.contract import InboundRequest, VerifyOptions
from app.kit.signing.credentials import verify_basic, verify_token
from app.kit.signing.hmac_scheme import GITHUB, SHOPIFY, hmac_fault, verify_hmac
from app.kit.signing.key_material import is_public_key
from app.kit.signing.key_options import KEY_OPTIONS, fault_in_options
from app.kit.signing.parts import signed_parts
from app.kit.signing.public_key import verify_public_key
from app.kit.signing.sns import fault_in_topics, verify_sns
from app.kit.signing.standard_webhooks import verify_standard_webhooks
from app.kit.signing.stripe import verify_stripe

PROOF_IN_HEADERS = frozenset({"token", "basic"})
"""Schemes that prove the sender whatever the body is."""


def verify_scheme(request: InboundRequest, options: VerifyOptions, now: datetime) -> None:
    """Authenticate by `options.scheme`, which must not be `handler`. Raises `VerificationError`."""
    _SCHEMES[options.scheme](request, options, now)


OPTIONS: dict[str, frozenset[str]] = {
    "token": frozenset({"header"}),
    "basic": frozenset({"header", "username"}),
    "hmac": frozenset(
        {
            "header",
            "encoding",
            "prefix",
            "timestamp_header",
            "timestamp_format",
            "signed",
            "tolerance_s",
            "algorithm",
            "key",
            "items",
            "signature",
        }
    ),
    "standard_webhooks": frozenset({"header", "tolerance_s"}),
    "github": frozenset({"header"}),
    "stripe": frozenset({"header", "tolerance_s"}),
    "shopify": frozenset({"header"}),
    "public_key": KEY_OPTIONS,
    "sns": frozenset({"tolerance_s", "topics"}),
}
"""Scheme → which of `VerifyOptions` it heeds besides `secrets`."""


def is_keyless(options: VerifyOptions) -> bool:
    """Whether the endpoint needs no secret: its keys are published."""
    return options.scheme == "sns" or (options.scheme == "public_key" and options.keys is not None)


def unheeded(options: VerifyOptions, heeded: frozenset[str]) -> tuple[str, str] | None:
    """An option that was given in vain or with which nothing verifies, and why.

    Somebody who gave it believes in a check that is not made.
    """
    for name in sorted(options.model_fields_set - heeded - {"scheme", "secrets"}):
        if getattr(options, name) not in (None, "", ()):
            takes = ", ".join(sorted(heeded)) or "none"
            return name, f"the scheme {options.scheme} makes nothing of it: leave it out (options it takes: {takes})"
    try:
        signed_parts(options.signed or "")
    except ValueError as error:
        return "signed", str(error)
    if options.scheme != "public_key" and any(is_public_key(secret.get_secret_value()) for secret in options.secrets):
        return (
            "secrets",
            "one is a public key, so anybody could sign with it: set scheme to public_key, or give a secret",
        )
    fault = _FAULTS.get(options.scheme)
    return None if fault is None else fault(options)


def signs_url(options: VerifyOptions) -> bool:
    """Whether nothing can be verified without the URL under which the server is called."""
    try:
        return options.signed is not None and "url" in signed_parts(options.signed).places
    except ValueError:
        return False  # a text of a handler's own form


_FAULTS: dict[str, Callable[[VerifyOptions], tuple[str, str] | None]] = {
    "hmac": hmac_fault,
    "public_key": fault_in_options,
    "sns": fault_in_topics,
}
"""Scheme → what is wrong with options that it heeds: (option, why)."""
_SCHEMES: dict[str, Callable[[InboundRequest, VerifyOptions, datetime], None]] = {
    "token": lambda request, options, _now: verify_token(request, options),
    "basic": verify_basic,
    "hmac": verify_hmac,
    "standard_webhooks": verify_standard_webhooks,
    "github": GITHUB.verify,
    "stripe": verify_stripe,
    "shopify": SHOPIFY.verify,
    "public_key": verify_public_key,
    "sns": verify_sns,
}
