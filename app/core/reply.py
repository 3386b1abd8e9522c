"""Reading what is the same in every provider's answers."""

from __future__ import annotations

import math
from email.utils import parsedate_to_datetime

from app.contract import HttpResponse

WAIT_MAX_S = 24 * 3600.0
"""No wait that is asked for counts for more than a day."""
DETAIL_CHARS_MAX = 300


def retry_after_s(response: HttpResponse) -> float | None:
    """The wait that `Retry-After` asks for; a date is counted from the answer's own `Date`."""
    asked = response.headers.get("retry-after")
    if asked is None:
        return None
    try:
        wait_s = float(asked)
    except ValueError:
        try:
            until, base = parsedate_to_datetime(asked), parsedate_to_datetime(response.headers["date"])
            wait_s = (until - base).total_seconds()
        except (KeyError, ValueError, TypeError, OverflowError):
            # No Date, or one of them has no offset, or is no date: then nothing was asked that can be read.
            return None
    return wait(wait_s)


def wait(wait_s: float) -> float | None:
    """`wait_s`, if it is a wait at all."""
    return min(wait_s, WAIT_MAX_S) if math.isfinite(wait_s) and wait_s > 0 else None


def quoted(words: str, *secrets: str) -> str:
    """A provider's words, fit for our log: without our secrets, in one line, and cut to a length."""
    for secret in secrets:
        words = words.replace(secret, "[secret]") if secret else words
    return "".join(char if char.isprintable() else " " for char in words[:DETAIL_CHARS_MAX])
