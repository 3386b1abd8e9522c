"""X.509 certificates that vouch for the key of a source: their dates, names and chain.

A chain is verified as RFC 5280 and the web's profile want it, by `cryptography`; what the leaf is for is not asked, as
sources sign webhooks with the certificates of their web servers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509 import (
    Certificate,
    DNSName,
    ExtensionNotFound,
    SubjectAlternativeName,
    load_pem_x509_certificates,
)
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import ExtensionPolicy, PolicyBuilder, Store, VerificationError

from app.kit.host_patterns import is_allowed_host
from app.kit.signing.key_material import UnusableKey, fault_in_key

CHAIN_MAX = 8
"""Certificates in one document."""
_DEPTH_MAX = 4


def certified_key(
    document: bytes, now: datetime, *, names: Sequence[str], roots: Sequence[Certificate] | None
) -> tuple[Any, datetime]:
    """(the key of the first certificate, until when all that was verified is valid).

    Args:
        document: PEM: the certificate, then its intermediates.
        now: the time at which it must be valid.
        names: DNS names of which it must have one; none: any.
        roots: what the chain must lead to; None: the chain is not verified.

    Raises:
        UnusableKey: why the certificate does not vouch for the key.
    """
    leaf, *intermediates = _read(document)
    _check_dates(leaf, now)
    if names and not any(is_allowed_host(name, names) for name in _names_of(leaf)):
        raise UnusableKey(f"the certificate is not for {' or '.join(names)}, but for {', '.join(_names_of(leaf)[:3])}")
    chain = [leaf] if roots is None else _verified(leaf, intermediates, roots, now)
    try:
        key = leaf.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UnusableKey("the certificate's key is of no known kind") from error
    fault = fault_in_key(key)
    if fault is not None:
        raise UnusableKey(fault)
    return key, min(each.not_valid_after_utc for each in chain)


@lru_cache(maxsize=64)
def roots_of(pem: str) -> tuple[Certificate, ...]:
    """Configured roots. Raises `UnusableKey`."""
    return tuple(_read(pem.encode(), most=1000))


def _read(document: bytes, most: int = CHAIN_MAX) -> list[Certificate]:
    count = document.count(b"-----BEGIN")
    if count > most:
        raise UnusableKey(f"it holds {count} certificates: {most} are the most that are read")
    try:
        return load_pem_x509_certificates(document)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UnusableKey("this is no certificate in PEM") from error


def _check_dates(leaf: Certificate, now: datetime) -> None:
    if now > leaf.not_valid_after_utc:
        raise UnusableKey(f"the certificate expired on {leaf.not_valid_after_utc:%Y-%m-%d}")
    if now < leaf.not_valid_before_utc:
        raise UnusableKey(f"the certificate is not valid before {leaf.not_valid_before_utc:%Y-%m-%d}: check the clock")


def _verified(
    leaf: Certificate, intermediates: Iterable[Certificate], roots: Collection[Certificate], now: datetime
) -> list[Certificate]:
    policies = {"ca_policy": ExtensionPolicy.webpki_defaults_ca(), "ee_policy": ExtensionPolicy.permit_all()}
    try:
        builder = PolicyBuilder().store(Store(list(roots))).time(now).max_chain_depth(_DEPTH_MAX)
        verifier = builder.extension_policies(**policies).build_client_verifier()
        return list(verifier.verify(leaf, list(intermediates)).chain)
    except (VerificationError, ValueError) as error:
        raise UnusableKey(
            "the certificate's chain leads to no trusted root: give the source's own as keys.roots, or chain: false "
            "where it publishes no intermediates"
        ) from error


def _names_of(leaf: Certificate) -> list[str]:
    """The names of a certificate: those of the subject, if it has no others."""
    try:
        names = leaf.extensions.get_extension_for_class(SubjectAlternativeName).value.get_values_for_type(DNSName)
    except (ExtensionNotFound, ValueError):
        names = []
    if not names:
        common = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        names = [each.value for each in common if isinstance(each.value, str)]
    return [name.lower() for name in names]
