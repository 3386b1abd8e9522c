"""Proofs of origin that serve any provider. Every comparison takes constant time.

| scheme | proof | source |
|---|---|---|
| `token` | the secret itself, as a bearer token, in a header, or as `?token=` | |
| `basic` | user and secret as HTTP basic credentials | RFC 7617 |
| `hmac` | HMAC-SHA256 of the body, and of a time where one is sent; every part is configuration | |
| `standard_webhooks` | `webhook-signature` over id, time and body: HMAC (`whsec_`) or ed25519 (`whpk_`) | its 1.0 |
| `github` | `X-Hub-Signature-256`, hexadecimal HMAC of the body | GitHub, “Validating webhook deliveries” |
| `stripe` | `Stripe-Signature`, hexadecimal HMAC of time and body | Stripe, “Verify webhook signatures manually” |
| `shopify` | `X-Shopify-Hmac-SHA256`, base64 HMAC of the body | Shopify, “Verify webhook deliveries” |
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hmac import compare_digest
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from app.contract import InboundRequest, VerificationError, VerifyOptions

QUERY_TOKEN = "token"  # noqa: S105 - the name of a parameter
TOLERANCE_S = 300.0
_WHSEC, _WHPK = "whsec_", "whpk_"


PROOF_IN_HEADERS = frozenset({"token", "basic"})
"""Schemes that prove the sender whatever the body is."""


def verify_scheme(request: InboundRequest, options: VerifyOptions, now: datetime) -> None:
    """Authenticate by `options.scheme`, which must not be `handler`. Raises `VerificationError`."""
    _SCHEMES[options.scheme](request, options, now)


def verify_token(request: InboundRequest, options: VerifyOptions) -> None:
    """Scheme `token`: the secret itself, as a bearer token, in the header that `options` names, or as `?token=`."""
    header = options.header or "Authorization"
    given = request.headers.get(header)
    if given is not None and header.lower() == "authorization":
        # Credentials of another scheme may be a proxy's business.
        scheme, _, token = given.partition(" ")
        given = token if scheme.lower() == "bearer" else None
    if given is None:
        given = request.query.get(QUERY_TOKEN)
    if given is None and header in request.headers:
        raise VerificationError(f"the {header} header holds no bearer token", cause="missing_signature")
    if given is None:
        raise VerificationError(
            f"no token: send it in the header {header} or as ?{QUERY_TOKEN}= in the URL", cause="missing_signature"
        )
    require_match(as_bytes(given.strip()), secrets_of(options), "token")


@dataclass(frozen=True, slots=True)
class HmacScheme:
    """HMAC-SHA256 in a header, over the body and perhaps a time."""

    header: str
    encoding: Literal["hex", "base64"] = "hex"
    prefix: str = ""
    timestamp_header: str | None = None
    signed: str = "{body}"
    """Made of `{body}` and `{timestamp}`."""
    tolerance_s: float = TOLERANCE_S

    def verify(self, request: InboundRequest, options: VerifyOptions, now: datetime) -> None:
        """Raises `VerificationError`. The header and the tolerance of `options` outrank the scheme's."""
        given = header_of(request, options.header or self.header)
        timestamp = ""
        if self.timestamp_header is not None:
            timestamp = header_of(request, self.timestamp_header)
            tolerance_s = self.tolerance_s if options.tolerance_s is None else options.tolerance_s
            require_fresh(unix_time(timestamp, self.timestamp_header), now, tolerance_s)
        if not given.startswith(self.prefix):
            raise VerificationError(f"the signature in {options.header or self.header} does not begin as it must")
        message = _message(self.signed, timestamp, request.body)
        wanted = [self._written(hmac.digest(key, message, hashlib.sha256)) for key in secrets_of(options)]
        raw = as_bytes(given.removeprefix(self.prefix))
        require_match(raw.lower() if self.encoding == "hex" else raw, wanted, "signature")

    def _written(self, digest: bytes) -> bytes:
        return digest.hex().encode() if self.encoding == "hex" else b64encode(digest)


