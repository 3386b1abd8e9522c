"""Scheme `hmac`: a keyed digest over the body, and what else is signed; every part is configuration."""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from hmac import compare_digest
from typing import Literal

from app.contract import InboundRequest, VerificationError, VerifyOptions
from app.kit.signing.items import items_of, read_items_path, signature_of
from app.kit.signing.parts import BODY_PLACES, header_names, path_keys, read_document, signed_parts
from app.kit.signing.proof import (
    TOLERANCE_S,
    TimestampFormat,
    as_bytes,
    header_of,
    read_timestamp,
    require_fresh,
    require_match,
    secrets_of,
)

HEADER = "X-Signature"
_WHOLE_BODY = BODY_PLACES - {"json"}


@dataclass(frozen=True, slots=True)
class HmacScheme:
    """HMAC in a header or in the items of a body, over the body and perhaps a time."""

    header: str
    encoding: Literal["hex", "base64"] = "hex"
    prefix: str = ""
    timestamp_header: str | None = None
    signed: str = "{body}"
    """A text with the places of `app.kit.signing.parts`."""
    tolerance_s: float = TOLERANCE_S
    algorithm: Literal["sha1", "sha256", "sha512"] = "sha256"
    key: Literal["text", "hex", "base64"] = "text"
    """How the secret spells the key."""
    timestamp_format: TimestampFormat = "unix"
    signature: str | None = None
    """Where in the body, or in each of its items, the signature stands; None: in the header."""
    items: str | None = None
    """Where in the body the list of items stands of which each has a signature."""

    def verify(self, request: InboundRequest, options: VerifyOptions, now: datetime) -> None:
        """Raises `VerificationError`. The header and the tolerance of `options` outrank the scheme's."""
        if self.signature is not None:
            self._verify_items(self.signature, request, options, now)
            return
        header = options.header or self.header
        given = header_of(request, header)
        timestamp = self._fresh_timestamp(request, options, now)
        if not given.startswith(self.prefix):
            raise VerificationError(f"the signature in {header} does not begin as it must")
        wanted = self.signatures(signed_parts(self.signed).message(request, timestamp), keys_of(options, self.key))
        require_match(self._comparable(given), wanted, "signature")

    def signatures(self, message: bytes, keys: Sequence[bytes]) -> list[bytes]:
        """The message's signature by each of the keys, as it is written, without the prefix."""
        digests = [hmac.digest(key, message, self.algorithm) for key in keys]
        return [each.hex().encode() if self.encoding == "hex" else b64encode(each) for each in digests]

    def _verify_items(self, signature: str, request: InboundRequest, options: VerifyOptions, now: datetime) -> None:
        """Every item must be signed; all of them are looked at, also after one that is not."""
        timestamp = self._fresh_timestamp(request, options, now)
        document = read_document(request.body)
        items = [document] if self.items is None else items_of(self.items, document)
        parts, keys, place = signed_parts(self.signed), keys_of(options, self.key), path_keys(signature)
        are_signed = []
        for item in items:
            given = signature_of(item, place, signature)
            wanted = self.signatures(parts.message(request, timestamp, item), keys)
            fits = any([compare_digest(self._comparable(given), each) for each in wanted])  # noqa: C419 - looks at all
            are_signed.append(fits and given.startswith(self.prefix))
        if not all(are_signed):
            raise VerificationError("the signature is wrong" if self.items is None else "an item's signature is wrong")

    def _fresh_timestamp(self, request: InboundRequest, options: VerifyOptions, now: datetime) -> str:
        """The time as it is spelled, if it is near enough; "" where none is sent."""
        if self.timestamp_header is None:
            return ""
        timestamp = header_of(request, self.timestamp_header)
        tolerance_s = self.tolerance_s if options.tolerance_s is None else options.tolerance_s
        require_fresh(read_timestamp(timestamp, self.timestamp_header, self.timestamp_format), now, tolerance_s)
        return timestamp

    def _comparable(self, given: str) -> bytes:
        raw = as_bytes(given.removeprefix(self.prefix))
        return raw.lower() if self.encoding == "hex" else raw


