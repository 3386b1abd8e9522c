"""Verification of a webhook by an endpoint: with the secrets in force, then with those that were rotated out."""

from __future__ import annotations

from collections.abc import Sequence
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
        retired = [(options, until) for options, until in endpoint.retired if now < until]
        # What none of them signed is gone through once more, not once for each of them.
        if len(retired) > 1 and not _verifies(_together(retired), endpoint, inbound, now):
            raise
        for options, until in retired:
            if _verifies(options, endpoint, inbound, now):
                return until
        raise
    return None


def _together(retired: Sequence[tuple[VerifyOptions, datetime]]) -> VerifyOptions:
    secrets = tuple(secret for options, _ in retired for secret in options.secrets)
    return retired[0][0].model_copy(update={"secrets": secrets})


def _verifies(options: VerifyOptions, endpoint: Endpoint, inbound: InboundRequest, now: datetime) -> bool:
    try:
        verify_by(options, endpoint, inbound, now)
    except Exception:  # noqa: BLE001 - the refusal by the secrets in force is the one that is told
        return False
    return True


def verify_by(options: VerifyOptions, endpoint: Endpoint, inbound: InboundRequest, now: datetime) -> None:
    """Verify a request by these options instead of the endpoint's. Raises as `verify` does."""
    if options.scheme == "handler":
        endpoint.account.handler.verify(inbound, options, now)
    else:
        verify_scheme(inbound, options, now)