def header_of(request: InboundRequest, name: str) -> str:
    """The header's value. Raises `VerificationError` if it is not there."""
    value = request.headers.get(name)
    if not value:
        raise VerificationError(f"the header {name} is missing", cause="missing_signature")
    return value.strip()


def unix_time(value: str, where: str) -> float:
    """Unix seconds out of a header. Raises `VerificationError`."""
    if not (value.isascii() and value.isdecimal() and len(value) <= 12):  # noqa: PLR2004 - beyond it is no time
        raise VerificationError(f"{where} holds no unix time in seconds")
    return float(value)


def require_fresh(sent_at_s: float, now: datetime, tolerance_s: float) -> None:
    """Raise `VerificationError` if the signed time is further from now than `tolerance_s`, before or after."""
    if abs(now.timestamp() - sent_at_s) > tolerance_s:
        raise VerificationError(
            f"its time is more than {tolerance_s:g} s away from now: check the clocks, or set verify.tolerance_s",
            cause="too_old",
        )


def require_match(given: bytes, accepted: Sequence[bytes], what: str) -> None:
    """Raise `VerificationError` unless `given` is one of `accepted`; looks at all of them either way."""
    matches = [compare_digest(given, each) for each in accepted]
    if not any(matches):
        raise VerificationError(f"the {what} is wrong")


def secrets_of(options: VerifyOptions) -> list[bytes]:
    """The endpoint's secrets, as bytes; an empty one proves nothing and is left out."""
    return [value.encode() for secret in options.secrets if (value := secret.get_secret_value())]


def as_bytes(text: str) -> bytes:
    """A header may hold bytes that are no text; they must compare, and not raise."""
    return text.encode("utf-8", "surrogateescape")


def _message(template: str, timestamp: str, body: bytes) -> bytes:
    before, mark, after = template.partition("{body}")
    parts = (as_bytes(each.replace("{timestamp}", timestamp)) for each in (before, after))
    return (body if mark else b"").join(parts)


def _verify_basic(request: InboundRequest, options: VerifyOptions, _now: datetime) -> None:
    scheme, _, encoded = header_of(request, options.header or "Authorization").partition(" ")
    if scheme.lower() != "basic":
        raise VerificationError("it holds no basic credentials", cause="missing_signature")
    try:
        given = b64decode(encoded.strip(), validate=True)
    except ValueError as error:
        raise VerificationError("its basic credentials are no base64") from error
    user = options.username.encode() + b":"
    require_match(given, [user + secret for secret in secrets_of(options)], "user or password")


def _verify_hmac(request: InboundRequest, options: VerifyOptions, now: datetime) -> None:
    signed = options.signed or ("{timestamp}.{body}" if options.timestamp_header else "{body}")
    header = options.header or "X-Signature"
    HmacScheme(header, options.encoding, options.prefix, options.timestamp_header, signed).verify(request, options, now)


def _verify_standard_webhooks(request: InboundRequest, options: VerifyOptions, now: datetime) -> None:
    id, timestamp = header_of(request, "webhook-id"), header_of(request, "webhook-timestamp")
    tolerance_s = TOLERANCE_S if options.tolerance_s is None else options.tolerance_s
    require_fresh(unix_time(timestamp, "webhook-timestamp"), now, tolerance_s)
    message = as_bytes(f"{id}.{timestamp}.") + request.body
    given = [each.partition(",") for each in header_of(request, options.header or "webhook-signature").split()]
    symmetric = [as_bytes(signature) for version, _, signature in given if version == "v1"]
    asymmetric = [signature for version, _, signature in given if version == "v1a"]
    found = False
    for secret in secrets_of(options):
        if secret.startswith(_WHPK.encode()):
            found |= _signed_by(secret.removeprefix(_WHPK.encode()), asymmetric, message)
            continue
        try:
            key = b64decode(secret.removeprefix(_WHSEC.encode()), validate=True)
        except ValueError:
            continue  # a secret of another scheme: what it would prove, nothing was signed with
        if not key:
            continue  # a prefix and nothing behind it: anybody can sign with that
        wanted = b64encode(hmac.digest(key, message, hashlib.sha256))
        found |= any([compare_digest(each, wanted) for each in symmetric])  # noqa: C419 - all are looked at
    if not found:
        raise VerificationError("the signature is wrong")


