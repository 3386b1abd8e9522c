"""Scheme `public_key`: a signature that only the source can make, verified by a key that it publishes.

The algorithm is the configuration's, never the request's, and the key must be of its kind. Configured keys are in
`secrets`; published ones (`keys`) are looked up in `InboundRequest.keys`, which a worker fills.
"""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64decode
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any
from urllib.parse import quote

from app.contract import InboundRequest, VerificationError, VerifyOptions
from app.contract.published_keys import KeyRef, KeySource
from app.kit.signing.hmac_scheme import HEADER, default_signed
from app.kit.signing.key_hosts import require_allowed
from app.kit.signing.key_material import ALGORITHMS, UnusableKey, cached_key, is_signed_by, kind_of
from app.kit.signing.parts import signed_parts
from app.kit.signing.places import is_place, place_of
from app.kit.signing.proof import TOLERANCE_S, header_of, read_timestamp, require_fresh

KEY_ID = "{key_id}"
KEY_ID_CHARS_MAX = 256
_SIGNATURE_CHARS_MAX = 4096


def verify_public_key(request: InboundRequest, options: VerifyOptions, now: datetime) -> None:
    """Raises `VerificationError`, and `KeyUnavailable` where the key has not been fetched."""
    signature = _signature_of(request, options)
    timestamp = ""
    if options.timestamp_header is not None:
        timestamp = header_of(request, options.timestamp_header)
        tolerance_s = TOLERANCE_S if options.tolerance_s is None else options.tolerance_s
        sent_at_s = read_timestamp(timestamp, options.timestamp_header, options.timestamp_format)
        require_fresh(sent_at_s, now, tolerance_s)
    keys = _keys_of(request, options)
    signed = options.signed or default_signed(options.timestamp_header)
    require_signed(keys, options.algorithm, signature, signed_parts(signed).message(request, timestamp))


def require_signed(keys: Sequence[Any], algorithm: str, signature: bytes, message: bytes) -> None:
    """Raise `VerificationError` unless one of the keys, of the algorithm's kind, made the signature."""
    kind = ALGORITHMS[algorithm][0]
    fitting = [key for key in keys if kind_of(key) == kind]
    if not fitting:
        kinds = " and ".join(sorted({kind_of(key) for key in keys})) or "nothing"
        raise VerificationError(f"the endpoint's algorithm is {algorithm}, and the source's key is one for {kinds}")
    if not any(is_signed_by(key, algorithm, signature, message) for key in fitting):
        raise VerificationError("the signature is wrong")


def look_up(request: InboundRequest, ref: KeyRef) -> Sequence[Any]:
    """The keys that `ref` names. Raises `VerificationError`, `KeyUnavailable`."""
    if request.keys is None:
        raise VerificationError("it needs a key that the source publishes, which only a running server fetches")
    return request.keys.find(ref)


def decoded_signature(text: str) -> bytes:
    """A signature that is base64, of either alphabet, with or without padding. Raises `VerificationError`."""
    text = text.strip()
    try:
        if len(text) > _SIGNATURE_CHARS_MAX:
            raise ValueError  # noqa: TRY301 - it is told as the others are
        padded = text + "=" * (-len(text) % 4)
        return urlsafe_b64decode(padded) if {"-", "_"} & set(text) else b64decode(padded, validate=True)
    except ValueError as error:
        raise VerificationError("the signature is not base64") from error


def _signature_of(request: InboundRequest, options: VerifyOptions) -> bytes:
    if options.signature is None:
        text = header_of(request, options.header or HEADER)
    else:
        text = place_of(options.signature).read(request, "the signature")
    if not text.startswith(options.prefix):
        raise VerificationError("the signature does not begin as it must")
    text = text.removeprefix(options.prefix)
    if "encoding" not in options.model_fields_set or options.encoding == "base64":
        return decoded_signature(text)
    try:
        return bytes.fromhex(text[:_SIGNATURE_CHARS_MAX])
    except ValueError as error:
        raise VerificationError("the signature is not hexadecimal") from error


def _keys_of(request: InboundRequest, options: VerifyOptions) -> Sequence[Any]:
    source = options.keys
    if source is None:
        return list(_static_keys(options))
    key_id = ""
    if options.key_id is not None:
        key_id = place_of(options.key_id).read(request, "the key id") if is_place(options.key_id) else options.key_id
        if len(key_id) > KEY_ID_CHARS_MAX:
            raise VerificationError(f"the key id is longer than {KEY_ID_CHARS_MAX} characters")
    return look_up(request, KeyRef(source, _url_of(request, source, key_id), key_id))


def _static_keys(options: VerifyOptions) -> Iterator[Any]:
    """The configured keys. A secret that is none, such as one of a former scheme, proves nothing."""
    for secret in options.secrets:
        with suppress(UnusableKey):
            yield cached_key(secret.get_secret_value())


def _url_of(request: InboundRequest, source: KeySource, key_id: str) -> str:
    location = source.location
    if source.certificate_url is not None and is_place(location):
        return require_allowed(place_of(location).read(request, "the key's URL"), source.hosts, "the key's URL")
    if KEY_ID in location:
        if not key_id.strip(".") or not key_id.isprintable():
            raise VerificationError("the key id cannot be a part of a URL")
        return location.replace(KEY_ID, quote(key_id, ""))
    return location
