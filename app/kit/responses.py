"""Reading what is the same in every provider's answers."""

from __future__ import annotations

import json
import math
import re
from base64 import b64encode
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, quote_plus

from msgspec import Struct

from app.contract import CancelOutcome, CancelResult, HttpResponse, MalformedPayload, ProbeUnavailable
from app.kit.payload import Payload, decode_any

WAIT_MAX_S = 24 * 3600.0
"""No wait that is asked for counts for more than a day."""
DETAIL_CHARS_MAX = 300


class ResponseKind(Enum):
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
    """It failed at the provider, perhaps after it did what was asked; perhaps because of what was asked."""
    UNAVAILABLE = auto()
    """The provider as a whole is out of service, perhaps after it did what was asked."""
    LOST = auto()
    """Something between us and the provider answered in its place."""
    MISDIRECTED = auto()
    """Whoever answered is not the provider's API, and did nothing."""


class Answer(Struct, frozen=True):
    """A response, read."""

    meaning: ResponseKind
    detail: str
    """One sentence for people, without secrets."""
    body: Payload | None = None
    after_s: float | None = None


_BY_STATUS: dict[int, ResponseKind] = {
    HTTPStatus.UNAUTHORIZED: ResponseKind.NOT_ALLOWED,
    HTTPStatus.FORBIDDEN: ResponseKind.NOT_ALLOWED,
    HTTPStatus.REQUEST_TIMEOUT: ResponseKind.LOST,
    HTTPStatus.TOO_MANY_REQUESTS: ResponseKind.THROTTLED,
    HTTPStatus.INTERNAL_SERVER_ERROR: ResponseKind.CRASHED,
    HTTPStatus.SERVICE_UNAVAILABLE: ResponseKind.UNAVAILABLE,
}
_BY_CLASS = {2: ResponseKind.DONE, 3: ResponseKind.MISDIRECTED, 4: ResponseKind.REJECTED}

CANCEL_OUTCOMES: Mapping[ResponseKind, CancelOutcome] = {
    ResponseKind.DONE: CancelOutcome.SUCCEEDED,
    ResponseKind.TAKEN: CancelOutcome.ACCEPTED,
    # A proxy's page instead of an answer: whether the cancel arrived, only a probe can tell.
    ResponseKind.UNREADABLE: CancelOutcome.INDETERMINATE,
    ResponseKind.REJECTED: CancelOutcome.REFUSED,
    ResponseKind.NOT_FOUND: CancelOutcome.REFUSED,
    ResponseKind.NOT_ALLOWED: CancelOutcome.UNAUTHORIZED,
    ResponseKind.THROTTLED: CancelOutcome.THROTTLED,
    ResponseKind.CRASHED: CancelOutcome.RETRY,
    ResponseKind.UNAVAILABLE: CancelOutcome.RETRY,
    ResponseKind.LOST: CancelOutcome.INDETERMINATE,
    ResponseKind.MISDIRECTED: CancelOutcome.RETRY,
}
"""What an answer to a cancel comes to. A handler whose provider means something else by it says so beside."""

PROBE_OUTCOMES: Mapping[ResponseKind, CancelOutcome] = {
    ResponseKind.NOT_ALLOWED: CancelOutcome.UNAUTHORIZED,
    ResponseKind.THROTTLED: CancelOutcome.THROTTLED,
}
"""What an answer to a probe comes to; any other is asked for again."""


def meaning_of(status: int, special: Mapping[int, ResponseKind] | None = None) -> ResponseKind:
    """What an HTTP status means where the body says nothing else; `special` is what the provider means by some."""
    return (special or {}).get(status) or _BY_STATUS.get(status) or _BY_CLASS.get(status // 100, ResponseKind.LOST)


def json_or_none(response: HttpResponse, provider: str) -> Any:
    """The JSON of the answer's body; None where it is none."""
    try:
        return decode_any(response.body, provider)
    except MalformedPayload:
        return None


def object_or_none(response: HttpResponse, provider: str) -> Payload | None:
    """The JSON object of the answer's body; None where it is none."""
    body = json_or_none(response, provider)
    return body if type(body) is dict else None


def cancel_result(meaning: ResponseKind, detail: str, after_s: float | None = None) -> CancelResult:
    """What an answer without news of the order means for its cancel."""
    outcome = CANCEL_OUTCOMES[meaning]
    # A failure inside of the provider may come after the cancel took effect.
    return CancelResult(
        outcome,
        detail,
        told_wait(outcome, after_s),
        doubtful=meaning in (ResponseKind.CRASHED, ResponseKind.UNAVAILABLE),
        ambiguous=meaning is ResponseKind.CRASHED,
        misdirected=meaning is ResponseKind.MISDIRECTED,
    )


def probe_unavailable(
    meaning: ResponseKind,
    detail: str,
    after_s: float | None = None,
    outcomes: Mapping[ResponseKind, CancelOutcome] = PROBE_OUTCOMES,
) -> ProbeUnavailable:
    """What an answer without news of the order means for its probe."""
    outcome = outcomes.get(meaning, CancelOutcome.RETRY)
    return ProbeUnavailable(detail, outcome=outcome, after_s=after_s, misdirected=meaning is ResponseKind.MISDIRECTED)


def told_wait(outcome: CancelOutcome, after_s: float | None) -> float | None:
    """`after_s`, where a wait means something for that outcome of a cancel."""
    return after_s if outcome in (CancelOutcome.RETRY, CancelOutcome.THROTTLED) else None


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


def excerpt(words: str, *secrets: str) -> str:
    """A provider's words, fit for our log: without our secrets, in one line, and cut to a length.

    Of the spellings of all secrets the longest goes first: one may be a part of another.
    """
    known = {spelling for secret in secrets if secret for spelling in spellings(secret)}
    for spelling in sorted(known, key=len, reverse=True):
        words = words.replace(spelling, "[secret]")
    return "".join(char if char.isprintable() else " " for char in words[:DETAIL_CHARS_MAX])


def spellings(secret: str) -> tuple[str, ...]:
    """How a secret may stand in text: as it is, in a URL, in a form, in JSON, or within base64."""
    raw = secret.encode("utf-8", "surrogatepass")
    percent = {quote(raw, safe=""), quote_plus(raw)}
    percent |= {re.sub("%..", lambda escape: escape[0].lower(), each) for each in percent}
    in_json = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    in_json |= {each.replace("/", "\\/") for each in in_json}
    # Bytes that are read one by one, as percent-decoding gives them.
    return tuple(dict.fromkeys((secret, raw.decode("latin-1"), *sorted(percent), *sorted(in_json), *_in_base64(raw))))


def _in_base64(raw: bytes) -> list[str]:
    """The characters that `raw` gives within base64 whatever stands before and after it, in both alphabets.

    What comes before (`user:` in a header of basic authentication) moves it by 0 to 2 bytes.
    """
    found = []
    for moved in range(3):
        whole = b64encode(bytes(moved) + raw).decode()
        own = whole[(moved * 8 + 5) // 6 : (moved + len(raw)) * 8 // 6]
        if len(own) >= _TELLING:
            found += [own, own.translate(_URL_SAFE)]
    return found


_TELLING = 6
"""In characters: fewer would be found in innocent text."""
_URL_SAFE = str.maketrans("+/", "-_")
