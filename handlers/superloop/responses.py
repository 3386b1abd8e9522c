"""What the Connect API's answers mean, whatever was asked.

“Cancel an order” documents 200 with an empty body, 401 (bearer token missing or invalid), 404 (not authorized, or no
such order) and 500 (an unexpected error). The body of an error is not documented: what it says is only quoted.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from app.contract import HttpResponse
from app.kit.excerpts import excerpt
from app.kit.responses import ProviderResponse, ResponseKind, json_or_none, kind_of_status, retry_after_s

_WORD_KEYS = ("error", "message", "error_description", "detail", "title", "code")
_ERROR_KEYS = ("error", "errors")


_SPECIAL: dict[int, ResponseKind] = {
    # Other calls of this API answer 202 while a request is in progress.
    HTTPStatus.ACCEPTED: ResponseKind.TAKEN,
    # No such order, or not ours. Superloop does not say which.
    HTTPStatus.NOT_FOUND: ResponseKind.NOT_FOUND,
}


def read(response: HttpResponse, *secrets: str) -> ProviderResponse:
    """What a response means. `secrets` must not stand in its detail, whatever the provider repeats."""
    kind = kind_of_status(response.status, _SPECIAL)
    body = json_or_none(response, "Superloop")
    if kind in (ResponseKind.DONE, ResponseKind.TAKEN) and response.body.strip() and _is_odd(body):
        kind = ResponseKind.UNREADABLE
    detail = _detail(response.status, kind, words_of(body, *secrets))
    return ProviderResponse(kind, detail, body if type(body) is dict else None, retry_after_s(response))


def words_of(body: Any, *secrets: str) -> str:
    """What the body of an error says, in one line."""
    if type(body) is not dict:
        return ""
    said = [_text(body.get(key)) for key in _WORD_KEYS]
    listed = body.get("errors")
    for each in listed if type(listed) is list else [listed]:
        said += [_text(each.get(key)) for key in ("field", *_WORD_KEYS)] if type(each) is dict else [_text(each)]
    return excerpt(": ".join(dict.fromkeys(word for word in said if word)), *secrets)


def _text(value: Any) -> str:
    return value if type(value) is str else ""


def _is_odd(body: Any) -> bool:
    return body is None or (type(body) is dict and any(body.get(key) for key in _ERROR_KEYS))


def _detail(status: int, kind: ResponseKind, words: str) -> str:
    said = f"{status}, {words}" if words else str(status)
    if status == HTTPStatus.FORBIDDEN:
        return f"Superloop forbids the account to do this ({said}): ask Superloop about the client's rights."
    return {
        ResponseKind.DONE: "Superloop has done it.",
        ResponseKind.TAKEN: f"Superloop has accepted it ({status}), and not finished.",
        ResponseKind.UNREADABLE: f"The answer was {said}, but its body is not what Superloop sends.",
        ResponseKind.NOT_FOUND: (
            f"Superloop has no such order, or the account is not authorized for it ({said} means either)."
        ),
        ResponseKind.NOT_ALLOWED: f"Superloop does not accept the account's access token ({said}).",
        ResponseKind.MISDIRECTED: f"The answer was a redirect ({status}): check base_url.",
        ResponseKind.LOST: f"What answered ({status}) is not Superloop, or it timed out: what happened is unknown.",
    }.get(kind, f"Superloop answered {said}.")
