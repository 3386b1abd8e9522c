"""JSON Web Tokens that an account signs: RFC 7519, with the algorithms of RFC 7518 and 8037."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import jwt
from cryptography.exceptions import InternalError, InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicNumbers
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

SHARED_KEY = ("HS256", "HS384", "HS512")
"""Algorithms by a key that both sides have."""
KEY_PAIR = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Algorithms by a private key, in PEM."""

_RSA_BITS_MIN, _RSA_BITS_MAX = 2048, 4096
"""Larger ones take tens of milliseconds for each signature."""
_RSA = ("RS", "PS")


def sign_jwt(
    algorithm: str, key: str | bytes, claims: Mapping[str, Any], header: Mapping[str, Any] | None = None
) -> str:
    """The JWT with these claims, signed. `key` has passed `check_jwt_key`. Raises TypeError, ValueError for others."""
    try:
        return jwt.encode(dict(claims), _prepared(algorithm, key), algorithm=algorithm, headers=dict(header or {}))
    except jwt.PyJWTError as error:
        raise ValueError("the library takes no such header or claim") from error


def check_jwt_key(algorithm: str, key: str | bytes) -> None:
    """Raises ValueError if nothing can be signed with that key; the message never shows the key."""
    try:
        prepared = _prepared(algorithm, key)
    except TypeError:
        raise ValueError("the private key is encrypted: give it without a password") from None
    except Exception:  # noqa: BLE001 - the library raises many kinds, and their texts are not ours to show
        wanted = "a private key in PEM (-----BEGIN PRIVATE KEY-----)" if algorithm in KEY_PAIR else "a shared secret"
        raise ValueError(f"{algorithm} takes {wanted} of its own kind, and this is none") from None
    if algorithm in SHARED_KEY:
        if len(prepared) < int(algorithm[2:]) // 8:
            raise ValueError(f"{algorithm} takes a key of {int(algorithm[2:]) // 8} bytes or more")
        return
    if not hasattr(prepared, "sign"):
        raise ValueError(f"{algorithm} takes a private key, and this is a public one")
    if isinstance(prepared, RSAPrivateKey):
        if not _RSA_BITS_MIN <= prepared.key_size <= _RSA_BITS_MAX:
            raise ValueError(f"the private key has {prepared.key_size} bits: give one of 2048 to 4096")
        if not is_sound(prepared):
            raise ValueError("the parts of the private key do not belong together")


@lru_cache(maxsize=256)
def _prepared(algorithm: str, key: str | bytes) -> Any:
    """The key as the library uses it. An RSA key is checked when it is saved, not here: that takes far longer."""
    if algorithm.startswith(_RSA):
        pem = key.encode() if isinstance(key, str) else key
        private = load_pem_private_key(pem, None, unsafe_skip_rsa_key_validation=True)
        if not isinstance(private, RSAPrivateKey):
            raise ValueError("it is of another kind")
        return private
    return jwt.get_algorithm_by_name(algorithm).prepare_key(key)


@lru_cache(maxsize=256)
def is_sound(key: RSAPrivateKey) -> bool:
    """Whether the parts of an RSA key belong together, and sign what its public key verifies.

    Takes some milliseconds. The library's own check also tests that the factors are prime, which takes up to half a
    second; who configures a key that only looks like one has calls of its own refused.
    """
    parts = key.private_numbers()
    (e, n), p, q, d = (parts.public_numbers.e, parts.public_numbers.n), parts.p, parts.q, parts.d
    if not (p > 1 and q > 1 and p % 2 and q % 2 and p * q == n and 1 < d < n and 1 < e < n):
        return False
    if d * e % (p - 1) != 1 or d * e % (q - 1) != 1 or parts.iqmp * q % p != 1:
        return False
    if (parts.dmp1, parts.dmq1) != (d % (p - 1), d % (q - 1)):
        return False
    try:
        signature = key.sign(b"", PKCS1v15(), SHA256())
        RSAPublicNumbers(e, n).public_key().verify(signature, b"", PKCS1v15(), SHA256())
    except (ValueError, InvalidSignature, InternalError):
        return False
    return True
