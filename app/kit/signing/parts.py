"""What a signature is made over: a text with places (`{timestamp}.{body}`) that a request fills in.

| place | what it becomes |
|---|---|
| `{body}` | the raw body |
| `{form}` | the body's form fields, sorted by name: names and values, decoded, without anything between them |
| `{json:KEY.KEY}` | one value of the JSON body: text as it is, numbers and booleans as JSON spells them, else nothing |
| `{sha256}` | SHA-256 of the raw body, in hexadecimal |
| `{crc32}` | CRC-32 of the raw body, as a decimal number |
| `{timestamp}` | the time, as its header spells it |
| `{url}` | the URL that the sender called, with its query |
| `{method}` | the HTTP method |
| `{header:NAME}` | the value of a header |

A text is compiled once. No place may stand in it twice: a message is never longer than the request and the text.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from app.contract import InboundRequest, MalformedPayload, VerificationError
from app.kit.payload import NUMBERS, decode_any
from app.kit.signing.proof import as_bytes, header_of

PLACES_MAX = 32
KEYS_MAX = 16
FORM_FIELDS_MAX = 1000
FORM_ESCAPES_MAX = 20_000
"""Escaped bytes (%2B) of a form: they take ten milliseconds to decode."""
JSON_PARTS_MAX = 20_000
"""Commas, lists and objects of a JSON body that is read before anybody has proven to be its sender."""

BODY_PLACES = frozenset({"body", "form", "json", "sha256", "crc32"})
"""Places that hold something of the body."""

UNREAD: Final[Any] = object()
"""Instead of a document: it is read out of the body where a place needs it."""

_PLACE = re.compile(r"\{(\w+(?::[^{}]*)?)\}")
"""Braces around anything else are text: what is signed may be JSON."""
_PATH = re.compile(r"[^.{}\[\]\s]+(?:\.[^.{}\[\]\s]+)*")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


@dataclass(frozen=True, slots=True)
class _Inputs:
    request: InboundRequest
    timestamp: str
    document: Any


_Part = Callable[[_Inputs], bytes]


@dataclass(frozen=True, slots=True)
class SignedParts:
    """A compiled text. `message` makes the bytes that are signed."""

    places: frozenset[str]
    """The kinds of its places, without what stands behind a colon: `body`, `json`, `url` …"""
    parts: tuple[bytes | _Part, ...]

    def message(self, request: InboundRequest, timestamp: str = "", document: Any = UNREAD) -> bytes:
        """The bytes that are signed. `document` is what `{json:…}` looks into, by default the request's body.

        Raises `VerificationError` where the request does not hold what a place needs, and nothing else.
        """
        if self.parts == _BODY_ONLY:
            return request.body
        if document is UNREAD and "json" in self.places:
            document = read_document(request.body)
        inputs = _Inputs(request, timestamp, document)
        try:
            return b"".join([part if isinstance(part, bytes) else part(inputs) for part in self.parts])
        except UnicodeEncodeError as error:
            raise VerificationError("what is signed holds characters that are no text") from error


@lru_cache(maxsize=1024)
def signed_parts(text: str) -> SignedParts:
    """Compile a text with places. Raises ValueError where a place is unknown, or stands there twice."""
    found = _PLACE.findall(text)
    if len(found) > PLACES_MAX:
        raise ValueError(f"it has {len(found)} places: {PLACES_MAX} are the most it may have")
    parts: list[bytes | _Part] = []
    for index, piece in enumerate(_PLACE.split(text)):
        if index % 2 == 0:
            parts += [piece.encode()] if piece else []
            continue
        if found.count(piece) > 1:
            raise ValueError(f"{{{piece}}} stands in it more than once: leave one out")
        parts.append(_part_of(piece))
    return SignedParts(frozenset(each.partition(":")[0] for each in found), tuple(parts))


def read_document(body: bytes) -> Any:
    """The JSON of a body, read as handlers read it. Raises `VerificationError`."""
    if body.count(b",") + body.count(b"[") + body.count(b"{") > JSON_PARTS_MAX:
        raise VerificationError(
            f"fields of its body are signed, and it has more than the {JSON_PARTS_MAX:,} parts that are looked through"
        )
    try:
        return decode_any(body, "the sender")
    except MalformedPayload as error:
        raise VerificationError("fields of its body are signed, and its body is no JSON") from error


def header_names(text: str) -> tuple[str, ...]:
    """The headers that a text with places names."""
    return tuple(place.partition(":")[2] for place in _PLACE.findall(text) if place.startswith("header:"))


def body_parts(text: str) -> str:
    """The text without its places for anything but the body."""
    return _PLACE.sub(lambda place: place[0] if place[1].partition(":")[0] in BODY_PLACES else "", text)


def path_keys(path: str) -> tuple[str, ...]:
    """The keys of a dotted path. Raises ValueError."""
    keys = tuple(path.split("."))
    if _PATH.fullmatch(path) is None or len(keys) > KEYS_MAX:
        raise ValueError(f"{path!r} is no path: give up to {KEYS_MAX} keys with full stops between them (order.id)")
    return keys


def value_at(keys: tuple[str, ...], document: Any) -> Any:
    """What stands at the keys; None where nothing does."""
    for key in keys:
        if type(document) is not dict:
            return None
        document = document.get(key)
    return document


def _part_of(place: str) -> _Part:
    if place in _PLAIN:
        return _PLAIN[place]
    kind, colon, argument = place.partition(":")
    if kind == "json" and colon:
        return partial(_json, path_keys(argument), argument)
    if kind == "header" and _HEADER.fullmatch(argument):
        return partial(_header, argument)
    known = ", ".join(f"{{{name}}}" for name in (*_PLAIN, "json:KEY.KEY", "header:NAME"))
    raise ValueError(f"{{{place}}} is nothing that can be put in: it may hold {known}")


def _json(keys: tuple[str, ...], path: str, inputs: _Inputs) -> bytes:
    value = value_at(keys, inputs.document)
    if value is None:
        return b""
    if type(value) is str:
        return value.encode()
    if type(value) is bool:
        return b"true" if value else b"false"
    if type(value) in NUMBERS:
        return str(value).encode()
    raise VerificationError(f"{path} is signed, and holds no text, number or boolean")


def _header(name: str, inputs: _Inputs) -> bytes:
    return as_bytes(header_of(inputs.request, name))


def _form(inputs: _Inputs) -> bytes:
    body = inputs.request.body
    if body.count(b"&") >= FORM_FIELDS_MAX or body.count(b"%") > FORM_ESCAPES_MAX:
        raise VerificationError(
            f"its form has more than the {FORM_FIELDS_MAX:,} fields or {FORM_ESCAPES_MAX:,} escapes that are looked at"
        )
    fields: dict[bytes, set[bytes]] = {}
    for field in body.split(b"&"):
        if field:
            name, _, value = field.partition(b"=")
            fields.setdefault(_decoded(name), set()).add(_decoded(value))
    # A name that stands there several times counts once with each of its values.
    return b"".join([name + value for name in sorted(fields) for value in sorted(fields[name])])


def _decoded(text: bytes) -> bytes:
    return unquote_to_bytes(text.replace(b"+", b" "))


def _url(inputs: _Inputs) -> bytes:
    url = inputs.request.url
    if not url.startswith(("https://", "http://")):
        raise VerificationError(
            "its signature holds the URL that was called, which this server does not know: set RESCIND_PUBLIC_URL"
        )
    return as_bytes(url)


def _body(inputs: _Inputs) -> bytes:
    return inputs.request.body


_PLAIN: Mapping[str, _Part] = {
    "body": _body,
    "timestamp": lambda inputs: as_bytes(inputs.timestamp),
    "url": _url,
    "method": lambda inputs: as_bytes(inputs.request.method),
    "form": _form,
    "sha256": lambda inputs: hashlib.sha256(inputs.request.body).hexdigest().encode(),
    "crc32": lambda inputs: str(zlib.crc32(inputs.request.body)).encode(),
}
_BODY_ONLY = (_body,)
