"""Errors as RFC 9457 problems, with a closed list of types."""

from __future__ import annotations

from enum import Enum
from typing import Any

import msgspec
from aiohttp import web

CONTENT_TYPE = "application/problem+json"
RETRY_AFTER_S = 2
RETRY_AFTER = {"Retry-After": str(RETRY_AFTER_S)}


class Kind(Enum):
    """The types of problem: (slug, status, title, example of a detail)."""

    BAD_REQUEST = ("bad-request", 400, "Malformed request", "The body is not JSON: expected value at line 1 column 2.")
    UNAUTHORIZED = (
        "unauthorized",
        401,
        "Missing or invalid API key",
        "Send an API key as `Authorization: Bearer rk_…`; `rescind keys create` creates one.",
    )
    UNAUTHENTIC = (
        "unauthentic-webhook",
        401,
        "Webhook verification failed",
        "Not accepted: the signature is wrong.",
    )
    FORBIDDEN = (
        "forbidden",
        403,
        "The API key does not allow this",
        "This requires scope write; the key 'dashboard' has scope read.",
    )
    WRONG_ADDRESS = (
        "address-not-allowed",
        403,
        "The endpoint takes no requests from this address",
        "198.51.100.7 is not in the endpoint's allow_from.",
    )
    NOT_FOUND = ("not-found", 404, "Not found", "There is no account 'acme-photos'; `rescind accounts list` shows all.")
    METHOD_NOT_ALLOWED = ("method-not-allowed", 405, "Method not allowed", "Allowed: GET, POST.")
    NOT_CANCELABLE = (
        "order-not-cancelable",
        409,
        "The order cannot be canceled",
        "An appointment is confirmed for 2026-03-04 10:00 UTC; PlanOmatic cancels scheduled orders only by its staff.",
    )
    AMBIGUOUS = (
        "ambiguous-order",
        409,
        "Several orders have this name",
        "'external-1' of account 'acme-photos' is an alias that several orders carry: '654321', '654322'. Use an id.",
    )
    CANCELLATION_EXISTS = (
        "cancellation-exists",
        409,
        "The order already has a live cancellation",
        "Cancellation can_06544770b18cb000 of this order is scheduled; follow it, or revoke it first.",
    )
    WRONG_STATE = (
        "wrong-state",
        409,
        "The cancellation's state does not allow this",
        "Only a scheduled cancellation can be revoked; can_06544770b18cb000 is succeeded.",
    )
    UNCONFIRMED = (
        "confirmation-needed",
        409,
        "Confirmation needed",
        "unscheduled-48h was never backtested or shadowed. Backtest it, run it in mode shadow first, or set confirm.",
    )
    IN_FLIGHT = (
        "request-in-flight",
        409,
        "The same request is still in progress",
        "The first request with this Idempotency-Key is still in progress; retry later.",
    )
    EXISTS = (
        "already-exists",
        409,
        "The resource already exists",
        "endpoint acme-photos-in exists already: change it by PUT or `rescind apply`, or choose another id.",
    )
    IN_USE = (
        "resource-in-use",
        409,
        "The resource is in use",
        "account acme-photos is used by endpoint acme-photos-in: remove or change these first.",
    )
    EXPUNGED = (
        "content-expunged",
        410,
        "The content was expunged",
        "The content of receipt rcp_06544770b18cb000 was expunged on 2026-06-01 09:30 UTC: it cannot be parsed again.",
    )
    TOO_LARGE = ("body-too-large", 413, "Body too large", "The body is larger than 1048576 bytes (RESCIND_BODY_MAX).")
    INVALID = ("invalid-request", 422, "Invalid request", "The query parameter limit: it must be 500 at most.")
    KEY_REUSED = (
        "idempotency-key-reused",
        422,
        "Idempotency-Key used for a different request",
        "This Idempotency-Key was used for a different request; use a new one.",
    )
    TOO_MANY = (
        "too-many-requests",
        429,
        "Too many requests",
        "This API key sends more requests than RESCIND_KEY_RATE_PER_S allows: try again in 1 s.",
    )
    PROVIDER_FAILED = ("provider-failed", 502, "The provider's API failed", "The provider's API answered 500.")
    BUSY = ("busy", 503, "Temporarily unavailable", "Too many requests wait to be recorded; try again in a moment.")
    INTERNAL = ("internal", 500, "Internal error", "The server failed; its log has the details.")

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
        """The title of every problem of this type."""
        return str(self.value[2])

    @property
    def example(self) -> str:
        """A detail, as documentation shows it where a route has none of its own."""
        return str(self.value[3])


class Problem(Exception):
    """An error response. `detail` says what is wrong, where, and what to do."""

    def __init__(self, kind: Kind, detail: str, *, headers: dict[str, str] | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.kind, self.detail, self.headers, self.members = kind, detail, headers or {}, members

    def json(self) -> bytes:
        """The problem as `application/problem+json`."""
        urn = f"urn:rescind:problem:{self.kind.slug}"
        always = {"type": urn, "title": self.kind.title, "status": self.kind.status, "detail": self.detail}
        return msgspec.json.encode({**always, **self.members})

    def response(self) -> web.Response:
        """The problem as a response."""
        return web.Response(status=self.kind.status, body=self.json(), content_type=CONTENT_TYPE, headers=self.headers)


def busy(detail: str) -> Problem:
    """The problem of a request that changed nothing and should be repeated later."""
    return Problem(Kind.BUSY, detail, headers=RETRY_AFTER)


_BY_STATUS = {400: Kind.BAD_REQUEST, 404: Kind.NOT_FOUND, 405: Kind.METHOD_NOT_ALLOWED, 413: Kind.TOO_LARGE}


def of_http_error(error: web.HTTPException) -> Problem:
    """An error of aiohttp as a problem."""
    kind = _BY_STATUS.get(error.status, Kind.BAD_REQUEST if error.status < 500 else Kind.INTERNAL)  # noqa: PLR2004
    detail = {
        Kind.NOT_FOUND: "No such path; /openapi.json lists all paths.",
        Kind.METHOD_NOT_ALLOWED: f"Allowed: {error.headers.get('Allow', 'another method')}.",
        Kind.TOO_LARGE: "The body exceeds the server's limit (RESCIND_BODY_MAX).",
    }.get(kind, error.reason)
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
    return Problem(kind, detail, headers=headers)
