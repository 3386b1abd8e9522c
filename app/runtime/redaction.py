"""Remove known secrets, in any spelling, from what is stored, logged or shown."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from msgspec.structs import replace

from app.contract import Facts
from app.kit.excerpts import spellings

REDACTED = "**********"
_SHORTEST = 6
"""Characters. Replacing shorter secrets would destroy ordinary text, so they must not get into text at all."""
_SPELLINGS_SCANNED = 400
"""With more spellings a text is first searched for their prefixes; with fewer that takes longer."""
_ESCAPES_MAX = 20_000
"""A text with more escapes is not decoded: that would block the event loop."""
_ROUNDS = 3
"""Levels of nested escaping that are decoded."""
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})|\\u00([0-9A-Fa-f]{2})|\\([\"\\/])|&#([0-9]{2,3});|&#[xX]([0-9A-Fa-f]{2});")


class _Patterns(NamedTuple):
    """What to search for."""

    secrets: tuple[str, ...]
    spellings: tuple[str, ...]
    prefixes: frozenset[str] | None
    """Prefixes of the spellings, if there are many."""


class Redactor:
    """Removes secrets from text: plain, percent-encoded, escaped (JSON, HTML), in base64 (with or without `user:`)."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._always = tuple(values)
        self._spelled: dict[str, frozenset[str]] = {}
        self._secrets = self._always
        self._compiled = _Patterns((), (), None)
        self.memo: dict[Any, Any] = {}
        """What callers found out by the secrets in force, and bound themselves. Empty again when secrets change."""

    def set_secrets(self, values: Iterable[str]) -> None:
        """Remove `values` from now on, besides the constructor's."""
        self._secrets = (*self._always, *values)
        self.memo = {}

    def _patterns(self) -> _Patterns:
        """What to search for; compiled on first use, and only for new secrets: there may be thousands."""
        patterns, secrets, before = self._compiled, self._secrets, self._spelled
        if patterns.secrets is not secrets:
            # Replaced as a whole and compared by identity: a thread slower than `set_secrets` changes nothing.
            by_secret = {value: before[value] if value in before else _spelled(value) for value in secrets}
            spelled = frozenset[str]().union(*by_secret.values())
            prefixes = frozenset(value[:_SHORTEST] for value in spelled) if len(spelled) > _SPELLINGS_SCANNED else None
            patterns = _Patterns(secrets, tuple(sorted(spelled)), prefixes)
            self._spelled, self._compiled = by_secret, patterns
        return patterns

    def clean(self, text: str) -> str:
        """Return `text` with each secret replaced by `REDACTED`."""
        spans = self._spans(text, _ROUNDS)
        if not spans:
            return text
        parts, end = [], 0
        for start, stop in sorted(spans):
            if start >= end:
                parts += [text[end:start], REDACTED]
            end = max(end, stop)
        return "".join([*parts, text[end:]])

    def clean_bytes(self, body: bytes) -> bytes:
        """Return `body` with each secret replaced; bytes that are not UTF-8 are searched as well."""
        try:
            text, encoding = body.decode(), "utf-8"
        except UnicodeDecodeError:
            text, encoding = body.decode("latin-1"), "latin-1"
        cleaned = self.clean(text)
        return body if cleaned is text else cleaned.encode(encoding)

    def clean_facts(self, facts: Facts) -> Facts:
        """Return `facts` with each secret replaced in its free text: attributes and the provider's status."""
        status = facts.provider_status
        return replace(
            facts,
            attributes=self.clean_value(facts.attributes),
            provider_status=None if status is None else self.clean(status),
        )

    def clean_value(self, value: Any) -> Any:
        """Return a JSON value with each secret replaced in its strings, however deep; keys are kept."""
        if isinstance(value, str):
            return self.clean(value)
        if isinstance(value, dict):
            return {key: self.clean_value(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.clean_value(item) for item in value]
        return value

    def _spans(self, text: str, rounds: int) -> list[tuple[int, int]]:
        """The places of secrets in `text`: (start, end) in characters, unordered."""
        spans, patterns = [], self._patterns()
        if patterns.prefixes is None or _contains_any(text, patterns.prefixes):
            for value in patterns.spellings:
                start = text.find(value)
                while start >= 0:
                    spans.append((start, start + len(value)))
                    start = text.find(value, start + len(value))
        if rounds and 0 < text.count("%") + text.count("\\") + text.count("&#") <= _ESCAPES_MAX:
            decoded, position = _decoded(text)
            if len(decoded) < len(text):
                spans += [(position(start), position(end)) for start, end in self._spans(decoded, rounds - 1)]
        return spans


def _contains_any(text: str, prefixes: frozenset[str]) -> bool:
    return any(text[at : at + _SHORTEST] in prefixes for at in range(len(text) - _SHORTEST + 1))


def _decoded(text: str) -> tuple[str, Callable[[int], int]]:
    """`text` with its escapes undone once, and a function from a position in that to the position in `text`."""
    parts, here, there, at = [], [0], [0], 0
    for escape in _ESCAPE.finditer(text):
        code = escape[1] or escape[2] or escape[5]
        char = chr(int(code, 16)) if code else escape[3] or chr(int(escape[4]))
        parts += [text[at : escape.start()], char]
        here.append(here[-1] + escape.start() - at + 1)
        at = escape.end()
        there.append(at)

    def position(index: int) -> int:
        segment = bisect_right(here, index) - 1
        return there[segment] + index - here[segment]

    return "".join([*parts, text[at:]]), position


def _spelled(secret: str) -> frozenset[str]:
    """The spellings of a secret, with and without its scheme (`Bearer`)."""
    every = (spelling for value in (secret, secret.partition(" ")[2]) for spelling in spellings(value))
    return frozenset(spelling for spelling in every if len(spelling) >= _SHORTEST)
