"""Scheme `stripe`: `Stripe-Signature`, hexadecimal HMAC of time and body."""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime
from hmac import compare_digest

from app.contract import InboundRequest, VerificationError, VerifyOptions
from app.kit.signing.proof import TOLERANCE_S, as_bytes, header_of, require_fresh, secrets_of, unix_time


def verify_stripe(request: InboundRequest, options: VerifyOptions, now: datetime) -> None:
    """Raises `VerificationError`."""
    parts = [each.partition("=") for each in header_of(request, options.header or "Stripe-Signature").split(",")]
    timestamp = next((value for name, _, value in parts if name.strip() == "t"), "")
    tolerance_s = TOLERANCE_S if options.tolerance_s is None else options.tolerance_s
    require_fresh(unix_time(timestamp, "Stripe-Signature"), now, tolerance_s)
    message = as_bytes(f"{timestamp}.") + request.body
    wanted = [hmac.digest(key, message, hashlib.sha256).hex().encode() for key in secrets_of(options)]
    given = [as_bytes(value.strip()) for name, _, value in parts if name.strip() == "v1"]
    if not any([compare_digest(one, other) for one in given for other in wanted]):  # noqa: C419 - all are looked at
        raise VerificationError("the signature is wrong")
