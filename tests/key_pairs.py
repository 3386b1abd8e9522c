"""Key pairs and certificates of made-up sources, signed with `cryptography` and not with the code under test."""

from __future__ import annotations

from base64 import b64encode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

NOW = datetime(2026, 3, 2, 16, 4, 6, tzinfo=UTC)
SIGN = {
    "ecdsa-sha1": lambda key, text: key.sign(text, ec.ECDSA(hashes.SHA1())),  # noqa: S303 - as eBay does
    "ecdsa-sha256": lambda key, text: key.sign(text, ec.ECDSA(hashes.SHA256())),
    "ecdsa-sha512": lambda key, text: key.sign(text, ec.ECDSA(hashes.SHA512())),
    "rsa-sha1": lambda key, text: key.sign(text, padding.PKCS1v15(), hashes.SHA1()),  # noqa: S303 - as SNS does
    "rsa-sha256": lambda key, text: key.sign(text, padding.PKCS1v15(), hashes.SHA256()),
    "rsa-sha512": lambda key, text: key.sign(text, padding.PKCS1v15(), hashes.SHA512()),
    "rsa-pss-sha256": lambda key, text: key.sign(
        text, padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH), hashes.SHA256()
    ),
    "ed25519": lambda key, text: key.sign(text),
}


@cache
def private_key(algorithm: str, number: int = 0) -> Any:
    """A private key that fits an algorithm; another for each number."""
    kind = algorithm.partition("-")[0]
    if kind == "rsa":
        return rsa_key(2048, number)
    if kind == "ecdsa":
        return ec.derive_private_key(1_000_003 + number, ec.SECP256R1())
    return Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)


@cache
def rsa_key(bits: int, number: int = 0) -> Any:
    del number
    return rsa.generate_private_key(65537, bits)


def signature(algorithm: str, message: bytes, key: Any = None) -> str:
    """The signature, in base64."""
    return b64encode(SIGN[algorithm](key or private_key(algorithm), message)).decode()


def raw_signature(message: bytes, key: Any) -> str:
    """ECDSA with P-256 and SHA-256 as JOSE writes it."""
    numbers = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    return b64encode(b"".join(number.to_bytes(32, "big") for number in numbers)).decode()


def pem_of(key: Any) -> str:
    return str(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


def der_of(key: Any) -> str:
    return b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def jwk_of(key: Any, id: str) -> dict[str, Any]:
    """A public key as RFC 7518 and RFC 8037 write it."""
    public = key.public_key()
    if isinstance(key, Ed25519PrivateKey):
        return {"kty": "OKP", "crv": "Ed25519", "kid": id, "x": _text(public.public_bytes_raw())}
    numbers = public.public_numbers()
    if isinstance(public, rsa.RSAPublicKey):
        size = (public.key_size + 7) // 8
        modulus, exponent = numbers.n.to_bytes(size, "big"), numbers.e.to_bytes(3, "big")
        return {"kty": "RSA", "use": "sig", "kid": id, "n": _text(modulus), "e": _text(exponent)}
    x, y = (_text(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": "P-256", "kid": id, "x": x, "y": y}


def _text(octets: bytes) -> str:
    return urlsafe_b64encode(octets).rstrip(b"=").decode()


class Authority:
    """A certificate authority: a root, an intermediate, and leaves for who asks."""

    def __init__(self, name: str = "Example Root") -> None:
        self._root_key, self._key = rsa_key(2048, 100), rsa_key(2048, 101)
        self.root = certificate(name, self._root_key, name, self._root_key, is_authority=True)
        self.intermediate = certificate("Example Issuer", self._key, name, self._root_key, is_authority=True)

    def issue(self, name: str, key: Any, **dates: timedelta) -> x509.Certificate:
        return certificate(name, key, "Example Issuer", self._key, **dates)


def certificate(
    name: str,
    key: Any,
    issuer: str,
    issuer_key: Any,
    *,
    is_authority: bool = False,
    begins: timedelta = timedelta(days=-30),
    ends: timedelta = timedelta(days=60),
) -> x509.Certificate:
    subject, issued_by = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in (name, issuer))
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    builder = (
        x509.CertificateBuilder(
            issued_by, subject, key.public_key(), x509.random_serial_number(), NOW + begins, NOW + ends
        )
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(issuer_id, critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=is_authority,
                crl_sign=is_authority,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    )
    if not is_authority:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)