def _signed_by(key: bytes, signatures: Iterable[str], message: bytes) -> bool:
    for each in signatures:
        try:
            raw = b64decode(each, validate=True)
            Ed25519PublicKey.from_public_bytes(b64decode(key, validate=True)).verify(raw, message)
        except (InvalidSignature, ValueError):
            continue
        return True
    return False


def _verify_stripe(request: InboundRequest, options: VerifyOptions, now: datetime) -> None:
    parts = [each.partition("=") for each in header_of(request, options.header or "Stripe-Signature").split(",")]
    timestamp = next((value for name, _, value in parts if name.strip() == "t"), "")
    tolerance_s = TOLERANCE_S if options.tolerance_s is None else options.tolerance_s
    require_fresh(unix_time(timestamp, "Stripe-Signature"), now, tolerance_s)
    message = as_bytes(f"{timestamp}.") + request.body
    wanted = [hmac.digest(key, message, hashlib.sha256).hex().encode() for key in secrets_of(options)]
    given = [as_bytes(value.strip()) for name, _, value in parts if name.strip() == "v1"]
    if not any([compare_digest(one, other) for one in given for other in wanted]):  # noqa: C419 - all are looked at
        raise VerificationError("the signature is wrong")


OPTIONS: dict[str, frozenset[str]] = {
    "token": frozenset({"header"}),
    "basic": frozenset({"header", "username"}),
    "hmac": frozenset({"header", "encoding", "prefix", "timestamp_header", "signed", "tolerance_s"}),
    "standard_webhooks": frozenset({"header", "tolerance_s"}),
    "github": frozenset({"header"}),
    "stripe": frozenset({"header", "tolerance_s"}),
    "shopify": frozenset({"header"}),
}
"""Scheme → which of `VerifyOptions` it heeds besides `secrets`."""
_PLACE = re.compile(r"\{\w+\}")
_SIGNABLE = ("{body}", "{timestamp}")


def unheeded(options: VerifyOptions, heeded: frozenset[str]) -> tuple[str, str] | None:
    """An option that was given in vain, and why: whoever gave it believes in a check that is not made."""
    for name in sorted(options.model_fields_set - heeded - {"scheme", "secrets"}):
        if getattr(options, name) not in (None, ""):
            takes = ", ".join(sorted(heeded)) or "none"
            return name, f"the scheme {options.scheme} makes nothing of it: leave it out (options it takes: {takes})"
    for place in _PLACE.findall(options.signed or ""):
        if place not in _SIGNABLE:
            return "signed", f"{place} is nothing that can be put in: it may hold {' and '.join(_SIGNABLE)}"
    if options.scheme == "hmac" and options.tolerance_s is not None and options.timestamp_header is None:
        return "tolerance_s", "without timestamp_header there is no time to compare: name it, or leave this out"
    return None


_SCHEMES: dict[str, Callable[[InboundRequest, VerifyOptions, datetime], None]] = {
    "token": lambda request, options, _now: verify_token(request, options),
    "basic": _verify_basic,
    "hmac": _verify_hmac,
    "standard_webhooks": _verify_standard_webhooks,
    "github": HmacScheme("X-Hub-Signature-256", prefix="sha256=").verify,
    "stripe": _verify_stripe,
    "shopify": HmacScheme("X-Shopify-Hmac-SHA256", encoding="base64").verify,
}
