"""What handlers read out of JSON and names; `kept` and the rest is tested with each handler."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract import InvalidCancel, MalformedPayload
from app.core.payload import check_text, first_word, moment_at, path_segment, whole_number, zone_of

ANY_TEXT = st.text(st.characters(codec=None))


@given(ANY_TEXT)
def test_a_name_is_one_segment_of_a_path_or_none(name: str) -> None:
    segment = path_segment(name)
    if segment is None:
        assert name in ("", ".", "..") or {"/", "\\"} & set(name) or not name.isprintable()
        return
    assert unquote(segment) == name
    assert segment.isascii()
    assert not {"/", "\\", "?", "#", " "} & set(segment)
    assert segment not in ("", ".", "..")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "/", "a\0", "a\n", "\x7f", "\ud800", "a\udfff"])
def test_a_name_that_could_leave_its_place_is_none(name: str) -> None:
    assert path_segment(name) is None


@given(st.integers(0, 10**18 - 1))
def test_a_number_as_it_is_written_is_one(number: int) -> None:
    assert whole_number(str(number)) == number


@given(ANY_TEXT)
def test_no_other_text_is_a_number(text: str) -> None:
    number = whole_number(text)
    assert number is None or str(number) == text


@pytest.mark.parametrize("text", ["", "00", "007", "-1", "+1", "1.0", "1e3", " 1", "1\n", "٣", "²", "1_0", "9" * 19])
def test_what_looks_like_a_number_is_none(text: str) -> None:
    assert whole_number(text) is None


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "x\udc80"])
def test_words_that_nothing_can_carry_are_refused(text: str) -> None:
    with pytest.raises(InvalidCancel, match="the note holds") as caught:
        check_text("note", text)
    assert caught.value.field == "note"


@pytest.mark.parametrize("text", [None, "", "a\nb", "\ud7ff\ue000", "😀"])
def test_any_other_words_are_carried(text: str | None) -> None:
    check_text("reason", text)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({}, None),
        ({"a": "", "b": "late"}, "late"),
        ({"a": 5, "b": "late"}, "late"),
        ({"a": "early", "b": "late"}, "early"),
        ({"c": {"d": "deep"}}, "deep"),
    ],
)
def test_the_first_word_counts(body: dict[str, Any], found: str | None) -> None:
    assert first_word(body, ("a", "b", "c.d")) == found


def test_the_first_time_counts() -> None:
    body = {"a": None, "b": "2026-03-02T09:00:00", "c": "no time"}
    assert moment_at(body, ("a", "b", "c"), zone_of("America/Denver")) == datetime(2026, 3, 2, 16, tzinfo=UTC)
    assert moment_at(body, ("a", "z")) is None
    with pytest.raises(MalformedPayload, match="c is neither"):
        moment_at(body, ("c", "b"))
