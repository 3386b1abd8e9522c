"""The stored form of an inbound request: without credentials and secrets.

A handler parses the stored form, not the original: so a receipt that is reprocessed gives the same events.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from multidict import CIMultiDict, MultiMapping

from app.contract import InboundRequest, MalformedPayload
from app.kit.signing import QUERY_TOKEN
from app.runtime.redaction import REDACTED, Redactor

CONTENT_ENCODING = "Content-Encoding"
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
_COOKIES = frozenset({"cookie", "cookie2", "set-cookie"})
_CREDENTIALS = re.compile(r"\s*(basic|bearer)\s+\S", re.IGNORECASE)
_TOKEN_IN_URL = re.compile(r"([?&]token=)[^&\s]*")

REMEMBERED_MAX, REMEMBERED_BYTES_MAX = 64, 256
"""Headers of an endpoint whose stored form is remembered, and the size of each: a sender repeats most of its own."""

RawHeaders = Sequence[tuple[bytes, bytes]]


class Received(Struct, frozen=True):
    """One request as it is stored: nothing in it is a credential or a known secret."""

    headers: list[tuple[str, str]]
    query: list[tuple[str, str]]
    body: bytes
    inbound: InboundRequest
    """The same as a request that a handler can parse."""


def redacted(raw_headers: RawHeaders, inbound: InboundRequest, redactor: Redactor, body_max: int) -> Received:
    """A verified request without credentials and without the secrets that `redactor` knows.

    A compressed body that holds a secret is stored uncompressed.

    Args:
        raw_headers: as received, with their spelling and repetitions.
        inbound: the request as verified.
        redactor: knows the secrets of the endpoint and its account.
        body_max: the maximum size of an uncompressed body, in bytes.
    """
    headers = _headers(raw_headers, redactor)
    query = _query(inbound.query, redactor)
    body = redactor.clean_bytes(inbound.body)
    if CONTENT_ENCODING in inbound.headers:
        try:
            plain = uncompressed(inbound, body_max).body
        except MalformedPayload:
            plain = b""  # Parsing reports the fault.
        cleaned = redactor.clean_bytes(plain)
        if cleaned is not plain:
            body, headers = cleaned, [pair for pair in headers if pair[0].lower() != CONTENT_ENCODING.lower()]
            return Received(headers, query, body, replace(inbound, headers=CIMultiDict(headers), body=body))
    return Received(headers, query, body, inbound if body is inbound.body else replace(inbound, body=body))


def uncompressed(inbound: InboundRequest, body_max: int) -> InboundRequest:
    """The request with its body decompressed. Signatures and receipts cover the bytes as received.

    Raises `MalformedPayload` for an unknown coding, broken data, or more than `body_max` bytes.
    """
    coding = inbound.headers[CONTENT_ENCODING].strip().lower()
    if coding in ("", "identity"):
        return inbound
    if coding not in _WINDOW_BITS:
        raise MalformedPayload(f"the body's Content-Encoding {coding[:40]!r} is not supported: use gzip or deflate")
    unpacker = zlib.decompressobj(_WINDOW_BITS[coding])
    try:
        body = unpacker.decompress(inbound.body, body_max + 1)
    except zlib.error as error:
        raise MalformedPayload(f"the body is not {coding}: {error}") from error
    if len(body) > body_max:
        raise MalformedPayload(f"the body unpacks to more than {body_max} bytes")
    if not unpacker.eof:
        raise MalformedPayload(f"the body is truncated {coding}")
    return replace(inbound, body=body)


def _headers(raw_headers: RawHeaders, redactor: Redactor) -> list[tuple[str, str]]:
    # Header's name → (its value when it came last, the stored form of both).
    memo, stored = redactor.memo, []
    for name, value in raw_headers:
        last = memo.get(name)
        stored.append(last[1] if last is not None and last[0] == value else _header(name, value, redactor))
    return stored


def _header(raw_name: bytes, raw_value: bytes, redactor: Redactor) -> tuple[str, str]:
    """The stored form of a header. It is remembered where it is the header itself, so that no credential is kept."""
    name, value = raw_name.decode("utf-8", "replace"), raw_value.decode("utf-8", "replace")
    lower = name.lower()
    if lower.endswith("authorization") or lower in _COOKIES:
        return name, REDACTED
    pair = name, _clean(value, redactor)
    if pair[1] is value and len(raw_name) + len(raw_value) <= REMEMBERED_BYTES_MAX:
        if len(redactor.memo) >= REMEMBERED_MAX:
            redactor.memo.clear()
        redactor.memo[raw_name] = raw_value, pair
    return pair


def _clean(value: str, redactor: Redactor) -> str:
    if _CREDENTIALS.match(value) or redactor.clean(value) is not value:
        return REDACTED
    # A proxy may copy the URL into a header.
    return _TOKEN_IN_URL.sub(rf"\1{REDACTED}", value) if "token=" in value else value


def _query(query: Any, redactor: Redactor) -> list[tuple[str, str]]:
    if not query:
        return []
    pairs: MultiMapping[str] = query
    return [
        (_text(name), REDACTED if name == QUERY_TOKEN or redactor.clean(value) is not value else _text(value))
        for name, value in pairs.items()
    ]


def _text(part: str) -> str:
    """Replace the lone surrogates that percent-encoding can give, which neither JSON nor databases accept."""
    return part.encode("utf-8", "replace").decode()
