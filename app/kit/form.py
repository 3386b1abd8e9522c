"""Reading a form (`application/x-www-form-urlencoded`) as an object of its fields."""

from __future__ import annotations

from app.contract import MalformedPayload
from app.kit.payload import Payload

MEDIA_TYPE = "application/x-www-form-urlencoded"
FIELDS_MAX = 2000
"""Fields of one form. Real ones have some hundreds."""
BYTES_MAX = 256 * 1024
"""Bytes of one form: to decode more takes longer than other requests should wait."""

_DIGITS = "0123456789ABCDEFabcdef"
_ESCAPES = {(high + low).encode(): bytes.fromhex(high + low) for high in _DIGITS for low in _DIGITS}


def decode_form(raw: bytes) -> Payload:
    """The fields of a form by name: text, or a list of texts where a name is repeated. Raises `MalformedPayload`.

    A name is plain text: `a[b]` is one, and makes no object. A field without a value is `""`. What is not UTF-8 becomes
    U+FFFD: a person's name in another encoding must not cost the event.
    """
    if len(raw) > BYTES_MAX or raw.count(b"&") >= FIELDS_MAX:
        limits = f"{FIELDS_MAX} fields and {BYTES_MAX // 1024} KiB"
        raise MalformedPayload(f"a form may have {limits}, and this one has more")
    form: Payload = {}
    for field in raw.strip().split(b"&"):
        if not field:
            continue
        written, _, text = field.partition(b"=")
        name, value = _decoded(written), _decoded(text)
        if name not in form:
            form[name] = value
        elif type(form[name]) is list:
            form[name].append(value)
        else:
            form[name] = [form[name], value]
    return form


def _decoded(text: bytes) -> str:
    first, *escaped = text.replace(b"+", b" ").split(b"%")
    parts = [first]
    for part in escaped:
        byte = _ESCAPES.get(part[:2])
        parts.append(b"%" + part if byte is None else byte + part[2:])
    return b"".join(parts).decode("utf-8", "replace")
