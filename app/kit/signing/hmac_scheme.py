"""Scheme `hmac`: a header over the body, and what else is signed; every part is configuration."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from app.contract import InboundRequest, VerificationError, VerifyOptions
from app.kit.signing.proof import (
    TOLERANCE_S,
    as_bytes,
    header_of,
    require_fresh,
    require_match,
    secrets_of,
    unix_time,
)


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


def verify_hmac(request: InboundRequest, options: VerifyOptions, now: datetime) -> None:
    """Scheme `hmac`, as the options describe it. Raises `VerificationError`."""
    signed = options.signed or ("{timestamp}.{body}" if options.timestamp_header else "{body}")
    header = options.header or "X-Signature"
    HmacScheme(header, options.encoding, options.prefix, options.timestamp_header, signed).verify(request, options, now)


def _message(template: str, timestamp: str, body: bytes) -> bytes:
    before, mark, after = template.partition("{body}")
    parts = (as_bytes(each.replace("{timestamp}", timestamp)) for each in (before, after))
    return (body if mark else b"").join(parts)
