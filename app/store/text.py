"""What a search for text means: which words a candidate must have, and whether it has the text itself.

A text is parts between spaces. An event matches if every part stands in its values or in the name of its order, from
the beginning of a word to the end of one; the last part may end within a word, if it has three characters or more. Case
and diacritics make no difference. The index knows words only, so what it finds is verified.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from unicodedata import combining, normalize

import msgspec

PREFIX_MIN = 3
"""Characters of a word's beginning: a shorter one would be that of too many words."""
WORDS_MAX = 16
_WORD = re.compile("[^\\W_\u19b0-\u19c0\u19c8\u19c9\u1cf2\u1cf3]+")
"""Letters and digits. A few vowel signs are letters to Python only; FTS5 separates words there."""
_LITERAL = re.compile(r"[!#-\[\]-~]+")
"""ASCII that JSON does not escape."""
_json = msgspec.json.Decoder()
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class TextQuery:
    """A text to search for."""

    text: str
    match: str
    """The query of the index: all words of the text."""
    parts: tuple[re.Pattern[str], ...]
    """Each must be found in the folded text."""
    whole: str
    """`match` without the word that may be the beginning of one; empty if there is no other."""
    literals: tuple[str, ...]
    """Parts that stand in the JSON of an event in ASCII as they stand here."""

    def found_in(self, text: str) -> bool:
        """Whether `text` has all parts."""
        folded = fold(text)
        return all(part.search(folded) for part in self.parts)


@lru_cache(maxsize=256)
def text_query(text: str) -> TextQuery | None:
    """The query for a text; None if it has no letter and no digit."""
    folded = fold(text)
    parts = [part for part in folded.split() if _WORD.search(part)]
    words = [word for part in parts for word in _WORD.findall(part)][:WORDS_MAX]
    if not words:
        return None
    ends_in_word = folded[-1:].isalnum() and len(words[-1]) >= PREFIX_MIN
    terms = [f'"{word}"' for word in words]
    match = " AND ".join(terms)
    patterns = [_pattern(part, whole=not ends_in_word or number < len(parts) - 1) for number, part in enumerate(parts)]
    return TextQuery(
        text,
        match + ("*" if ends_in_word else ""),
        tuple(patterns),
        " AND ".join(terms[:-1]) if ends_in_word else match,
        tuple(part for part in parts if _LITERAL.fullmatch(part)),
    )


def _pattern(part: str, *, whole: bool) -> re.Pattern[str]:
    before = r"(?<![^\W_])" if part[:1].isalnum() else ""
    after = r"(?![^\W_])" if whole and part[-1:].isalnum() else ""
    return re.compile(before + re.escape(part) + after)


def fold(text: str) -> str:
    """`text` in lower case and without diacritics."""
    if text.isascii():
        return text.lower()
    return "".join(char for char in normalize("NFD", text) if not combining(char)).casefold()


def words_of(text: str) -> str:
    """SQL function: the words of `text` as searches have them, between spaces."""
    return " ".join(_WORD.findall(fold(text)))


def values_of(body: str) -> str:
    """The values of an event's JSON, without the names of its fields."""
    values: list[str] = []
    _collect(_json.decode(body), values)
    return " ".join(values)


def _collect(value: Any, values: list[str]) -> None:
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            pending.extend(reversed(item.values()))
        elif isinstance(item, list):
            pending.extend(reversed(item))
        elif isinstance(item, str):
            values.append(item)
        elif item is not None and not isinstance(item, bool):
            values.append(_encode(item).decode())  # a number as it stands in the JSON


def has_text(body: str, name: str, text: str) -> bool:
    """SQL function: whether the event with this JSON and this name of its order has `text`."""
    query = text_query(text)
    if query is None:
        return False
    if query.literals and body.isascii() and name.isascii():
        # Almost all events that do not have a text in ASCII as it stands are told apart without parsing their JSON.
        written = f"{body} {name}".lower()
        if any(literal not in written for literal in query.literals):
            return False
    return query.found_in(f"{name} {values_of(body)}")
