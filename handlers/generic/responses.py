"""What a source's responses mean: by the account's table `answers`, and by HTTP where no row of it fits."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from app.contract import CancelOutcome, HttpResponse
from app.kit.excerpts import excerpt
from app.kit.responses import ProviderResponse, ResponseKind, ResponseTable, Row
from handlers.generic.call import AnswerRow, Call
from handlers.generic.response_body import NO_JSON, at, holds, json_of

RESPONSES = ResponseTable(
    "The source",
    kinds={HTTPStatus.NOT_FOUND: ResponseKind.NOT_FOUND, HTTPStatus.GONE: ResponseKind.NOT_FOUND},
    rows={
        ResponseKind.DONE: Row("{provider} did it ({said})."),
        ResponseKind.TAKEN: Row("{provider} took it in ({said})."),
        ResponseKind.UNREADABLE: Row(
            "The answer ({said}) does not tell what happened; if it does, add it to `answers`."
        ),
        ResponseKind.LOST: Row("{provider} answered {said}."),
    },
)
_KINDS = {
    CancelOutcome.SUCCEEDED: ResponseKind.DONE,
    CancelOutcome.ACCEPTED: ResponseKind.TAKEN,
    CancelOutcome.REFUSED: ResponseKind.NOT_FOUND,
    CancelOutcome.UNAUTHORIZED: ResponseKind.NOT_ALLOWED,
    CancelOutcome.THROTTLED: ResponseKind.THROTTLED,
    CancelOutcome.INDETERMINATE: ResponseKind.LOST,
}
"""The kind of a response whose row has that outcome; for a retry it depends on more (`_kind_by_row`)."""
_CLEAR = (ResponseKind.REJECTED, ResponseKind.NOT_FOUND, ResponseKind.NOT_ALLOWED, ResponseKind.THROTTLED)
"""The kinds besides a success of which HTTP's word counts. After any other status the call may have taken effect."""
_WORDS_KEYS = ("detail", "message", "error", "title")
"""Where a response is likely to say why."""


def read(response: HttpResponse, call: Call, secrets: tuple[str, ...]) -> ProviderResponse:
    """The response with its kind, and a sentence for people without `secrets`."""
    body = json_of(response)
    row = next((row for row in call.answers if row.fits(response.status) and holds(row.when, body)), None)
    kind = _kind_by_http(response, body, call) if row is None else _kind_by_row(row, response.status)
    words = excerpt(_words(body, row, call), *secrets).rstrip(".! ")
    return RESPONSES.read(response, kind, None if body is NO_JSON else body, words)


def _kind_by_row(row: AnswerRow, status: int) -> ResponseKind:
    if row.outcome is not CancelOutcome.RETRY:
        return _KINDS[row.outcome]
    if not row.doubtful:
        return ResponseKind.NOT_OFFERED
    return ResponseKind.CRASHED if status == HTTPStatus.INTERNAL_SERVER_ERROR else ResponseKind.UNAVAILABLE


def _kind_by_http(response: HttpResponse, body: Any, call: Call) -> ResponseKind:
    kind = RESPONSES.kind_of(response.status, readable=_is_success(response, body, call))
    if kind is ResponseKind.NOT_FOUND and (body is None or body is NO_JSON):
        # Anybody may answer a bare 404: only in the source's own words it means that there is no such order.
        return ResponseKind.REJECTED
    return kind if kind is ResponseKind.DONE or kind in _CLEAR else ResponseKind.UNREADABLE


def _is_success(response: HttpResponse, body: Any, call: Call) -> bool:
    """Is a 2xx that no row fits a success?"""
    if any(row.status is None or row.status.startswith("2") for row in call.answers):
        # The table tells successes apart, and lists no such one.
        return False
    media = response.headers.get("content-type", "").lower()
    # A proxy's page, or JSON that breaks off, is no success.
    return "html" not in media and not ("json" in media and body is NO_JSON and response.body.strip())


def _words(body: Any, row: AnswerRow | None, call: Call) -> str:
    """Why, in the source's words; "" where it does not say."""
    path = call.detail if row is None or row.detail is None else row.detail
    if path is not None:
        words = at(path, body)
        return words if isinstance(words, str) else ""
    if type(body) is not dict:
        return ""
    return next((body[key] for key in _WORDS_KEYS if type(body.get(key)) is str), "")
