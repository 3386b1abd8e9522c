"""What PlanOmatic's responses mean, whatever was asked.

Documented are: `code` in every body; 400 `validation-error` with a list of `attr` and `message`; 429
`rate-limit-exceeded`; 500 `application-crash`. A `code` in the body outranks an HTTP status of 200 or
400, because “API Basics” has 400 stand for every rejection.
"""

from __future__ import annotations

import re
from http import HTTPStatus

from app.contract import CancelOutcome, HttpResponse
from app.kit.payload import Payload
from app.kit.responses import ProviderResponse, ResponseKind, ResponseTable, Row, object_or_none
from handlers.planomatic.config import Config

RESPONSES = ResponseTable(
    "PlanOmatic",
    # “Validation Errors”: the `attr` of an error is the argument that it is about.
    kinds={(400, re.compile(r"^api_key( |$)")): ResponseKind.NOT_ALLOWED},
    rows={
        ResponseKind.NOT_ALLOWED: Row("PlanOmatic does not accept the account's api_key ({said}): set the right one."),
        # The only argument of a probe is the order.
        ResponseKind.REJECTED: Row(probe=CancelOutcome.REFUSED),
    },
)

_ERROR_CODES = {str(code): code for code in range(400, 600)}


def read(response: HttpResponse, config: Config) -> ProviderResponse:
    """What a response means."""
    body = object_or_none(response, RESPONSES.provider)
    is_ours = body is not None and ("code" in body or "errors" in body)
    is_readable = body is not None or not response.body.strip()
    errors, status = _errors_of(body or {}), _status_of(response.status, body or {})
    kind = RESPONSES.kind_of(status, errors, readable=is_readable, genuine=is_ours)
    message = "; ".join(errors) or _text(body or {}, "message")
    words = ": ".join(part for part in (_text(body or {}, "status"), message) if part)
    return RESPONSES.read(response, kind, body, words, status=status, secrets=[config.api_key.get_secret_value()])


def _status_of(status: int, body: Payload) -> int:
    is_outranked = status // 100 == 2 or status == HTTPStatus.BAD_REQUEST  # noqa: PLR2004 - the class of successes
    code = body.get("code")
    return _ERROR_CODES.get(str(code), status) if is_outranked and type(code) in (int, str) else status


def _errors_of(body: Payload) -> list[str]:
    listed = body.get("errors")
    errors = listed if type(listed) is list else []
    return [f"{_text(error, 'attr')} {_text(error, 'message')}".strip() for error in errors if type(error) is dict]


def _text(body: Payload, key: str) -> str:
    value = body.get(key)
    return value if type(value) is str else ""
