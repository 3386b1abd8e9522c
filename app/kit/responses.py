"""Reading what is the same in every provider's answers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from http import HTTPStatus
from typing import Any

from msgspec import Struct

from app.contract import CancelOutcome, CancelResult, HttpResponse, MalformedPayload, ProbeUnavailable
from app.kit.payload import Payload, decode_any

WAIT_MAX_S = 24 * 3600.0
"""No wait that is asked for counts for more than a day."""


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


class ProviderResponse(Struct, frozen=True):
    """A response, read."""

    kind: ResponseKind
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


def kind_of_status(status: int, special: Mapping[int, ResponseKind] | None = None) -> ResponseKind:
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


def cancel_result(kind: ResponseKind, detail: str, after_s: float | None = None) -> CancelResult:
    """What an answer without news of the order means for its cancel."""
    outcome = CANCEL_OUTCOMES[kind]
    # A failure inside of the provider may come after the cancel took effect.
    return CancelResult(
        outcome,
        detail,
        told_wait(outcome, after_s),
        doubtful=kind in (ResponseKind.CRASHED, ResponseKind.UNAVAILABLE),
        ambiguous=kind is ResponseKind.CRASHED,
        misdirected=kind is ResponseKind.MISDIRECTED,
    )


def probe_unavailable(
    kind: ResponseKind,
    detail: str,
    after_s: float | None = None,
    outcomes: Mapping[ResponseKind, CancelOutcome] = PROBE_OUTCOMES,
) -> ProbeUnavailable:
    """What an answer without news of the order means for its probe."""
    outcome = outcomes.get(kind, CancelOutcome.RETRY)
    return ProbeUnavailable(detail, outcome=outcome, after_s=after_s, misdirected=kind is ResponseKind.MISDIRECTED)


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
