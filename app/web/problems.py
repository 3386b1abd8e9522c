"""Errors as RFC 9457 problems, with a closed list of types."""

from __future__ import annotations

from enum import Enum
from typing import Any

import msgspec
from aiohttp import web

CONTENT_TYPE = "application/problem+json"


class Kind(Enum):
    """Every problem the API can answer: (slug, status, title)."""

    BAD_REQUEST = ("bad-request", 400, "The request cannot be read")
    UNAUTHORIZED = ("unauthorized", 401, "No valid API key")
    UNAUTHENTIC = ("unauthentic-webhook", 401, "The webhook does not prove who sent it")
    FORBIDDEN = ("forbidden", 403, "The API key's scope does not reach this")
    NOT_FOUND = ("not-found", 404, "There is no such thing")
    METHOD_NOT_ALLOWED = ("method-not-allowed", 405, "Not with this method")
    NOT_CANCELABLE = ("order-not-cancelable", 409, "The order cannot be canceled")
    AMBIGUOUS = ("ambiguous-order", 409, "Several orders go by this name")
    CANCELLATION_EXISTS = ("cancellation-exists", 409, "The order has a cancellation under way")
    WRONG_STATE = ("wrong-state", 409, "The cancellation is not in a state that allows this")
    UNCONFIRMED = ("confirmation-needed", 409, "Somebody must confirm this")
    IN_FLIGHT = ("request-in-flight", 409, "The same request is being worked on")
    IN_USE = ("resource-in-use", 409, "Something else needs this")
    TOO_LARGE = ("body-too-large", 413, "The body is too large")
    INVALID = ("invalid-request", 422, "The request is not as it must be")
    KEY_REUSED = ("idempotency-key-reused", 422, "The Idempotency-Key was used for another request")
    PROVIDER_FAILED = ("provider-failed", 502, "The provider did not do it")
    BUSY = ("busy", 503, "Too much is waiting; come back in a moment")
    INTERNAL = ("internal", 500, "Something went wrong here")

    @property
    def slug(self) -> str:
        """The last part of the type's URN."""
        return str(self.value[0])

    @property
    def status(self) -> int:
        """The HTTP status."""
        return int(self.value[1])

    @property
    def title(self) -> str:
        """The same sentence for every problem of this kind."""
        return str(self.value[2])


class Problem(Exception):
    """An answer that is an error. `detail` says what is wrong, where, and what to do."""

    def __init__(self, kind: Kind, detail: str, *, headers: dict[str, str] | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.kind, self.detail, self.headers, self.members = kind, detail, headers or {}, members

    def response(self) -> web.Response:
        """The problem as JSON."""
        body = {
            "type": f"urn:rescind:problem:{self.kind.slug}",
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            **self.members,
        }
        return web.Response(
            status=self.kind.status, body=msgspec.json.encode(body), content_type=CONTENT_TYPE, headers=self.headers
        )


_BY_STATUS = {400: Kind.BAD_REQUEST, 404: Kind.NOT_FOUND, 405: Kind.METHOD_NOT_ALLOWED, 413: Kind.TOO_LARGE}


def of_http_error(error: web.HTTPException) -> Problem:
    """The framework's own errors in the same form."""
    kind = _BY_STATUS.get(error.status, Kind.BAD_REQUEST if error.status < 500 else Kind.INTERNAL)  # noqa: PLR2004
    detail = {
        Kind.NOT_FOUND: "No such path; /openapi.json lists all there are.",
        Kind.METHOD_NOT_ALLOWED: f"This path takes {error.headers.get('Allow', 'another method')}.",
        Kind.TOO_LARGE: "The body is larger than this server takes (RESCIND_BODY_MAX).",
    }.get(kind, error.reason)
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
    return Problem(kind, detail, headers=headers)
