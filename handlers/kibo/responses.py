"""What Kibo's responses mean, whatever was asked.

“Cancel Order” documents one response, the order; and that a tenant that is not configured for translated APIs gets
errors, not which. The errors' words are read as Kibo's own libraries do: `errorCode`, `message`, `items`.
"""

from __future__ import annotations

from app.contract import CancelOutcome, HttpResponse
from app.kit.payload import Payload
from app.kit.responses import ProviderResponse, ResponseKind, ResponseTable, Row, object_or_none
from handlers.kibo.config import Config
from handlers.kibo.words import TITLE

RESPONSES = ResponseTable(
    TITLE,
    kinds={404: ResponseKind.NOT_FOUND, 410: ResponseKind.NOT_FOUND},
    # No document says where an order is fetched: what is not there tells nothing of the order.
    rows={
        ResponseKind.REJECTED: Row(probe=CancelOutcome.INDETERMINATE),
        ResponseKind.NOT_FOUND: Row(
            "Kibo answered {said}: either it knows no such order, or tenant {tenant} is not configured for translated "
            "APIs, or the path is another.",
            probe=CancelOutcome.INDETERMINATE,
        ),
        ResponseKind.NOT_ALLOWED: Row(
            "Kibo does not let tenant {tenant} in ({said}): check tenant and sandbox, whether the tenant is configured "
            "for translated APIs, and whether it wants a credential besides."
        ),
        ResponseKind.MISDIRECTED: Row(
            "What answered ({status}) is not Kibo's API: either tenant {tenant} is not configured for translated APIs, "
            "or one of tenant, sandbox and base_url is wrong.",
            probe=CancelOutcome.INDETERMINATE,
        ),
    },
)

_ITEMS_MAX = 5


def read(response: HttpResponse, config: Config) -> ProviderResponse:
    """What a response means."""
    body = object_or_none(response, TITLE)
    words = _words_of(body or {})
    # Without words of Kibo's: what a tenant without translated APIs gets must not end all of its cancels.
    kind = RESPONSES.kind_of(response.status, readable=body is not None, genuine=bool(words))
    return RESPONSES.read(response, kind, body, words, secrets=config.hidden, tenant=config.tenant)


def _words_of(body: Payload) -> str:
    listed = body.get("items")
    items = listed[:_ITEMS_MAX] if type(listed) is list else []
    errors = [_error_of(item) for item in (body, *items) if type(item) is dict]
    return "; ".join(error for error in errors if error)


def _error_of(body: Payload) -> str:
    parts = (body.get("errorCode"), body.get("message"))
    return ": ".join(part.strip() for part in parts if type(part) is str and part.strip())
