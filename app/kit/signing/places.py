"""Places of a request: where a signature, a key id or a key's URL stands.

| place | |
|---|---|
| `{header:NAME}` | a header |
| `{header:NAME:KEY.KEY}` | a header that is base64 of JSON, and the keys that lead to the value in it |
| `{json:KEY.KEY}` | the JSON body, and the keys that lead to the value in it |
"""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import dataclass
from functools import lru_cache

import msgspec

from app.contract import InboundRequest, VerificationError
from app.kit.signing.parts import path_keys, read_document, value_at
from app.kit.signing.proof import header_of

_PLACE = re.compile(r"\{(json):([^{}]+)\}|\{(header):([A-Za-z0-9!#$%&'*+.^_`|~-]+)(?::([^{}]+))?\}")
_KINDS = "{header:NAME}, {header:NAME:KEY.KEY} or {json:KEY.KEY}"


@dataclass(frozen=True, slots=True)
class Place:
    """One place."""

    header: str
    """"": in the body."""
    keys: tuple[str, ...]
    """None: the whole header."""

    def read(self, request: InboundRequest, what: str) -> str:
        """The text that stands there. Raises `VerificationError`, which names it as `what`."""
        if not self.header:
            value, where = value_at(self.keys, read_document(request.body)), f"{'.'.join(self.keys)} of the body"
        elif not self.keys:
            return header_of(request, self.header)
        else:
            value, where = value_at(self.keys, self._decoded(request)), f"{'.'.join(self.keys)} of {self.header}"
        if not isinstance(value, str) or not value:
            raise VerificationError(f"{what} is missing: {where} holds no text", cause="missing_signature")
        return value

    def _decoded(self, request: InboundRequest) -> object:
        text = header_of(request, self.header)
        try:
            document: object = msgspec.json.decode(b64decode(text, validate=True))
        except (ValueError, RecursionError) as error:
            raise VerificationError(f"the header {self.header} is not base64 of JSON") from error
        return document


@lru_cache(maxsize=1024)
def place_of(text: str) -> Place:
    """The place that a text is. Raises ValueError, with what to do."""
    match = _PLACE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no place of a request: give {_KINDS}")
    json, body_path, _, header, header_path = match.groups()
    path = body_path if json else header_path
    return Place(header or "", path_keys(path) if path else ())


def is_place(text: str) -> bool:
    """Whether a text is meant to be a place, and no fixed value."""
    return text.startswith("{")
