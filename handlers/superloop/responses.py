"""What the Connect API's responses mean, whatever was asked.

“Cancel an order” documents 200 with an empty body, 401 (bearer token missing or invalid), 404 (not authorized, or no
such order) and 500 (an unexpected error). The body of an error is not documented: it is only quoted.
"""

from __future__ import annotations

from app.contract import CancelOutcome, HttpResponse
from app.kit.responses import ProviderResponse, ResponseKind, ResponseTable, Row, error_words, json_or_none

RESPONSES = ResponseTable(
    "Superloop",
    # Other calls of this API answer 202 while a request is in progress.
    kinds={202: ResponseKind.TAKEN, 403: ResponseKind.CLOSED, 404: ResponseKind.NOT_FOUND},
    rows={
        ResponseKind.UNREADABLE: Row("The response was {said}, but its body is not what Superloop sends."),
        ResponseKind.NOT_ALLOWED: Row("Superloop does not accept the account's access token ({said}): {advice}."),
        ResponseKind.CLOSED: Row(
            "Superloop forbids the account to do this ({said}): ask Superloop about the client's rights."
        ),
        # A probe's 404 tells nothing: no document names the path of an order.
        ResponseKind.NOT_FOUND: Row(
            "Superloop has no such order, or the account is not authorized for it ({said} means either).",
            probe=CancelOutcome.INDETERMINATE,
        ),
    },
)

_ERROR_KEYS = ("error", "errors")


def read(response: HttpResponse, token: str, advice: str) -> ProviderResponse:
    """What a response means; `advice` says what to do if `token` was refused."""
    body = json_or_none(response, RESPONSES.provider)
    has_error = type(body) is dict and any(body.get(key) for key in _ERROR_KEYS)
    is_readable = not response.body.strip() or (body is not None and not has_error)
    kind = RESPONSES.kind_of(response.status, readable=is_readable)
    order = body if type(body) is dict else None
    return RESPONSES.read(response, kind, order, error_words(body), secrets=[token], advice=advice)
