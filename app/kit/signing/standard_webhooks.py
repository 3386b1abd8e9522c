"""Scheme `standard_webhooks`: `webhook-signature` over id, time and body, by HMAC (`whsec_`) or ed25519 (`whpk_`)."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Iterable
from datetime import datetime
from hmac import compare_digest

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from app.contract import InboundRequest, VerificationError, VerifyOptions
from app.kit.signing.proof import TOLERANCE_S, as_bytes, header_of, require_fresh, secrets_of, unix_time

_WHSEC, _WHPK = "whsec_", "whpk_"


def verify_standard_webhooks(request: InboundRequest, options: VerifyOptions, now: datetime) -> None:
    """Raises `VerificationError`."""
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
