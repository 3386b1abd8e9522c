"""Public keys out of what people and servers write: PEM, base64 DER, JSON Web Keys; and which algorithm each fits.

A key that is weak, or larger than what is verified quickly, is none: RSA from 2048 to 8192 bits, the curves of NIST
from P-256 on, and ed25519.
"""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64decode
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key
from cryptography.x509 import load_der_x509_certificate

RSA_BITS_MIN, RSA_BITS_MAX = 2048, 8192
_RSA_EXPONENT_BITS_MAX = 32
KEY_CHARS_MAX = 16_384
KEYS_MAX = 100
"""Keys of one JWKS."""
_CURVES: Mapping[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
_CURVE_NAMES = frozenset(curve.name for curve in _CURVES.values())
_PEM_KEY, _PEM_CERTIFICATE = "PUBLIC KEY", "CERTIFICATE"


class UnusableKey(ValueError):
    """It is no public key that can verify; the message says why."""


def key_of(text: str) -> Any:
    """The public key in PEM (`PUBLIC KEY` or `CERTIFICATE`, perhaps on one line) or base64 DER.

    A certificate given here is trusted as it stands, like a bare key: neither its chain nor its dates are looked at.
    Raises `UnusableKey`.
    """
    try:
        return _key_of(text)
    except (ValueError, UnsupportedAlgorithm, OverflowError) as error:
        if isinstance(error, UnusableKey):
            raise
        raise UnusableKey("this is no public key in PEM or base64 DER") from error


@lru_cache(maxsize=1024)
def cached_key(text: str) -> Any:
    """`key_of` a configured key, which many requests need."""
    return key_of(text)


def is_public_key(text: str) -> bool:
    """Whether it is a public key, which proves nothing as a secret: anybody may know it."""
    try:
        key_of(text)
    except UnusableKey:
        return f"-----BEGIN {_PEM_KEY}" in text or f"-----BEGIN {_PEM_CERTIFICATE}" in text
    return True


def _key_of(text: str) -> Any:
    if len(text) > KEY_CHARS_MAX:
        raise UnusableKey(f"a public key has {KEY_CHARS_MAX} characters at most")
    if "PRIVATE KEY" in text:
        raise UnusableKey("this is a private key: give the public one, and keep this one to yourself")
    head, begin, rest = text.partition("-----BEGIN ")
    if not begin:
        return _checked(load_der_public_key(b64decode("".join(text.split()), validate=True)))
    kind, _, rest = rest.partition("-----")
    content = b64decode("".join(rest.partition("-----END ")[0].split()), validate=True)
    if head.strip() or kind not in (_PEM_KEY, _PEM_CERTIFICATE):
        raise UnusableKey(f"PEM must begin with BEGIN {_PEM_KEY} or BEGIN {_PEM_CERTIFICATE}")
    loaded = (
        load_der_x509_certificate(content).public_key() if kind == _PEM_CERTIFICATE else load_der_public_key(content)
    )
    return _checked(loaded)


def _checked(key: Any) -> Any:
    fault = fault_in_key(key)
    if fault is not None:
        raise UnusableKey(fault)
    return key


def fault_in_key(key: Any) -> str | None:
    """Why a key must not verify; None if it may."""
    if isinstance(key, rsa.RSAPublicKey):
        if not RSA_BITS_MIN <= key.key_size <= RSA_BITS_MAX:
            return f"its RSA key has {key.key_size} bits: {RSA_BITS_MIN} to {RSA_BITS_MAX} are accepted"
        if key.public_numbers().e.bit_length() > _RSA_EXPONENT_BITS_MAX:
            return f"the exponent of its RSA key has more than {_RSA_EXPONENT_BITS_MAX} bits"
        return None
    if isinstance(key, ec.EllipticCurvePublicKey):
        names = ", ".join(_CURVES)
        return None if key.curve.name in _CURVE_NAMES else f"its curve is {key.curve.name}: {names} are accepted"
    return None if isinstance(key, Ed25519PublicKey) else "it is neither an RSA, an ECDSA nor an ed25519 key"


def kind_of(key: Any) -> str:
    """The family of a key, as algorithms are named: `rsa`, `ecdsa` or `ed25519`."""
    if isinstance(key, rsa.RSAPublicKey):
        return "rsa"
    return "ecdsa" if isinstance(key, ec.EllipticCurvePublicKey) else "ed25519"


# -- JSON Web Keys (RFC 7517, 7518, 8037) ----------------------------------------------------


def keys_of_jwks(body: bytes) -> dict[str, Any]:
    """Key id → public key, or the `UnusableKey` that says why it is none. A key without an id is under one of no text.

    Raises `UnusableKey` if the document is no key set, or holds more than `KEYS_MAX` keys.
    """
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise UnusableKey("its response is no JSON") from error
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list):
        raise UnusableKey("its response is no JSON Web Key Set: it has no list `keys`")
    if len(keys) > KEYS_MAX:
        raise UnusableKey(f"it publishes {len(keys)} keys: {KEYS_MAX} are the most that are read")
    found: dict[str, Any] = {}
    for number, each in enumerate(keys):
        if isinstance(each, dict) and each.get("use", "sig") == "sig":
            id = each.get("kid")
            found.setdefault(id if isinstance(id, str) and id else f"\0{number}", _key_of_jwk(each))
    return found


