"""Patterns of names: a name, or a prefix that ends in `*`."""

from __future__ import annotations

from collections.abc import Sequence


def matches_any(patterns: Sequence[str], text: str) -> bool:
    """Whether `text` is one of the patterns, or begins as one that ends in `*` does."""
    return any(text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern for pattern in patterns)
