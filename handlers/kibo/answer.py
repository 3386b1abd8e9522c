"""What Kibo's answers mean, whatever was asked.

“Cancel Order” documents one answer, the order; and that a tenant that is not configured for translated APIs gets
errors, not which. The errors' words are read as Kibo's own libraries do: `errorCode`, `message`, `items`.
"""

from __future__ import annotations

from http import HTTPStatus

from app.contract import HttpResponse
from app.kit.payload import Payload
from app.kit.responses import Answer, Meaning, meaning_of, object_or_none, quoted, retry_after_s
from handlers.kibo.config import Config
from handlers.kibo.words import TITLE

_SPECIAL: dict[int, Meaning] = {HTTPStatus.NOT_FOUND: Meaning.NOT_FOUND, HTTPStatus.GONE: Meaning.NOT_FOUND}
_ITEMS_MAX = 5

_DETAILS = {
    Meaning.DONE: "Kibo answered.",
    Meaning.UNREADABLE: "The answer was {code}, but its body is not Kibo's JSON.",
    Meaning.NOT_FOUND: (
        "Kibo answered {said}: either it knows no such order, or tenant {tenant} is not configured for translated "
        "APIs, or the path is another."
    ),
    Meaning.NOT_ALLOWED: (
        "Kibo does not let tenant {tenant} in ({said}): check tenant and sandbox, whether the tenant is configured for "
        "translated APIs, and whether it wants a credential besides."
    ),
    Meaning.LOST: "What answered ({code}) is not Kibo, or it gave up waiting: what happened is unknown.",
    Meaning.MISDIRECTED: (
        "What answered ({code}) is not Kibo's API: either tenant {tenant} is not configured for translated APIs, or "
        "one of tenant, sandbox and base_url is wrong."
    ),
}
"""What people are told; `said` is the code with Kibo's words."""


def read(response: HttpResponse, config: Config) -> Answer:
    """What a response means."""
    body = object_or_none(response, TITLE)
    meaning = meaning_of(response.status, _SPECIAL)
    if meaning is Meaning.DONE and body is None:
        meaning = Meaning.UNREADABLE
    # A provider that repeats what it was sent must not bring a secret into our log.
    words = quoted(_words_of(body), *config.hidden)
    if meaning in (Meaning.REJECTED, Meaning.NOT_FOUND) and not words:
        # Not in Kibo's words: what a tenant without translated APIs gets must not end all of its cancels.
        meaning = Meaning.MISDIRECTED
    return Answer(meaning, _detail(response.status, meaning, words, config), body, retry_after_s(response))


def _words_of(body: Payload | None) -> str:
    """What Kibo says, in one line."""
    if body is None:
        return ""
    items = body.get("items")
    said = [_said(each) for each in items[:_ITEMS_MAX] if type(each) is dict] if type(items) is list else []
    return "; ".join(part for part in (_said(body), *said) if part)


def _said(error: Payload) -> str:
    parts = (error.get("errorCode"), error.get("message"))
    return ": ".join(part.strip().rstrip(".") for part in parts if type(part) is str and part.strip())


def _detail(code: int, meaning: Meaning, words: str, config: Config) -> str:
    said = f"{code}, {words}" if words else str(code)
    return _DETAILS.get(meaning, "Kibo answered {said}.").format_map(
        {"code": code, "said": said, "tenant": config.tenant}
    )
