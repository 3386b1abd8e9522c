"""JSON laid out over lines, no further than it is shown: indentation could make it a hundred times as long."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress

import msgspec

_TOKEN = re.compile(r'\{\s*\}|\[\s*\]|"[^"\\]*(?:\\.[^"\\]*)*"?|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)
_DEPTH_MAX = 40
"""Deeper levels are not indented further."""
_SPACIOUS = 4
"""How many times as long as what is shown the part is that is laid out: spaces between values fall away."""


def is_json(text: str) -> bool:
    """Whether `text` is JSON, nested no deeper than any parser takes it."""
    with suppress(msgspec.DecodeError, RecursionError, UnicodeError):
        msgspec.json.decode(text.encode(), type=msgspec.Raw)
        return True
    return False


def lay_out(json: str, limit: int) -> tuple[str, bool]:
    """(the first `limit` characters of `json` over lines, whether there is more)."""
    parts: list[str] = []
    size = 0
    for line in _lines(json[: limit * _SPACIOUS], limit):
        parts.append(line)
        size += len(line) + 1
        if size > limit + 1:
            break
    text = "\n".join(parts)
    return text[:limit], len(text) > limit or len(json) > limit * _SPACIOUS


def _lines(json: str, limit: int) -> Iterator[str]:
    depth, line = 0, ""
    for match in _TOKEN.finditer(json):
        part = match[0]
        if part in ("}", "]"):
            depth -= 1
            yield line
            line = _indent(depth) + part
            continue
        line += f"{part} " if part == ":" else part[: limit + 1]
        if part in ("{", "["):
            depth += 1
        if part in ("{", "[", ","):
            yield line
            line = _indent(depth)
    yield line


def _indent(depth: int) -> str:
    return "  " * min(depth, _DEPTH_MAX)
