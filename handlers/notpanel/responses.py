"""What NotPanel's answers mean, whatever was asked.

“Errors” documents a body `{"error": "text"}` with 400 (nothing was done), 403 (the account is suspended), 429 and
500. The HTTP status counts first, then the text; panels of this API may answer 200 with an `error` as well.
“Rate limits” documents the headers.
"""

from __future__ import annotations

import re
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from msgspec import Struct

from app.contract import Context, HttpResponse
from app.kit.excerpts import excerpt
from app.kit.responses import WAIT_MAX_S, ResponseKind, json_or_none, kind_of_status, retry_after_s, wait
from handlers.notpanel.config import Config

_RESET = "x-ratelimit-reset"
_REMAINING = ("x-ratelimit-remaining", "x-ratelimit-tier-remaining")
_DENIED_BY = "x-ratelimit-deniedby"
_LAYERS = {"ip": " for the IP address", "key": " for the API key", "tier": " for the account's tier"}


_WRONG = r"invalid|incorrect|wrong|bad|unknown|missing|revoked|expired|inactive"
_BY_TEXT = {
    # “Errors”: `Missing required parameter: …`. “Balance”: `Account suspended`. No text for a wrong key is documented.
    re.compile(
        rf"\bparameter: key\b|\b({_WRONG})\s+(api[ _-]?)?key\b"
        rf"|\bkey\s+(is\s+)?({_WRONG}|required|not (valid|found|active))\b"
        # The account that the key is of; that of the order's link, which a row may name, is none of ours.
        r"|^\W*((your|the|this|api|user) )?account\b.*\b(suspended|inactive|disabled|not active)\b",
        re.IGNORECASE,
    ): ResponseKind.NOT_ALLOWED,
    re.compile(r"\brate.?limit|\btoo many requests\b", re.IGNORECASE): ResponseKind.THROTTLED,
    re.compile(r"\binternal (server )?error\b|\btry again\b|\btemporar", re.IGNORECASE): ResponseKind.CRASHED,
}
"""What a text says where the HTTP status does not: in a 200, a 400, or the row of one order."""

_DETAILS = {
    ResponseKind.DONE: "NotPanel accepted it.",
    ResponseKind.UNREADABLE: "The answer was {status}, but its body is not NotPanel's JSON.",
    ResponseKind.REJECTED: "NotPanel answered {said}.",
    ResponseKind.NOT_ALLOWED: "NotPanel does not serve the account ({said}): set the right key, or end its suspension.",
    ResponseKind.THROTTLED: "NotPanel's limit{layer} is reached ({said}).",
    ResponseKind.CRASHED: "NotPanel answered {said}.",
    ResponseKind.UNAVAILABLE: "NotPanel answered {said}.",
    ResponseKind.LOST: "What answered ({said}) is not NotPanel, or it gave up waiting: what happened is unknown.",
    ResponseKind.MISDIRECTED: "What answered ({status}) is not NotPanel's API: check base_url.",
}


class Answer(Struct, frozen=True):
    """A response, read."""

    kind: ResponseKind
    detail: str
    """One sentence for people, without the key."""
    body: Any = None
    """Its JSON; None where there is none."""
    error: str = ""
    """NotPanel's own words, fit for the log."""
    after_s: float | None = None


def read(response: HttpResponse, config: Config, context: Context) -> Answer:
    """What a response means. Where it says that no call is left, the account is held until the window resets."""
    body = json_or_none(response, "NotPanel")
    # A provider that repeats what it was sent must not bring the key into our log.
    error = safe(error_in(body) or "", config)
    kind = _kind_of(response.status, body, error)
    reset_s = _reset_s(response, context.now)
    if kind is ResponseKind.THROTTLED:
        asked_s = retry_after_s(response) or 0.0
        after_s: float | None = max(reset_s or 0.0, asked_s) or None
    else:
        after_s = retry_after_s(response)
        if reset_s is not None and _is_used_up(response):
            context.hold(reset_s)
    return Answer(kind, _detail(response, kind, error), body, error, after_s)


def error_in(body: Any) -> str | None:
    """The text of an `error` in an object, None if there is none."""
    found = body.get("error") if type(body) is dict else None
    if not found:
        return None
    if type(found) is dict:
        found = found.get("message")
    return found if found and type(found) is str else "an error that is no text"


def kind_of_text(error: str) -> ResponseKind:
    """What an error's text says where no HTTP status of its own comes with it."""
    return next((kind for pattern, kind in _BY_TEXT.items() if pattern.search(error)), ResponseKind.REJECTED)


def safe(words: str, config: Config) -> str:
    """NotPanel's words, fit for the log, and to end a sentence of ours with."""
    return excerpt(words, *config.hidden).rstrip(" .")


def _kind_of(status: int, body: Any, error: str) -> ResponseKind:
    kind = kind_of_status(status)
    if kind is ResponseKind.DONE:
        if error:
            return kind_of_text(error)
        return ResponseKind.DONE if type(body) in (dict, list) else ResponseKind.UNREADABLE
    if kind is ResponseKind.REJECTED:
        return kind_of_text(error) if error else ResponseKind.MISDIRECTED
    return kind


def _is_used_up(response: HttpResponse) -> bool:
    """Does one of the limits that the headers speak of leave no call?"""
    left = [response.headers[name] for name in _REMAINING if name in response.headers]
    return any(each.strip() == "0" for each in left)


def _reset_s(response: HttpResponse, now: datetime) -> float | None:
    """How long it is until the window resets, by the provider's own clock where it shows one."""
    try:
        reset = float(response.headers[_RESET])
    except (KeyError, ValueError):
        return None
    try:
        base = parsedate_to_datetime(response.headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError, OverflowError):
        base = now.timestamp()
    # Further off than any window is no time in seconds: nobody shall wait for it.
    return wait(reset - base) if reset - base <= WAIT_MAX_S else None


def _detail(response: HttpResponse, kind: ResponseKind, error: str) -> str:
    said = f"{response.status}, {error}" if error else str(response.status)
    layer = _LAYERS.get(response.headers.get(_DENIED_BY, "").strip().lower(), "")
    return _DETAILS[kind].format(status=response.status, said=said, layer=layer)
