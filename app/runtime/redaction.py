"""Take known secrets, in any spelling, out of what is stored, logged or shown."""

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
"""In characters. A shorter secret would blot out innocent text; such secrets must not stand in text at all."""
_FEW = 400
"""Above so many spellings a text is first asked whether it holds the beginning of any; up to here that takes longer."""
_ESCAPES_MAX = 20_000
"""A text with more escapes is searched for whole spellings only: decoding it would hold the event loop."""
_ROUNDS = 3
"""How often what was escaped may have been escaped again."""
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})|\\u00([0-9A-Fa-f]{2})|\\([\"\\/])")


class _Made(NamedTuple):
    """What to look for, of the secrets `known`."""

    known: tuple[str, ...]
    spellings: tuple[str, ...]
    heads: frozenset[str] | None
    """How they begin, where they are many."""


class Redactor:
    """Takes secrets out of text: as they are, percent-encoded, in JSON, in base64 (with or without `user:`)."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._always = tuple(values)
        self._spelled: dict[str, frozenset[str]] = {}
        self._known = self._always
        self._made = _Made((), (), None)

    def know(self, values: Iterable[str]) -> None:
        """Take `values` out from now on, besides those that it was made with."""
        self._known = (*self._always, *values)

    def _look_for(self) -> _Made:
        """What to look for; made when it is first needed, and only of what is new: there may be thousands."""
        made, known, before = self._made, self._known, self._spelled
        if made.known is not known:
            # Set as a whole, and compared by identity: a thread that was slower than `know` changes nothing.
            by_secret = {value: before[value] if value in before else _spelled(value) for value in known}
            spelled = frozenset[str]().union(*by_secret.values())
            heads = frozenset(value[:_SHORTEST] for value in spelled) if len(spelled) > _FEW else None
            self._spelled, self._made = by_secret, (made := _Made(known, tuple(sorted(spelled)), heads))
        return made

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
        """Return `body` with each secret replaced; what is no UTF-8 is searched as well."""
        try:
            text, encoding = body.decode(), "utf-8"
        except UnicodeDecodeError:
            text, encoding = body.decode("latin-1"), "latin-1"
        cleaned = self.clean(text)
        return body if cleaned is text else cleaned.encode(encoding)

    def clean_facts(self, facts: Facts) -> Facts:
        """Return `facts` with each secret replaced in what is free text: attributes and the provider's status."""
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
            return {key: self.clean_value(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.clean_value(each) for each in value]
        return value

    def _spans(self, text: str, rounds: int) -> list[tuple[int, int]]:
        """Where secrets stand in `text`: (start, end) in characters, in no particular order."""
        spans, made = [], self._look_for()
        if made.heads is None or _holds_any(text, made.heads):
            for value in made.spellings:
                start = text.find(value)
                while start >= 0:
                    spans.append((start, start + len(value)))
                    start = text.find(value, start + len(value))
        if rounds and 0 < text.count("%") + text.count("\\") <= _ESCAPES_MAX:
            decoded, position = _decoded(text)
            if len(decoded) < len(text):
                spans += [(position(start), position(end)) for start, end in self._spans(decoded, rounds - 1)]
        return spans


def _holds_any(text: str, heads: frozenset[str]) -> bool:
    return any(text[at : at + _SHORTEST] in heads for at in range(len(text) - _SHORTEST + 1))


def _decoded(text: str) -> tuple[str, Callable[[int], int]]:
    """`text` with its escapes undone once, and a function from a position in that to the position in `text`."""
    parts, here, there, at = [], [0], [0], 0
    for escape in _ESCAPE.finditer(text):
        code = escape[1] or escape[2]
        parts += [text[at : escape.start()], chr(int(code, 16)) if code else escape[3]]
        here.append(here[-1] + escape.start() - at + 1)
        at = escape.end()
        there.append(at)

    def position(index: int) -> int:
        known = bisect_right(here, index) - 1
        return there[known] + index - here[known]

    return "".join([*parts, text[at:]]), position


def _spelled(secret: str) -> frozenset[str]:
    """How a secret may stand in text, with its scheme (`Bearer`) and without."""
    found = (spelling for each in (secret, secret.partition(" ")[2]) for spelling in spellings(each))
    return frozenset(spelling for spelling in found if len(spelling) >= _SHORTEST)