GITHUB = HmacScheme("X-Hub-Signature-256", prefix="sha256=")
SHOPIFY = HmacScheme("X-Shopify-Hmac-SHA256", encoding="base64")


def verify_hmac(request: InboundRequest, options: VerifyOptions, now: datetime) -> None:
    """Scheme `hmac`, as the options describe it. Raises `VerificationError`."""
    scheme_of(options).verify(request, options, now)


def scheme_of(options: VerifyOptions) -> HmacScheme:
    """The scheme that the options describe; one for all requests to an endpoint."""
    return _scheme(
        options.encoding,
        options.prefix,
        options.timestamp_header,
        options.signed,
        options.algorithm,
        options.key,
        options.timestamp_format,
        options.signature,
        options.items,
    )


def keys_of(options: VerifyOptions, form: Literal["text", "hex", "base64"]) -> list[bytes]:
    """The keys that the secrets spell. What spells none is left out: with an empty key anybody can sign."""
    secrets = secrets_of(options)
    return secrets if form == "text" else [key for secret in secrets if (key := _decoded(secret, form))]


def hmac_fault(options: VerifyOptions) -> tuple[str, str] | None:
    """An option with which nothing could be verified, or less than it says, and what to do; None if there is none."""
    if options.timestamp_header is None:
        for name in ("tolerance_s", "timestamp_format"):
            if name in options.model_fields_set and getattr(options, name) is not None:
                return name, "without timestamp_header there is no time to compare: name it, or leave this out"
    elif options.signed is not None and not signs_time(options.signed, options.timestamp_header):
        return (
            "timestamp_header",
            "signed has no {timestamp}, so that anybody can change the time: add it, or omit this",
        )
    if len(keys_of(options, options.key)) < len(secrets_of(options)):
        return "secrets", f"key is {options.key}, and a secret is not {options.key}: correct it, or leave key out"
    if options.signature is None:
        return ("signature", "say where in one item its signature stands") if options.items is not None else None
    return _items_fault(options, options.signature)


def signs_time(signed: str, header: str) -> bool:
    """Whether what is signed holds the time that stands in this header."""
    named = {name.lower() for name in header_names(signed)}
    return "timestamp" in signed_parts(signed).places or header.lower() in named


def _items_fault(options: VerifyOptions, signature: str) -> tuple[str, str] | None:
    """The same, of a signature that stands in the body."""
    if options.header is not None:
        return "header", "the signature stands in the body (signature): leave this out"
    try:
        path_keys(signature)
    except ValueError as error:
        return "signature", str(error)
    try:
        if options.items is not None:
            read_items_path(options.items)
    except ValueError as error:
        return "items", str(error)
    signed = options.signed or ""
    places = signed_parts(signed).places
    if "json" not in places:
        return "signed", "say which fields are signed: {json:KEY.KEY}, from the item where there are items"
    if f"{{json:{signature}}}" in signed or not places.isdisjoint(_WHOLE_BODY):
        return "signed", "it would hold the signature itself: name the signed fields by {json:KEY.KEY} alone"
    return None


@lru_cache(maxsize=1024)
def _scheme(
    encoding: Literal["hex", "base64"],
    prefix: str,
    timestamp_header: str | None,
    signed: str | None,
    algorithm: Literal["sha1", "sha256", "sha512"],
    key: Literal["text", "hex", "base64"],
    timestamp_format: TimestampFormat,
    signature: str | None,
    items: str | None,
) -> HmacScheme:
    return HmacScheme(
        HEADER,
        encoding,
        prefix,
        timestamp_header,
        signed or default_signed(timestamp_header),
        algorithm=algorithm,
        key=key,
        timestamp_format=timestamp_format,
        signature=signature,
        items=items,
    )


def default_signed(timestamp_header: str | None) -> str:
    """What is signed where nothing is said: the body, after the time where there is one."""
    return "{timestamp}.{body}" if timestamp_header else "{body}"


def _decoded(secret: bytes, form: Literal["hex", "base64"]) -> bytes:
    try:
        return bytes.fromhex(secret.decode()) if form == "hex" else b64decode(secret, validate=True)
    except ValueError:
        return b""
