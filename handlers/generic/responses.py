"""What a source's answer means: by the account's table, and by HTTP's own words where the table is silent."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from msgspec import Struct

from app.contract import CancelOutcome, HttpResponse, MalformedPayload
from app.kit.excerpts import excerpt
from app.kit.payload import decode_any
from app.kit.responses import retry_after_s, told_wait
from handlers.generic.call import AnswerRow, Call
from handlers.generic.path import find

_Outcome = CancelOutcome
_BY_STATUS: dict[int, CancelOutcome] = {
    HTTPStatus.UNAUTHORIZED: _Outcome.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN: _Outcome.UNAUTHORIZED,
    # Somebody gave up waiting; what happened behind, nobody said.
    HTTPStatus.REQUEST_TIMEOUT: _Outcome.INDETERMINATE,
    HTTPStatus.TOO_MANY_REQUESTS: _Outcome.THROTTLED,
}
_BY_CLASS = {2: _Outcome.SUCCEEDED, 4: _Outcome.REFUSED}
"""Anything else may have taken effect."""
_SUCCESS = 2
_NOTHING = object()
_WORDS_KEYS = ("detail", "message", "error", "title")
"""Where an answer is likely to say why."""


class Answer(Struct, frozen=True):
    """A response, read."""

    outcome: CancelOutcome
    detail: str
    """One sentence for people, without secrets."""
    body: Any
    """The JSON, None where there is none."""
    after_s: float | None
    doubtful: bool
    by_table: bool
    """Did a row of the account's table decide?"""


def read(response: HttpResponse, call: Call, hidden: tuple[str, ...]) -> Answer:
    """What a response means; of `hidden` nothing shall show."""
    body = _body_of(response)
    row = _row_of(response.status, body, call)
    outcome = row.outcome if row is not None else _default(response, body, call)
    # What a source repeats of our request must not bring a secret into our log.
    words = excerpt(_words_of(body, row, call), *hidden)
    return Answer(
        outcome=outcome,
        detail=_detail(response.status, outcome, words, by_table=row is not None),
        body=None if body is _NOTHING else body,
        after_s=told_wait(outcome, retry_after_s(response)),
        doubtful=outcome is _Outcome.RETRY and row is not None and row.doubtful,
        by_table=row is not None,
    )


def _body_of(response: HttpResponse) -> Any:
    try:
        return decode_any(response.body, "the source")
    except MalformedPayload:
        return _NOTHING


def _row_of(status: int, body: Any, call: Call) -> AnswerRow | None:
    return next((row for row in call.answers if row.fits(status) and _holds(row, body)), None)


def _holds(row: AnswerRow, body: Any) -> bool:
    if row.when is None:
        return True
    if body is _NOTHING:
        return False
    try:
        found = find(row.when, body)
    except MalformedPayload:
        return False
    # As JMESPath has it: 0 is true, what is empty is not.
    return found is not None and found is not False and found not in ("", [], {})


def _default(response: HttpResponse, body: Any, call: Call) -> CancelOutcome:
    outcome = _BY_STATUS.get(response.status) or _BY_CLASS.get(response.status // 100, _Outcome.INDETERMINATE)
    if outcome is not _Outcome.SUCCEEDED:
        return outcome
    if any(row.status is None or row.status.startswith(str(_SUCCESS)) for row in call.answers):
        # The table tells successes apart, and knows nothing of this one.
        return _Outcome.INDETERMINATE
    kind = response.headers.get("content-type", "").lower()
    if "html" in kind or ("json" in kind and body is _NOTHING and response.body.strip()):
        # A page of some proxy's, or JSON that breaks off.
        return _Outcome.INDETERMINATE
    return outcome


def _words_of(body: Any, row: AnswerRow | None, call: Call) -> str:
    if body is _NOTHING:
        return ""
    path = row.detail if row is not None and row.detail is not None else call.detail
    if path is not None:
        try:
            found = find(path, body)
        except MalformedPayload:
            return ""
        return found if isinstance(found, str) else ""
    if type(body) is not dict:
        return ""
    return next((body[key] for key in _WORDS_KEYS if type(body.get(key)) is str), "")


def _detail(status: int, outcome: CancelOutcome, words: str, *, by_table: bool) -> str:
    said = f"{status}, {words.rstrip('.! ')}" if words else str(status)
    match outcome:
        case _Outcome.SUCCEEDED:
            return f"The source did it ({said})."
        case _Outcome.ACCEPTED:
            return f"The source took it in ({said})."
        case _Outcome.UNAUTHORIZED:
            return f"The source does not accept the account's credentials ({said}): set the right ones."
        case _Outcome.INDETERMINATE if not by_table:
            return f"The answer ({said}) does not tell what happened; if it does, add it to `answers`."
        case _:
            return f"The source answered {said}."
