"""Signatures of deliveries, as receivers verify them."""

from __future__ import annotations

from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from standardwebhooks import Webhook, WebhookVerificationError

from app.config.subscriptions import make_secret
from app.contract import InboundRequest, VerificationError, VerifyOptions
from app.core.outbound.signing import Signer
from app.kit.signing import verify_scheme

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
BODY = '{"type":"a","data":"é"}'.encode()
ID = "msg_0000000000000001"
SEED = bytes(range(32))
PUBLIC = Ed25519PrivateKey.from_private_bytes(SEED).public_key()


def test_the_public_package_verifies_each_secret_of_a_rotation() -> None:
    # The package reads the clock itself.
    now = datetime.now(UTC)
    current, former, gone = make_secret(), make_secret(), make_secret()
    soon, past = now + timedelta(seconds=1), now - timedelta(seconds=1)
    headers = Signer([(current, None), (former, soon), (gone, past)]).headers(ID, BODY, now)
    assert set(headers) == {"webhook-id", "webhook-timestamp", "webhook-signature"}
    for secret in (current, former):
        Webhook(secret).verify(BODY, headers)
    for other in (gone, make_secret()):
        with pytest.raises(WebhookVerificationError):
            Webhook(other).verify(BODY, headers)
    for changed in ({"webhook-id": "msg_2"}, {"webhook-timestamp": str(int(now.timestamp()) + 1)}):
        with pytest.raises(WebhookVerificationError):
            Webhook(current).verify(BODY, {**headers, **changed})
    with pytest.raises(WebhookVerificationError):
        Webhook(current).verify(BODY + b" ", headers)


@pytest.mark.parametrize("key", [SEED, SEED + PUBLIC.public_bytes_raw()])
def test_ed25519_signs_the_id_the_time_and_the_body(key: bytes) -> None:
    secret = "whsk_" + b64encode(key).decode()
    headers = Signer([(secret, None), (make_secret(), NOW + timedelta(hours=1))]).headers(ID, BODY, NOW)
    signatures = headers["webhook-signature"].split(" ")
    assert [signature.partition(",")[0] for signature in signatures] == ["v1a", "v1"]
    signature = b64decode(signatures[0].partition(",")[2])
    timestamp = str(int(NOW.timestamp()))
    PUBLIC.verify(signature, f"{ID}.{timestamp}.".encode() + BODY)
    with pytest.raises(InvalidSignature):
        PUBLIC.verify(signature, f"{ID}.{timestamp}x.".encode() + BODY)
    # What takes webhooks in here accepts what leaves here.
    public = "whpk_" + b64encode(PUBLIC.public_bytes_raw()).decode()
    options = VerifyOptions.model_validate({"scheme": "standard_webhooks", "secrets": [public]})
    verify_scheme(InboundRequest(body=BODY, headers=headers, query={}), options, NOW)
    with pytest.raises(VerificationError):
        verify_scheme(InboundRequest(body=BODY + b" ", headers=headers, query={}), options, NOW)


def test_nothing_is_signed_with_an_empty_secret() -> None:
    later = NOW + timedelta(hours=1)
    for secrets in ([], [(make_secret(), later)], [("whsec_", None)], [("", None)], [("whsk_", None)]):
        with pytest.raises(ValueError, match=r"secret|key|bytes"):
            Signer(secrets)
