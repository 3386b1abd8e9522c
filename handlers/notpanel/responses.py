"""What NotPanel's responses mean, whatever was asked.

“Errors” documents a body `{"error": "text"}` with 400 (nothing was done), 403 (the account is suspended), 429 and
500. The HTTP status counts first, then the text; panels of this API may answer 200 with an `error` as well.
“Rate limits” documents the headers.
"""

from __future__ import annotations

import re
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

from msgspec.structs import replace

from app.contract import Context, HttpResponse
from app.kit.config import secret_values
from app.kit.excerpts import excerpt
from app.kit.responses import WAIT_MAX_S, ProviderResponse, ResponseKind, ResponseTable, Row, json_or_none, wait
from handlers.notpanel.config import Config

_WRONG = r"invalid|incorrect|wrong|bad|unknown|missing|revoked|expired|inactive"
# “Errors”: `Missing required parameter: …`. “Balance”: `Account suspended`. No text for a wrong key is documented.
_NOT_ALLOWED = re.compile(
    rf"\bparameter: key\b|\b({_WRONG})\s+(api[ _-]?)?key\b"
    rf"|\bkey\s+(is\s+)?({_WRONG}|required|not (valid|found|active))\b"
    # The account that the key is of; that of the order's link, which a row may name, is none of ours.
    r"|^\W*((your|the|this|api|user) )?account\b.*\b(suspended|inactive|disabled|not active)\b",
    re.IGNORECASE,
)

RESPONSES = ResponseTable(
    "NotPanel",
    kinds={
        _NOT_ALLOWED: ResponseKind.NOT_ALLOWED,
        re.compile(r"\brate.?limit|\btoo many requests\b", re.IGNORECASE): ResponseKind.THROTTLED,
        re.compile(r"\binternal (server )?error\b|\btry again\b|\btemporar", re.IGNORECASE): ResponseKind.CRASHED,
        # “Order status”: `Incorrect order ID`; “Cancel”: `Order not found`.
        re.compile(
            r"\b(incorrect|invalid|unknown|wrong) order\b|\border (id )?not found\b", re.IGNORECASE
        ): ResponseKind.NOT_FOUND,
    },
    rows={
        ResponseKind.NOT_ALLOWED: Row(
            "NotPanel does not serve the account ({said}): set the right key, or end its suspension."
        ),
        ResponseKind.NOT_FOUND: Row("NotPanel knows no such order ({said})."),
        ResponseKind.THROTTLED: Row("NotPanel's limit{layer} is reached ({said})."),
        ResponseKind.LOST: Row(
            "What answered ({said}) is not NotPanel, or it gave up waiting: what happened is unknown."
        ),
    },
)

_RESET = "x-ratelimit-reset"
_REMAINING = ("x-ratelimit-remaining", "x-ratelimit-tier-remaining")
_DENIED_BY = "x-ratelimit-deniedby"
_LAYERS = {"ip": " for the IP address", "key": " for the API key", "tier": " for the account's tier"}


def read(response: HttpResponse, config: Config, context: Context) -> ProviderResponse:
    """What a response means. Where it says that no call is left, the account is held until the window resets."""
    body = json_or_none(response, RESPONSES.provider)
    error = error_in(body)
    if error is not None and not error.strip(". \t\r\n"):
        error = None  # Blank text states nothing: a refusal would rest on no word of NotPanel's.
    is_readable, is_genuine = type(body) in (dict, list), error is not None
    kind = RESPONSES.kind_of(response.status, [error or ""], readable=is_readable, genuine=is_genuine)
    if kind is ResponseKind.DONE and error is not None:
        kind = ResponseKind.REJECTED
    layer = _LAYERS.get(response.headers.get(_DENIED_BY, "").strip().lower(), "")
    parsed = RESPONSES.read(response, kind, body, error or "", secrets=secret_values(config), layer=layer)
    reset_s = _reset_s(response, context.now) or 0.0
    if kind is ResponseKind.THROTTLED:
        return replace(parsed, after_s=max(reset_s, parsed.after_s or 0.0) or None)
    if any(response.headers.get(name, "").strip() == "0" for name in _REMAINING):
        context.hold(reset_s)
    return parsed


def read_order_error(error: str, config: Config) -> ProviderResponse:
    """What an error means that a response states about one of its orders."""
    words = excerpt(error, *secret_values(config)).rstrip(". ")
    kind = RESPONSES.kind_of(HTTPStatus.BAD_REQUEST, [words])
    says = "knows no such order" if kind is ResponseKind.NOT_FOUND else "answered for this order"
    return ProviderResponse(kind, f"NotPanel {says}: {words}.", words=words)


def error_in(body: Any) -> str | None:
    """The text of an `error` in an object; None if there is none."""
    error = body.get("error") if type(body) is dict else None
    if not error:
        return None
    if type(error) is dict:
        error = error.get("message")
    return error if error and type(error) is str else "an error that is no text"


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
