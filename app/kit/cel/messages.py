"""What the library's messages say, without its codes."""

from __future__ import annotations

import re

_TAIL = re.compile(r"\s*\[[A-Z_]+\]\s*$")
_CODE = re.compile(r"^[A-Z_]+: ")
_MISSING_KEY = re.compile(r"Key not found in map : (.*)")
_MISSING_NAME = re.compile(r'No value with name "([^"]*)"')


def failure(raw: str) -> str:
    """Why an evaluation failed."""
    missing = _MISSING_KEY.search(raw)
    if missing:
        return f"there is no key {missing[1]} (test for it with has())"
    unknown = _MISSING_NAME.search(raw)
    return f"{unknown[1]} is not known" if unknown else without_codes(raw)


def without_codes(raw: str) -> str:
    """A message without the code before and after it."""
    return without_tail(_CODE.sub("", raw))


def without_tail(raw: str) -> str:
    """A message without the code after it."""
    return _TAIL.sub("", raw)
