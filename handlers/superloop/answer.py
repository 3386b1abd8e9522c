"""What the Connect API's answers mean, whatever was asked.

“Cancel an order” documents 200 with an empty body, 401 (bearer token missing or invalid), 404 (not authorized, or no
such order) and 500 (an unexpected error). The body of an error is not documented: what it says is only quoted.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from app.contract import HttpResponse
from app.kit.responses import Answer, Meaning, json_or_none, meaning_of, quoted, retry_after_s

_WORD_KEYS = ("error", "message", "error_description", "detail", "title", "code")
_ERROR_KEYS = ("error", "errors")


_SPECIAL: dict[int, Meaning] = {
    # Other calls of this API answer 202 while a request is in progress.
    HTTPStatus.ACCEPTED: Meaning.TAKEN,
    # No such order, or not ours. Superloop does not say which.
    HTTPStatus.NOT_FOUND: Meaning.NOT_FOUND,
}


def read(response: HttpResponse, *secrets: str) -> Answer:
    """What a response means. `secrets` must not stand in its detail, whatever the provider repeats."""
    meaning = meaning_of(response.status, _SPECIAL)
    body = json_or_none(response, "Superloop")
    if meaning in (Meaning.DONE, Meaning.TAKEN) and response.body.strip() and _is_odd(body):
        meaning = Meaning.UNREADABLE
    detail = _detail(response.status, meaning, words_of(body, *secrets))
    return Answer(meaning, detail, body if type(body) is dict else None, retry_after_s(response))


def words_of(body: Any, *secrets: str) -> str:
    """What the body of an error says, in one line."""
    if type(body) is not dict:
        return ""
    said = [_text(body.get(key)) for key in _WORD_KEYS]
    listed = body.get("errors")
    for each in listed if type(listed) is list else [listed]:
        said += [_text(each.get(key)) for key in ("field", *_WORD_KEYS)] if type(each) is dict else [_text(each)]
    return quoted(": ".join(dict.fromkeys(word for word in said if word)), *secrets)


def _text(value: Any) -> str:
    return value if type(value) is str else ""


def _is_odd(body: Any) -> bool:
    return body is None or (type(body) is dict and any(body.get(key) for key in _ERROR_KEYS))


def _detail(status: int, meaning: Meaning, words: str) -> str:
    said = f"{status}, {words}" if words else str(status)
    if status == HTTPStatus.FORBIDDEN:
        return f"Superloop forbids the account to do this ({said}): ask Superloop about the client's rights."
    return {
        Meaning.DONE: "Superloop has done it.",
        Meaning.TAKEN: f"Superloop has accepted it ({status}), and not finished.",
        Meaning.UNREADABLE: f"The answer was {said}, but its body is not what Superloop sends.",
        Meaning.NOT_FOUND: (
            f"Superloop has no such order, or the account is not authorized for it ({said} means either)."
        ),
        Meaning.NOT_ALLOWED: f"Superloop does not accept the account's access token ({said}).",
        Meaning.MISDIRECTED: f"The answer was a redirect ({status}): check base_url.",
        Meaning.LOST: f"What answered ({status}) is not Superloop, or it gave up waiting: what happened is unknown.",
    }.get(meaning, f"Superloop answered {said}.")
