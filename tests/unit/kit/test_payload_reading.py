"""What handlers read out of JSON and names; `pick_attributes` is tested with each handler."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract import InvalidCancel, MalformedPayload, zone_of
from app.kit.arguments import check_text
from app.kit.ids import path_segment, whole_number
from app.kit.keys import event_name, first_status
from app.kit.times import first_time, read_time

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
    assert first_status(body, ("a", "b", "c.d")) == found


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({}, None),
        ({"a": "", "b": 5}, None),
        ({"a": "odd", "b": "known"}, "known"),
        ({"a": "known", "b": {"name": "x"}}, "known"),
        ({"a": "odd", "b": "odder"}, "odd"),
    ],
)
def test_the_first_known_event_counts_or_else_the_first(body: dict[str, Any], name: str | None) -> None:
    assert event_name(body, ("a", "b"), {"known"}.__contains__) == name


def test_an_object_is_no_event_s_name() -> None:
    with pytest.raises(MalformedPayload, match=r"b is an object: set event_keys .*b\.name"):
        event_name({"a": "odd", "b": {"name": "known"}}, ("a", "b"), {"known"}.__contains__)


def test_the_first_time_counts() -> None:
    body = {"a": None, "b": "2026-03-02T09:00:00", "c": "no time"}
    assert first_time(body, ("a", "b", "c"), zone_of("America/Denver")) == datetime(2026, 3, 2, 16, tzinfo=UTC)
    assert first_time(body, ("a", "z"), None) is None
    with pytest.raises(MalformedPayload, match="c is neither"):
        first_time(body, ("c", "b"), None)


def test_a_time_without_an_offset_is_one_in_the_account_s_zone_or_stays_without() -> None:
    denver, local = zone_of("America/Denver"), datetime(2026, 3, 2, 9)  # noqa: DTZ001 - that is the point
    assert read_time("2026-03-02T09:00:00", denver) == datetime(2026, 3, 2, 16, tzinfo=UTC)
    assert read_time("2026-03-02T09:00:00", None) == local
    for zone in (None, denver):
        assert read_time("2026-03-02T09:00:00Z", zone) == datetime(2026, 3, 2, 9, tzinfo=UTC)
        date = read_time("2026-03-02", zone)
        assert date is not None
        assert date.tzinfo is None, "no time of day: it may be any moment of that day"


@pytest.mark.parametrize("local", ["2026-11-01T01:30:00", "2026-03-08T02:30:00"])
def test_a_time_that_the_clocks_repeat_or_skip_stays_in_its_zone(local: str) -> None:
    moment = read_time(local, zone_of("America/Denver"))
    assert moment is not None
    assert moment.tzinfo is zone_of("America/Denver")
    assert moment.replace(tzinfo=None).isoformat() == local


def test_a_time_of_rfc_5322_is_one_instant() -> None:
    noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
    for text in (
        "Mon, 02 Mar 2026 12:00:00 +0000",
        "Mon, 2 Mar 2026 12:00:00 +0000",
        "Mon,  2 Mar 2026 12:00:00 +0000",
        "02 Mar 2026 12:00 +0000",
        "Mon, 02 Mar 2026 05:00:00 -0700",
        "Tue, 03 Mar 2026 00:30:00 +1230",
        "Mon, 02 Mar 2026 12:00:00 GMT",
        "Mon, 02 Mar 2026 12:00:00 UT",
        "Mon, 02 Mar 2026 12:00:00 -0000",
    ):
        for zone in (None, zone_of("America/Denver")):
            moment = read_time(text, zone)
            assert moment == noon, text
            assert moment.tzinfo is UTC, text


def test_what_is_only_like_a_time_of_rfc_5322_is_none() -> None:
    for text in (
        "Mon, 02 Mar 2026 12:00:00",  # the RFC demands a zone
        "Mon, 02 Mar 2026 12:00:00 EST",  # obsolete, and ambiguous in practice
        "Mon, 02 Mar 2026 12:00:00 Z",
        "Mon, 02 Mar 2026 12:00:00 +0060",
        "Mon, 02 Mar 2026 12:00:00 +9900",
        "Tue, 02 Mar 2026 12:00:00 +0000",  # it was a Monday
        "Mon, 02 Mar 26 12:00:00 +0000",
        "Mon, 30 Feb 2026 12:00:00 +0000",
        "Mon, 02 Mar 2026 24:00:00 +0000",
        "Mon, 02 Mar 2026 12:00:61 +0000",
        "Mon, 02 Mar 2026 12 +0000",
        "Mon, 02 Mar 2026 12.00.00 +0000",
        "Mon, 02 Mar 2026 12:00:00 +0000 (noon)",
        "Mon, 02 Mar 2026 12:00:00 +0000\n",
        " Mon, 02 Mar 2026 12:00:00 +0000",
        "Montag, 02 Mar 2026 12:00:00 +0000",
        "Sat, 01 Jan 0000 00:00:00 +0000",
        "Fri, 31 Dec 9999 23:59:59 -0100",
        "Mon, \u0660\u0662 Mar 2026 12:00:00 +0000",
        "12:00",
        ":",
        "Mon, 02 Mar 2026 12:00:00 " + "+" * 1_000_000,
    ):
        assert read_time(text, None) is None, text[:60]
