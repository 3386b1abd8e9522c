from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from app.contract import MalformedPayload
from app.kit.form import BYTES_MAX, FIELDS_MAX, decode_form


def test_a_form_is_an_object_of_its_fields() -> None:
    raw = b"SmsStatus=sent&To=%2B15551234&tag=a&tag=b&tag=&a%5Bb%5D=c&a[d]=e&empty=&bare&n=%00&=x&&"
    assert decode_form(raw) == {
        "SmsStatus": "sent",
        "To": "+15551234",
        "tag": ["a", "b", ""],
        "a[b]": "c",
        "a[d]": "e",
        "empty": "",
        "bare": "",
        "n": "\0",
        "": "x",
    }
    assert decode_form(b"") == {}


def test_what_is_badly_written_costs_no_event() -> None:
    assert decode_form(b"a=%&b=%4&c=%zz&d=%e4&e=\xe4&f=100%25+%C3%A4\r\n") == {
        "a": "%",
        "b": "%4",
        "c": "%zz",
        "d": "\ufffd",
        "e": "\ufffd",
        "f": "100% ä",
    }


@examples(200)
@given(st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=5, unique_by=lambda field: field[0]))
def test_what_was_encoded_is_read(fields: list[tuple[str, str]]) -> None:
    raw = urlencode(fields).encode()
    assert list(decode_form(raw).items()) == fields == parse_qsl(raw.decode(), keep_blank_values=True)


def test_a_form_has_a_limit() -> None:
    assert len(decode_form(b"a=" + b"x" * (BYTES_MAX - 2))["a"]) == BYTES_MAX - 2
    assert len(decode_form(b"&".join([b"a"] * FIELDS_MAX))["a"]) == FIELDS_MAX
    for raw in (b"a=" + b"x" * BYTES_MAX, b"&".join([b"a"] * (FIELDS_MAX + 1)), b"&" * BYTES_MAX):
        with pytest.raises(MalformedPayload, match="2000 fields and 256 KiB"):
            decode_form(raw)
