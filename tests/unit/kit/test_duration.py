"""Spans of time: read as people write them, and said in words."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.kit.duration import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("2h", 7200), ("3d", 259_200), ("1w", 604_800), ("1h30m", 5400), ("0s", 0)],
)
def test_spans(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "h", "2", "2 h", "-2h", "2.5h", "2h!", "2y", "\u0663d", "999999999w999999999w"])
def test_what_is_no_span(text: str) -> None:
    assert parse_duration(text) is None


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59, "59 s"), (3600, "1 h"), (3660, "1 h 1 min"), (3601, "1 h"), (183_600, "2 d 3 h")],
)
def test_spans_in_words(seconds: int, said: str) -> None:
    assert format_duration(timedelta(seconds=seconds)) == said
