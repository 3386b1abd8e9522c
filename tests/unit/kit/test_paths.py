from __future__ import annotations

from typing import Any

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from app.contract import MalformedPayload
from app.kit.paths.path import check, find

DOCUMENT = {"data": {"order": {"id": 7, "tags": ["a", "b"], "lines": [{"sku": "x", "n": 2}, {"sku": "y", "n": 1}]}}}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("data.order.id", 7),
        ("data.order.none", None),
        ("data.order.id.deeper", None),
        ("data.order.tags.x", None),
        ("data.order.tags[1]", "b"),
        ("data.order.lines[].sku", ["x", "y"]),
        ("data.order.lines[?n > `1`].sku | [0]", "x"),
        ("{data: {order: @}}", {"data": {"order": DOCUMENT}}),
        ("data.order.missing || data.order.id", 7),
        ("length(data.order.tags)", 2),
    ],
)
def test_what_stands_at_a_path(path: str, value: Any) -> None:
    assert find(check(path), DOCUMENT) == value


@pytest.mark.parametrize("document", [None, 1, "x", [], [{}]])
def test_a_path_leads_nowhere_in_what_is_no_object(document: Any) -> None:
    assert find("data.order", document) is None


keys = st.sampled_from(["a", "b", "c", "_d1"])
documents = st.recursive(
    st.none() | st.integers() | st.text(max_size=3), lambda inner: st.dictionaries(keys, inner) | st.lists(inner)
)


@examples(200)
@given(st.lists(keys, min_size=1, max_size=4), documents)
def test_plain_paths_are_read_as_the_interpreter_reads_them(names: list[str], document: Any) -> None:
    plain = ".".join(names)
    quoted = ".".join(f'"{name}"' for name in names)  # not plain, and the same to JMESPath
    assert find(plain, document) == find(quoted, document)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("", "data.order.id"),
        ("a[", "ends too early"),
        ("a b", "column 3"),
        ("`1", "column 1"),
        ("shout(a)", "no function shout"),
        ("a[?shout(b)]", "no function shout"),
        ("length(a, b)", "takes 1 arguments, and has 2"),
        ("merge()", "takes 1 arguments, and has 0"),
        ("[" * 5000, "too deeply"),
    ],
)
def test_what_is_no_path_is_said(path: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        check(path)


@pytest.mark.parametrize("path", ["length(data)", "max_by(a, &b)", "merge(a, b)", "merge(a)", "not_null(a, b, c)"])
def test_functions_take_as_many_as_they_do(path: str) -> None:
    assert check(path) == path


def test_a_function_that_does_not_take_it_does_not_repeat_what_was_sent() -> None:
    with pytest.raises(MalformedPayload, match=r"length\(a\)") as caught:
        find("length(a)", {"a": 4711})
    assert "4711" not in str(caught.value)
