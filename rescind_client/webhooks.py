"""Verification of the webhooks that subscriptions receive: Standard Webhooks, HMAC-SHA256 or ed25519."""

from __future__ import annotations

import hmac
import time
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from msgspec import Struct

from rescind_client.problem import RescindError

TOLERANCE_S = 300.0


class InvalidWebhook(RescindError):
    """The request is not from Rescind, was altered, or is too old. Answer it 401."""


class Webhook(Struct, frozen=True):
    """An authentic webhook."""

    id: str
    """The same in every attempt to deliver it: process each id once."""
    type: str
    timestamp: datetime
    data: dict[str, Any]


class _Payload(Struct):
    type: str
    timestamp: datetime
    data: dict[str, Any]


def verify_webhook(
    body: bytes, headers: Mapping[str, str], *secrets: str, tolerance_s: float = TOLERANCE_S, now: float | None = None
) -> Webhook:
    """The webhook, if one of the secrets (`whsec_…`) or public keys (`whpk_…`) signed it. Raises `InvalidWebhook`.

    Args:
        body: the request's body, byte for byte as received.
        headers: the request's headers.
        secrets: the subscription's secret; several during a rotation.
        tolerance_s: how far the webhook's time may be from `now`, in seconds.
        now: seconds since 1970; by default the present.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    try:
        id, sent_at, signatures = (lower[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
    except KeyError as error:
        raise InvalidWebhook(f"the header {error.args[0]} is missing") from None
    if not sent_at.isdecimal() or abs((time.time() if now is None else now) - int(sent_at)) > tolerance_s:
        raise InvalidWebhook(f"the time in webhook-timestamp is more than {tolerance_s:g} s from now, or none")
    signed = f"{id}.{sent_at}.".encode() + body
    given = [signature.partition(",") for signature in signatures.split()]
    if not any(_is_signed(secret, signed, version, text) for secret in secrets for version, _, text in given):
        raise InvalidWebhook("no signature is by one of these secrets")
    try:
        payload = msgspec.json.decode(body, type=_Payload)
    except msgspec.MsgspecError as error:
        raise InvalidWebhook(f"the body is no message of Rescind: {error}") from error
    return Webhook(id, payload.type, payload.timestamp, payload.data)


def _is_signed(secret: str, signed: bytes, version: str, signature: str) -> bool:
    prefix, _, encoded = secret.rpartition("_")
    try:
        key = b64decode(encoded)
        if prefix == "whpk":
            if version == "v1a":
                Ed25519PublicKey.from_public_bytes(key).verify(b64decode(signature), signed)
            return version == "v1a"
    except (InvalidSignature, NotBase64, ValueError):
        return False
    expected = b64encode(hmac.digest(key, signed, "sha256"))
    return version == "v1" and hmac.compare_digest(expected, signature.encode())
