"""How Kibo signs its webhooks: two rounds of SHA-256, in spite of the header's name no HMAC.

The key is the base64 of the digest of the shared secret written twice; the signature is the base64 of the digest of
that key, the `Date` header as it stands, and the raw body (“Event Subscription”).
"""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from hashlib import sha256

from app.contract import InboundRequest, VerificationError, VerifyOptions
from app.kit.signing import as_bytes, header_of, require_fresh, require_match, secrets_of

SIGNATURE_HEADER = "x-vol-hmac-sha256"
DATE_HEADER = "Date"
TOLERANCE_S = 180.0
"""How old a `Date` may be, as in Kibo's own libraries."""


def sign(secret: bytes, date: bytes, body: bytes) -> bytes:
    """The signature of a webhook."""
    key = b64encode(sha256(secret + secret).digest())
    return b64encode(sha256(key + date + body).digest())


def verify(request: InboundRequest, options: VerifyOptions, now: datetime) -> None:
    """Raise `VerificationError` unless one of the secrets signed the request, and not too long ago."""
    given = header_of(request, options.header or SIGNATURE_HEADER)
    date = header_of(request, DATE_HEADER)
    sent_at_s = _unix_time(date)
    wanted = [sign(secret, as_bytes(date), request.body) for secret in secrets_of(options)]
    require_match(as_bytes(given), wanted, "signature")
    require_fresh(sent_at_s, now, TOLERANCE_S if options.tolerance_s is None else options.tolerance_s)


def http_date(now: datetime) -> str:
    """A time as the `Date` header states it, which is signed."""
    return format_datetime(now.astimezone(UTC).replace(microsecond=0), usegmt=True)


def _unix_time(date: str) -> float:
    try:
        moment = parsedate_to_datetime(date)
        # An HTTP date is in GMT, however it says so.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise VerificationError(f"the header {DATE_HEADER} holds no HTTP date") from error