def _key_of_jwk(jwk: Mapping[str, Any]) -> Any:
    try:
        maker = _KEY_TYPES.get(str(jwk.get("kty")))
        if maker is None:
            return UnusableKey("its type is neither RSA, EC nor OKP")
        return _checked(maker(jwk))
    except UnusableKey as error:
        return error
    except (ValueError, TypeError, KeyError, UnsupportedAlgorithm, OverflowError):
        return UnusableKey("it is no JSON Web Key of its type")


def _rsa_key(jwk: Mapping[str, Any]) -> Any:
    modulus, exponent = _number(jwk["n"]), _number(jwk["e"])
    if modulus.bit_length() > RSA_BITS_MAX:
        raise UnusableKey(f"its RSA key has more than {RSA_BITS_MAX} bits")
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


def _ec_key(jwk: Mapping[str, Any]) -> Any:
    curve = _CURVES.get(str(jwk.get("crv")))
    if curve is None:
        raise UnusableKey(f"its curve is none of {', '.join(_CURVES)}")
    return ec.EllipticCurvePublicNumbers(_number(jwk["x"]), _number(jwk["y"]), curve).public_key()


def _okp_key(jwk: Mapping[str, Any]) -> Any:
    if jwk.get("crv") != "Ed25519":
        raise UnusableKey("its curve is not Ed25519")
    return Ed25519PublicKey.from_public_bytes(_octets(jwk["x"]))


_KEY_TYPES: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {"RSA": _rsa_key, "EC": _ec_key, "OKP": _okp_key}


def _octets(text: str) -> bytes:
    if len(text) > KEY_CHARS_MAX:
        raise UnusableKey("it is too long for a key")
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _number(text: str) -> int:
    return int.from_bytes(_octets(text), "big")


# -- Algorithms ------------------------------------------------------------------------------


def _rsa_pkcs1(hash: hashes.HashAlgorithm) -> Callable[[Any, bytes, bytes], None]:
    return lambda key, signature, message: key.verify(signature, message, padding.PKCS1v15(), hash)


def _rsa_pss(hash: hashes.HashAlgorithm) -> Callable[[Any, bytes, bytes], None]:
    return lambda key, signature, message: key.verify(
        signature, message, padding.PSS(padding.MGF1(hash), padding.PSS.AUTO), hash
    )


def _ecdsa(hash: hashes.HashAlgorithm) -> Callable[[Any, bytes, bytes], None]:
    def verify(key: Any, signature: bytes, message: bytes) -> None:
        try:
            key.verify(signature, message, ec.ECDSA(hash))
        except InvalidSignature:
            # JOSE writes both numbers at full length, one after the other, and not as DER.
            octets = (key.key_size + 7) // 8
            if len(signature) != 2 * octets:
                raise
            numbers = (int.from_bytes(part, "big") for part in (signature[:octets], signature[octets:]))
            key.verify(encode_dss_signature(*numbers), message, ec.ECDSA(hash))

    return verify


ALGORITHMS: Mapping[str, tuple[str, Callable[[Any, bytes, bytes], None]]] = {
    "ecdsa-sha1": ("ecdsa", _ecdsa(hashes.SHA1())),  # noqa: S303 - eBay signs so
    "ecdsa-sha256": ("ecdsa", _ecdsa(hashes.SHA256())),
    "ecdsa-sha512": ("ecdsa", _ecdsa(hashes.SHA512())),
    "rsa-sha1": ("rsa", _rsa_pkcs1(hashes.SHA1())),  # noqa: S303 - SNS signs so, unless told otherwise
    "rsa-sha256": ("rsa", _rsa_pkcs1(hashes.SHA256())),
    "rsa-sha512": ("rsa", _rsa_pkcs1(hashes.SHA512())),
    "rsa-pss-sha256": ("rsa", _rsa_pss(hashes.SHA256())),
    "ed25519": ("ed25519", lambda key, signature, message: key.verify(signature, message)),
}
"""Algorithm → (kind of its keys, verifies or raises InvalidSignature). Nothing but the configuration chooses one."""


def is_signed_by(key: Any, algorithm: str, signature: bytes, message: bytes) -> bool:
    """Whether `key`, which must be of the algorithm's kind, made the signature."""
    try:
        ALGORITHMS[algorithm][1](key, signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
