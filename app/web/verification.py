"""Verification of a webhook by an endpoint: with the secrets in force, then with those that were rotated out."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

from app.config.resolve import Endpoint
from app.contract import InboundRequest, VerifyOptions
from app.kit.signing import verify_scheme


def verify(endpoint: Endpoint, inbound: InboundRequest, now: datetime) -> datetime | None:
    """Verify a request. Returns until when its secret is accepted, if that was rotated out; else None.

    Raises `VerificationError`, or whatever a handler's `verify` may raise instead.
    """
    try:
        verify_by(endpoint.verify, endpoint, inbound, now)
    except Exception:
        for options, until in endpoint.retired:
            with suppress(Exception):
                if now < until:
                    verify_by(options, endpoint, inbound, now)
                    return until
        raise
    return None


def verify_by(options: VerifyOptions, endpoint: Endpoint, inbound: InboundRequest, now: datetime) -> None:
    """Verify a request by these options instead of the endpoint's. Raises as `verify` does."""
    if options.scheme == "handler":
        endpoint.account.handler.verify(inbound, options, now)
    else:
        verify_scheme(inbound, options, now)
