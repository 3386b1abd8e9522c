"""Checks of a cancel's arguments."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app.contract import InvalidCancel
from app.kit.arguments import check_choice, check_length, check_no_note


@pytest.mark.parametrize(
    ("check", "field", "says"),
    [
        (lambda: check_choice("reason", "c", ("a", "b"), "Acme accepts only these"), "reason", "only these: a, b"),
        (lambda: check_length("note", "abc", 2, "Acme takes 2 characters"), "note", "2 characters, and this has 3"),
        (lambda: check_length("note", "\0", 2, "Acme takes 2 characters"), "note", "NUL"),
        (lambda: check_no_note("Acme", "why"), "note", "Acme takes no note"),
    ],
)
def test_what_the_provider_would_refuse_is_refused_before(check: Callable[[], None], field: str, says: str) -> None:
    with pytest.raises(InvalidCancel, match=says) as caught:
        check()
    assert caught.value.field == field


def test_what_it_takes_passes() -> None:
    check_choice("reason", "a", ("a", "b"), "Acme accepts only these")
    check_length("note", "ab", 2, "Acme takes 2 characters")
    check_no_note("Acme", " ")
