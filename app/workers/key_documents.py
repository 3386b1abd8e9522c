"""What the key ring fetches: one document, read into keys, and for how long it is believed."""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache

import msgspec
from cryptography.x509 import Certificate, load_der_x509_certificate

from app.contract import MalformedPayload
from app.contract.published_keys import KeySource
from app.core.key_scope import Keys
from app.kit.paths.path import find
from app.kit.signing.certificates import certified_key, roots_of
from app.kit.signing.key_material import UnusableKey, key_of, keys_of_jwks

DOCUMENT_BYTES_MAX = 262_144
FRESH_MIN_S, FRESH_DEFAULT_S, FRESH_MAX_S = 300.0, 3600.0, 6 * 3600.0
"""Bounds of a response's `max-age`, and what counts without one."""
LIFE_MIN_S = 3600.0
"""A document that cannot be refreshed is believed for so long, or for its freshness if that is longer."""


def read_keys(source: KeySource, body: bytes, headers: Mapping[str, str], now: datetime) -> Keys:
    """The keys of a fetched document, and for how long it is believed.

    Raises:
        UnusableKey: a certificate or a key that is complete, and must not be believed.
        MalformedPayload: the response is not what the source publishes; perhaps the next one is.
    """
    fresh_s = freshness_s(headers)
    life_s = max(fresh_s, LIFE_MIN_S)
    if source.jwks_url is not None:
        try:
            return Keys(keys_of_jwks(body), fresh_s, life_s)
        except UnusableKey as error:
            raise MalformedPayload(str(error)) from error
    if source.certificate_url is not None:
        if b"-----BEGIN CERTIFICATE-----" not in body:
            raise MalformedPayload("its response is no certificate in PEM")
        key, until = certified_key(body, now, names=source.names, roots=_trusted(source))
        return Keys({"": key}, fresh_s, min(life_s, (until - now) / timedelta(seconds=1)))
    return Keys({"": key_of(_key_text(source, body))}, fresh_s, life_s)


def freshness_s(headers: Mapping[str, str]) -> float:
    """For how long a response is fresh, in seconds, by its Cache-Control and within bounds."""
    for directive in headers.get("cache-control", "").lower().split(","):
        name, _, value = directive.strip().partition("=")
        if name in ("no-store", "no-cache"):
            return FRESH_MIN_S
        if name == "max-age" and value.isascii() and value.isdecimal() and len(value) <= 10:  # noqa: PLR2004
            return min(max(float(value), FRESH_MIN_S), FRESH_MAX_S)
    return FRESH_DEFAULT_S


def _key_text(source: KeySource, body: bytes) -> str:
    try:
        if source.read is None:
            return body.decode()
        value = find(source.read, msgspec.json.decode(body))
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
        raise MalformedPayload("its response is no text, or not the JSON that keys.read wants") from error
    if not isinstance(value, str):
        raise MalformedPayload(f"keys.read ({source.read}) leads to no text in its response")
    return value


def _trusted(source: KeySource) -> Sequence[Certificate] | None:
    if not source.chain:
        return None
    return system_roots() if source.roots is None else roots_of(source.roots)


@lru_cache(maxsize=1)
def system_roots() -> tuple[Certificate, ...]:
    """The roots that the system trusts. Takes some ten milliseconds, once."""
    roots = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some roots are older than the rules for serial numbers
        for der in ssl.create_default_context().get_ca_certs(binary_form=True):
            try:
                roots.append(load_der_x509_certificate(der))
            except ValueError:
                continue
    return tuple(roots)
