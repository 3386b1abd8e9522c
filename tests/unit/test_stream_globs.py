"""Event types are matched with globs as SQLite's GLOB does, in linear time."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from itertools import product

from app.web.stream import _pattern


def test_globs_match_as_in_lists() -> None:
    with closing(sqlite3.connect(":memory:")) as db:
        for glob in ("*", "a", "a*", "*b", "a*b", "*a*", "a**b", "*a*b", "*a*b*", "ab*ab", "a.*b", "**"):
            pattern = _pattern([glob])
            assert pattern is not None
            for type in map("".join, product("ab.", repeat=4)):
                (listed,) = db.execute("SELECT ? GLOB ?", (type, glob)).fetchone()
                assert bool(pattern.fullmatch(type)) == bool(listed), (type, glob)


def test_a_long_type_is_no_more_work_than_its_length() -> None:
    pattern = _pattern([f"*a*a*a{end}" for end in "bcdefghijk"])
    assert pattern is not None
    assert not pattern.fullmatch("a" * 3000), "with backtracking this would take hours"
