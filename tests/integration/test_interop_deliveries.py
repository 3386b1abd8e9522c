"""What Rescind delivers is verified by the public `standardwebhooks` package, and ed25519 by its specification."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from receivers import Delivered, Receiver
from servers import ENDPOINT, Rescind, endpoint_of
from standardwebhooks import Webhook, WebhookVerificationError

HMAC, ROTATED_OUT, OTHER = (f"whsec_{b64encode(bytes([number]) * 32).decode()}" for number in (1, 2, 3))
KEY = Ed25519PrivateKey.from_private_bytes(b"\4" * 32)
SEED = KEY.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
PUBLIC = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
SECRETS: dict[str, dict[str, Any]] = {
    "hmac": {"secret": HMAC},
    "rotated": {"secret": HMAC, "retired_secrets": [{"secret": ROTATED_OUT, "until": "2999-01-01T00:00:00Z"}]},
    "ed25519": {"secret": f"whsk_{b64encode(SEED).decode()}"},
    "ed25519-whole": {"secret": f"whsk_{b64encode(SEED + PUBLIC).decode()}", "payload": "full"},
    "full": {"secret": HMAC, "payload": "full", "ordered": True},
}
ORDER = 'ord 4711/ä "é\U0001f4e6'


async def test_public_libraries_verify_every_delivery(rescind: Rescind, receiver: Receiver) -> None:
    await rescind.put("endpoints", ENDPOINT, endpoint_of("acme"))
    for id, secret in SECRETS.items():
        await rescind.put("subscriptions", id, {"url": f"{receiver.url}/{id}", **secret})
    await rescind.tell("order.processed", ORDER)
    await rescind.tell("appointment.scheduled", ORDER)
    for id in SECRETS:
        for delivered in await receiver.has(2, f"/{id}"):
            if id.startswith("ed25519"):
                assert verify_ed25519(delivered)["type"] == delivered.type
                continue
            payload = Webhook(HMAC).verify(delivered.body, dict(delivered.headers))
            assert payload["data"]["order"] == ORDER
            if id == "rotated":
                assert Webhook(ROTATED_OUT).verify(delivered.body, dict(delivered.headers)) == payload
            refuse(OTHER, delivered.body, dict(delivered.headers))
            refuse(HMAC, delivered.body + b" ", dict(delivered.headers))
            refuse(HMAC, delivered.body, {**delivered.headers, "webhook-id": "msg_another"})
            changed = {**delivered.headers, "webhook-timestamp": str(int(delivered.headers["webhook-timestamp"]) - 1)}
            refuse(HMAC, delivered.body, changed)
    one_id = [{request.id for request in receiver.accepted if request.path == f"/{id}"} for id in SECRETS]
    assert all(ids == one_id[0] for ids in one_id), "a message has one id, whoever receives it"


def refuse(secret: str, body: bytes, headers: dict[str, str]) -> None:
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body, headers)


def verify_ed25519(delivered: Delivered) -> dict[str, Any]:
    """The payload; raises InvalidSignature. The package knows no ed25519, so this is the specification in code."""
    headers = delivered.headers
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + delivered.body
    [signature] = headers["webhook-signature"].split(" ")
    version, _, value = signature.partition(",")
    assert version == "v1a"
    KEY.public_key().verify(b64decode(value, validate=True), signed)
    with pytest.raises(InvalidSignature):
        KEY.public_key().verify(b64decode(value), signed + b" ")
    return delivered.payload
