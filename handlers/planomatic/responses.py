"""What PlanOmatic's answers mean, whatever was asked.

Documented are: `code` in every body; 400 `validation-error` with a list of `attr` and `message`; 429
`rate-limit-exceeded`; 500 `application-crash`. A `code` in the body outranks an HTTP status of 200 or
400, because “API Basics” has 400 stand for every rejection.
"""

from __future__ import annotations

from http import HTTPStatus

from app.contract import HttpResponse
from app.kit.excerpts import excerpt
from app.kit.payload import Payload
from app.kit.responses import ProviderResponse, ResponseKind, kind_of_status, object_or_none, retry_after_s
from handlers.planomatic.config import Config

_API_KEY = "api_key"
_CODES_AS_TEXT = frozenset(str(code) for code in range(100, 600))


def read(response: HttpResponse, config: Config) -> ProviderResponse:
    """What a response means."""
    body = object_or_none(response, "PlanOmatic")
    code = _code_of(response.status, body)
    errors = _errors_of(body)
    kind = _kind_of(code, errors)
    if kind is ResponseKind.REJECTED and not _is_ours(body):
        kind = ResponseKind.MISDIRECTED
    if kind is ResponseKind.DONE and body is None and response.body.strip():
        kind = ResponseKind.UNREADABLE
    words = _words_of(body, errors)
    # A provider that repeats what it was sent must not bring the key into our log.
    safe = excerpt(words, config.api_key.get_secret_value())
    return ProviderResponse(kind, _detail(code, kind, safe), body, retry_after_s(response))


def _code_of(status: int, body: Payload | None) -> int:
    code = body.get("code") if body is not None else None
    if isinstance(code, str) and code in _CODES_AS_TEXT:
        code = int(code)
    outranked = status // 100 == 2 or status == HTTPStatus.BAD_REQUEST  # noqa: PLR2004 - the class of successes
    return code if outranked and type(code) is int and 400 <= code < 600 else status  # noqa: PLR2004 - HTTP


def _kind_of(code: int, errors: list[tuple[str, str]]) -> ResponseKind:
    if code == HTTPStatus.BAD_REQUEST and any(attr == _API_KEY for attr, _ in errors):
        return ResponseKind.NOT_ALLOWED
    return kind_of_status(code)


def _is_ours(body: Payload | None) -> bool:
    """Is it PlanOmatic's JSON? A bare 404 may be anybody's, and must not be the end of a cancel."""
    return body is not None and ("code" in body or "errors" in body)


def _errors_of(body: Payload | None) -> list[tuple[str, str]]:
    listed = body.get("errors") if body is not None else None
    if not isinstance(listed, list):
        return []
    return [(_text(each, "attr"), _text(each, "message")) for each in listed if isinstance(each, dict)]


def _words_of(body: Payload | None, errors: list[tuple[str, str]]) -> str:
    """What the provider says, in one line."""
    if body is None:
        return ""
    said = "; ".join(f"{attr} {message}".strip() for attr, message in errors) or _text(body, "message")
    return ": ".join(part for part in (_text(body, "status"), said) if part)


def _detail(code: int, kind: ResponseKind, words: str) -> str:
    said = f"{code}, {words}" if words else str(code)
    match kind:
        case ResponseKind.DONE:
            return "PlanOmatic accepted it."
        case ResponseKind.UNREADABLE:
            return f"The answer was {code}, but its body is not PlanOmatic's JSON."
        case ResponseKind.NOT_ALLOWED:
            return f"PlanOmatic does not accept the account's api_key ({said}): set the right one."
        case ResponseKind.MISDIRECTED:
            return f"What answered ({code}) is not PlanOmatic's API: check base_url."
        case ResponseKind.LOST:
            return f"What answered ({code}) is not PlanOmatic, or it gave up waiting: what happened is unknown."
        case _:
            return f"PlanOmatic answered {said}."


def _text(body: Payload, key: str) -> str:
    value = body.get(key)
    return value if isinstance(value, str) else ""
