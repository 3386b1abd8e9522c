"""The client accepts the webhooks that Rescind signs, and no others."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rescind_client import InvalidWebhook, Webhook, verify_webhook

# From the specification of Standard Webhooks.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID, SENT_AT, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
MESSAGE = b'{"type":"cancellation.succeeded","timestamp":"2026-03-02T09:45:00Z","data":{"account":"acme-photos"}}'


def headers(signature: str, **other: str) -> dict[str, str]:
    return {"Webhook-Id": ID, "Webhook-Timestamp": str(SENT_AT), "Webhook-Signature": signature} | other


def hmac_signature(body: bytes, secret: str = SECRET) -> str:
    key = b64decode(secret.removeprefix("whsec_"))
    return "v1," + b64encode(hmac.digest(key, f"{ID}.{SENT_AT}.".encode() + body, hashlib.sha256)).decode()


def test_the_signature_of_the_specification_is_accepted() -> None:
    # Its body is no message of Rescind: that is told apart only after the signature was found right.
    with pytest.raises(InvalidWebhook, match="the body is no message"):
        verify_webhook(BODY, headers(SIGNATURE), SECRET, now=SENT_AT)
    with pytest.raises(InvalidWebhook, match="no signature is by one of these secrets"):
        verify_webhook(BODY + b" ", headers(SIGNATURE), SECRET, now=SENT_AT)


def test_an_authentic_message_is_returned() -> None:
    other = "whsec_" + b64encode(b"another secret of 24 bytes").decode()
    signed = f"v1a,bm8= {hmac_signature(MESSAGE, other)} {hmac_signature(MESSAGE)}"
    for secrets in ((SECRET,), (other,), ("whsec_%%%", SECRET)):
        webhook = verify_webhook(MESSAGE, headers(signed), *secrets, now=SENT_AT + 299)
        data = {"account": "acme-photos"}
        assert webhook == Webhook(ID, "cancellation.succeeded", datetime(2026, 3, 2, 9, 45, tzinfo=UTC), data)


def test_what_is_altered_old_or_unsigned_is_refused() -> None:
    signature = hmac_signature(MESSAGE)
    for body, given, seconds in (
        (MESSAGE.replace(b"acme", b"acne"), headers(signature), 0),
        (MESSAGE, headers(signature), 301),
        (MESSAGE, headers(signature), -301),
        (MESSAGE, headers(signature) | {"Webhook-Id": "msg_2"}, 0),
        (MESSAGE, headers(signature) | {"Webhook-Timestamp": "1e9"}, 0),
        (MESSAGE, headers(""), 0),
        (MESSAGE, headers("v1"), 0),
        (MESSAGE, headers(signature.replace("v1,", "v2,")), 0),
        (MESSAGE, {}, 0),
    ):
        with pytest.raises(InvalidWebhook):
            verify_webhook(body, given, SECRET, now=SENT_AT + seconds)
    with pytest.raises(InvalidWebhook):
        verify_webhook(MESSAGE, headers(signature), now=SENT_AT)


def test_a_public_key_verifies_ed25519_and_nothing_else() -> None:
    private = Ed25519PrivateKey.generate()
    public = "whpk_" + b64encode(private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
    signature = "v1a," + b64encode(private.sign(f"{ID}.{SENT_AT}.".encode() + MESSAGE)).decode()
    assert verify_webhook(MESSAGE, headers(signature), public, now=SENT_AT).id == ID
    # A public key is no secret: what anyone could sign with it as an HMAC key is refused.
    forged = hmac_signature(MESSAGE, public.replace("whpk_", "whsec_"))
    for given in (forged, signature.replace("v1a,", "v1,"), "v1a,AAAA", "v1a,%"):
        with pytest.raises(InvalidWebhook):
            verify_webhook(MESSAGE, headers(given), public, now=SENT_AT)
