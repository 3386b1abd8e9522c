"""What Kibo's answers mean, whatever was asked.

“Cancel Order” documents one answer, the order; and that a tenant that is not configured for translated APIs gets
errors, not which. The errors' words are read as Kibo's own libraries do: `errorCode`, `message`, `items`.
"""

from __future__ import annotations

from http import HTTPStatus

from app.contract import HttpResponse
from app.kit.excerpts import excerpt
from app.kit.payload import Payload
from app.kit.responses import ProviderResponse, ResponseKind, kind_of_status, object_or_none, retry_after_s
from handlers.kibo.config import Config
from handlers.kibo.words import TITLE

_SPECIAL: dict[int, ResponseKind] = {
    HTTPStatus.NOT_FOUND: ResponseKind.NOT_FOUND,
    HTTPStatus.GONE: ResponseKind.NOT_FOUND,
}
_ITEMS_MAX = 5

_DETAILS = {
    ResponseKind.DONE: "Kibo answered.",
    ResponseKind.UNREADABLE: "The answer was {code}, but its body is not Kibo's JSON.",
    ResponseKind.NOT_FOUND: (
        "Kibo answered {said}: either it knows no such order, or tenant {tenant} is not configured for translated "
        "APIs, or the path is another."
    ),
    ResponseKind.NOT_ALLOWED: (
        "Kibo does not let tenant {tenant} in ({said}): check tenant and sandbox, whether the tenant is configured for "
        "translated APIs, and whether it wants a credential besides."
    ),
    ResponseKind.LOST: "What answered ({code}) is not Kibo, or it gave up waiting: what happened is unknown.",
    ResponseKind.MISDIRECTED: (
        "What answered ({code}) is not Kibo's API: either tenant {tenant} is not configured for translated APIs, or "
        "one of tenant, sandbox and base_url is wrong."
    ),
}
"""What people are told; `said` is the code with Kibo's words."""


def read(response: HttpResponse, config: Config) -> ProviderResponse:
    """What a response means."""
    body = object_or_none(response, TITLE)
    kind = kind_of_status(response.status, _SPECIAL)
    if kind is ResponseKind.DONE and body is None:
        kind = ResponseKind.UNREADABLE
    # A provider that repeats what it was sent must not bring a secret into our log.
    words = excerpt(_words_of(body), *config.hidden)
    if kind in (ResponseKind.REJECTED, ResponseKind.NOT_FOUND) and not words:
        # Not in Kibo's words: what a tenant without translated APIs gets must not end all of its cancels.
        kind = ResponseKind.MISDIRECTED
    return ProviderResponse(kind, _detail(response.status, kind, words, config), body, retry_after_s(response))


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


def _detail(code: int, kind: ResponseKind, words: str, config: Config) -> str:
    said = f"{code}, {words}" if words else str(code)
    return _DETAILS.get(kind, "Kibo answered {said}.").format_map({"code": code, "said": said, "tenant": config.tenant})
