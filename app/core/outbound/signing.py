"""Sign deliveries by Standard Webhooks 1.0: `webhook-id`, `webhook-timestamp`, `webhook-signature`.

A `whsec_` secret gives a signature `v1,` (HMAC-SHA256), a `whsk_` key one `v1a,` (ed25519). During a rotation's overlap
a delivery has a signature for each secret, so receivers may change over at any time.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

HMAC_PREFIX, ED25519_PREFIX = "whsec_", "whsk_"
ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER = "webhook-id", "webhook-timestamp", "webhook-signature"
_SEED_BYTES = 32

Sign = Callable[[bytes], str]


class Signer:
    """Signs one subscription's deliveries."""

    def __init__(self, secrets: Sequence[tuple[str, datetime | None]]) -> None:
        """Make a signer.

        Args:
            secrets: each with the time until which it is used; None: without end. The current one comes first.

        Raises:
            ValueError: a secret is none, or there is none without end.
        """
        self._keys = [(_signing(secret), until) for secret, until in secrets]
        if all(until is not None for _, until in self._keys):
            raise ValueError("there is no secret to sign with")

    def headers(self, id: str, body: bytes, now: datetime) -> dict[str, str]:
        """The three headers of a delivery that is sent now."""
        timestamp = str(int(now.timestamp()))
        signed = f"{id}.{timestamp}.".encode() + body
        signatures = [sign(signed) for sign, until in self._keys if until is None or until > now]
        return {ID_HEADER: id, TIMESTAMP_HEADER: timestamp, SIGNATURE_HEADER: " ".join(signatures)}


def _signing(secret: str) -> Sign:
    if secret.startswith(ED25519_PREFIX):
        private = _private_key(secret)
        return lambda signed: f"v1a,{b64encode(private.sign(signed)).decode()}"
    if not secret.startswith(HMAC_PREFIX):
        raise ValueError(f"a signing secret begins with {HMAC_PREFIX} or {ED25519_PREFIX}")
    key = b64decode(secret.removeprefix(HMAC_PREFIX), validate=True)
    if not key:
        raise ValueError("a signing secret is empty: anybody could sign with it")
    return lambda signed: f"v1,{b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}"


def _private_key(secret: str) -> Ed25519PrivateKey:
    # A seed, or the seed with the public key behind it.
    key = b64decode(secret.removeprefix(ED25519_PREFIX), validate=True)
    return Ed25519PrivateKey.from_private_bytes(key[:_SEED_BYTES])
