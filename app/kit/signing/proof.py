"""The parts of a proof of origin: where it stands, the time that it signs, and comparing it in constant time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from hmac import compare_digest
from typing import Literal

from app.contract import InboundRequest, VerificationError, VerifyOptions

TOLERANCE_S = 300.0
_ISO_CHARS_MAX = 40

TimestampFormat = Literal["unix", "unix_ms", "iso8601"]


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


def read_timestamp(value: str, where: str, form: TimestampFormat) -> float:
    """Unix seconds out of a header that spells a time in this form. Raises `VerificationError`."""
    if form == "unix":
        return unix_time(value, where)
    if form == "unix_ms":
        if not (value.isascii() and value.isdecimal() and len(value) <= 15):  # noqa: PLR2004 - beyond it is no time
            raise VerificationError(f"{where} holds no unix time in milliseconds")
        return int(value) / 1000
    try:
        time = datetime.fromisoformat(value) if len(value) <= _ISO_CHARS_MAX else None
        if time is not None and time.tzinfo is not None:
            return time.timestamp()
    except ValueError:
        pass
    raise VerificationError(f"{where} holds no ISO 8601 time with an offset")


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
