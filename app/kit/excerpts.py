"""Excerpts of what others wrote, fit for our log: short, in one line, and without our secrets."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from urllib.parse import quote, quote_plus

DETAIL_CHARS_MAX = 300
"""Length of an excerpt of a response."""
NAME_CHARS_MAX = 80
"""Length of a name (an order's id, an event's) that may be anything."""

_BASE64_CHARS_MIN = 6
"""Fewer would be found in innocent text."""
_URL_SAFE = str.maketrans("+/", "-_")


def excerpt(words: str, *secrets: str) -> str:
    """A provider's words without our secrets, in one line, cut to `DETAIL_CHARS_MAX`.

    Of the spellings of all secrets the longest is removed first: one may be a part of another.
    """
    known = {spelling for secret in secrets if secret for spelling in spellings(secret)}
    for spelling in sorted(known, key=len, reverse=True):
        words = words.replace(spelling, "[secret]")
    return "".join(char if char.isprintable() else " " for char in words[:DETAIL_CHARS_MAX])


def shown(name: str) -> str:
    """A name in quotation marks, cut to `NAME_CHARS_MAX`; characters that do not print are escaped."""
    return repr(name[:NAME_CHARS_MAX])


def spellings(secret: str) -> tuple[str, ...]:
    """How a secret may stand in text: as it is, in a URL, in a form, in JSON, or within base64."""
    raw = secret.encode("utf-8", "surrogatepass")
    percent = {quote(raw, safe=""), quote_plus(raw)}
    percent |= {re.sub("%..", lambda escape: escape[0].lower(), text) for text in percent}
    in_json = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    in_json |= {text.replace("/", "\\/") for text in in_json}
    # Bytes that are read one by one, as percent-decoding gives them.
    return tuple(dict.fromkeys((secret, raw.decode("latin-1"), *sorted(percent), *sorted(in_json), *_in_base64(raw))))


def _in_base64(raw: bytes) -> list[str]:
    """The characters that `raw` gives within base64 whatever stands before and after it, in both alphabets.

    What comes before (`user:` in a header of basic authentication) shifts it by 0 to 2 bytes.
    """
    parts = []
    for shift in range(3):
        whole = b64encode(bytes(shift) + raw).decode()
        own = whole[(shift * 8 + 5) // 6 : (shift + len(raw)) * 8 // 6]
        if len(own) >= _BASE64_CHARS_MIN:
            parts += [own, own.translate(_URL_SAFE)]
    return parts
