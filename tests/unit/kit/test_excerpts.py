from __future__ import annotations

import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.kit.excerpts import DETAIL_CHARS_MAX, excerpt

SECRET = 'p&ss "wörd"/+\\'


@pytest.mark.parametrize(
    "spelled",
    [SECRET, quote(SECRET, safe=""), quote_plus(SECRET), json.dumps(SECRET), json.dumps(SECRET, ensure_ascii=False)],
)
def test_a_secret_is_hidden_as_it_may_be_spelled(spelled: str) -> None:
    shown = excerpt(f"no {spelled}!", SECRET)
    assert "[secret]" in shown
    assert "rd" not in shown


def test_a_secret_inside_of_another_leaves_nothing_of_it() -> None:
    assert excerpt("is Bearer abc, or abc", "abc", "Bearer abc") == "is [secret], or [secret]"


@given(st.text(), st.text(alphabet=st.characters(codec=None)))
def test_what_is_quoted_is_one_short_line(words: str, secret: str) -> None:
    shown = excerpt(words, secret)
    assert shown.isprintable()
    assert len(shown) <= DETAIL_CHARS_MAX


def test_no_secret_is_hidden_where_there_is_none() -> None:
    assert excerpt("plain\nwords", "") == "plain words"
