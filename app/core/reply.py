"""Reading what is the same in every provider's answers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from http import HTTPStatus

from app.contract import CancelOutcome, HttpResponse

WAIT_MAX_S = 24 * 3600.0
"""No wait that is asked for counts for more than a day."""
DETAIL_CHARS_MAX = 300


class Meaning(Enum):
    """The classes of answers that call for different behavior."""

    DONE = auto()
    TAKEN = auto()
    """Accepted, and not done yet."""
    UNREADABLE = auto()
    """A success that does not look like the provider's: a proxy may have given it."""
    REJECTED = auto()
    NOT_FOUND = auto()
    NOT_ALLOWED = auto()
    THROTTLED = auto()
    CRASHED = auto()
    """It failed at the provider, perhaps after it did what was asked."""
    LOST = auto()
    """Something between us and the provider answered in its place."""
    MISDIRECTED = auto()
    """Whoever answered is not the provider's API, and did nothing."""


_BY_STATUS: dict[int, Meaning] = {
    HTTPStatus.UNAUTHORIZED: Meaning.NOT_ALLOWED,
    HTTPStatus.FORBIDDEN: Meaning.NOT_ALLOWED,
    HTTPStatus.REQUEST_TIMEOUT: Meaning.LOST,
    HTTPStatus.TOO_MANY_REQUESTS: Meaning.THROTTLED,
    HTTPStatus.INTERNAL_SERVER_ERROR: Meaning.CRASHED,
    HTTPStatus.SERVICE_UNAVAILABLE: Meaning.CRASHED,
}
_BY_CLASS = {2: Meaning.DONE, 3: Meaning.MISDIRECTED, 4: Meaning.REJECTED}

CANCEL_OUTCOMES: Mapping[Meaning, CancelOutcome] = {
    Meaning.DONE: CancelOutcome.SUCCEEDED,
    Meaning.TAKEN: CancelOutcome.ACCEPTED,
    # A proxy's page instead of an answer: whether the cancel arrived, only a probe can tell.
    Meaning.UNREADABLE: CancelOutcome.INDETERMINATE,
    Meaning.REJECTED: CancelOutcome.REFUSED,
    Meaning.NOT_FOUND: CancelOutcome.REFUSED,
    Meaning.NOT_ALLOWED: CancelOutcome.UNAUTHORIZED,
    Meaning.THROTTLED: CancelOutcome.THROTTLED,
    Meaning.CRASHED: CancelOutcome.RETRY,
    Meaning.LOST: CancelOutcome.INDETERMINATE,
    Meaning.MISDIRECTED: CancelOutcome.RETRY,
}
"""What an answer to a cancel comes to. A handler whose provider means something else by it says so beside."""

PROBE_OUTCOMES: Mapping[Meaning, CancelOutcome] = {
    Meaning.NOT_ALLOWED: CancelOutcome.UNAUTHORIZED,
    Meaning.THROTTLED: CancelOutcome.THROTTLED,
}
"""What an answer to a probe comes to; any other is asked for again."""


def meaning_of(status: int, special: Mapping[int, Meaning] | None = None) -> Meaning:
    """What an HTTP status means where the body says nothing else; `special` is what the provider means by some."""
    return (special or {}).get(status) or _BY_STATUS.get(status) or _BY_CLASS.get(status // 100, Meaning.LOST)


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
