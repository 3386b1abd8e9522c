"""Secrets that were rotated out: which of them signed a request, and what a request costs that none signed."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from multidict import CIMultiDict

from app.config.resolve import Endpoint, resolve
from app.contract import InboundRequest, VerificationError
from app.kit.signing.parts import SignedParts
from app.web.verification import verify

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
BODY = b'{"order": 1}'


def endpoint(retired: int) -> Endpoint:
    secrets = [
        {"secret": f"retired-{number}", "until": (NOW + timedelta(hours=number)).isoformat()}
        for number in range(retired)
    ]
    verify = {"scheme": "hmac", "secrets": ["current-a", "current-b"], "signed": "{body}"}
    config = {"base_url": "https://shop.example", "api_key": "k"}
    bodies: dict[tuple[str, str], Any] = {
        ("accounts", "a"): (1, {"id": "a", "provider": "planomatic", "config": config}),
        ("endpoints", "e"): (1, {"id": "e", "account": "a", "verify": verify, "retired_secrets": secrets}),
    }
    return resolve(bodies).endpoints["e"]


def signed(secret: str) -> InboundRequest:
    proof = hmac.new(secret.encode(), BODY, hashlib.sha256).hexdigest()
    return InboundRequest(CIMultiDict({"X-Signature": proof}), {}, BODY)


def test_a_request_is_verified_by_the_secret_that_signed_it() -> None:
    for retired in (1, 2, 10):
        given = endpoint(retired)
        assert verify(given, signed("current-b"), NOW) is None
        for number in range(1, retired):
            assert verify(given, signed(f"retired-{number}"), NOW) == NOW + timedelta(hours=number)
        for secret in ("retired-0", "retired-99", ""):
            with pytest.raises(VerificationError):
                verify(given, signed(secret), NOW)  # the first has expired just now


def test_a_request_that_no_secret_signed_is_gone_through_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    message, made = SignedParts.message, list[bytes]()

    def counted(self: SignedParts, *args: Any) -> bytes:
        made.append(message(self, *args))
        return made[-1]

    monkeypatch.setattr(SignedParts, "message", counted)
    with pytest.raises(VerificationError, match="the signature is wrong"):
        verify(endpoint(10), signed("of-a-stranger"), NOW)
    assert len(made) == 2
